"""Error radii that hold in a stated share of cases: split conformal prediction on cross-fitted residuals.

The score of a case is its radial error over its stated sigma; the radius is the quantile of such scores times
sigma (Papadopoulos et al. 2002; Lei et al. 2018, *Distribution-free predictive inference for regression*). It
is taken per keypoint and, within a keypoint, per **pattern class**: rows that know about as much of the
keypoint, by the shape prior's uncertainty of it (Mondrian conformal prediction, Vovk et al. 2003). Keypoints
with few residuals share those of all.

This holds for rows like those of which residuals were taken. Where a source never labels a keypoint nothing
verifies it there: such cells are flagged, and their radii widened by how much larger scores are on the
keypoints that both this source and the others label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from labelfill.arrays import Array, Integers, KeptArrays, Mask
from labelfill.regressors.calibration import conformal
from labelfill.regressors.calibration.blending import LEAST_SIGMA

# With fewer scores than this a keypoint's are those of all keypoints together; so for a class of rows.
_OWN_ROWS = 100
_CLASS_ROWS = 150
_CLASSES = 3
# Classes are told apart where the prior's sigma differs by this factor; smaller differences tell little.
_CLASS_STEP = 1.15
_SCORES_KEPT = 500
# How many labels in common are a probe of a shift, and what is assumed where there are fewer.
_PROBE_ROWS = 30
_UNPROBED, _MOST_WIDENING = 1.2, 3.0
# What a few keypoints show need not hold for others: it counts as if one more had shown no shift.
_UNSHIFTED = 1
_PROBE_COVERAGE = 0.9


@dataclass(frozen=True)
class Radii(KeptArrays):
    """Quantiles of scores, and by how much to widen where nothing verifies them.

    Attributes
    ----------
    edges
        (K, C - 1): the prior's sigma, px, where a keypoint's pattern classes end; inf where there are fewer.
    scores
        (K, C, Q): radial error over sigma, sorted; evenly conformal.thinned to Q, rounded outwards.
    rows
        (K, C): how many scores these were.
    labelled
        (G, K): whether a source labels the keypoint; if not, no residual of it was ever seen there.
    widening
        (G,): factor of the radii of such keypoints.
    typical
        (K,): the median of the stated sigma, px; NaN where there was no residual.
    learnt
        (K,): how many residuals there were of each keypoint.
    """

    shapes: ClassVar[Mapping[str, str]] = {
        "edges": "K E",
        "scores": "K E+1 Q",
        "rows": "K E+1",
        "labelled": "G K",
        "widening": "G",
        "typical": "K",
        "learnt": "K",
    }
    # Infinity ends the last class where there are fewer, and NaN stands where there was no residual.
    unbounded: ClassVar[frozenset[str]] = frozenset({"edges", "typical"})

    edges: Array
    scores: Array
    rows: Integers
    labelled: Mask
    widening: Array
    typical: Array
    learnt: Integers

    def factor(self, coverage: float, prior_sigma: Array) -> Array:
        """(n, K): the radius that holds in `coverage` of cases, in units of the stated sigma.

        Parameters
        ----------
        prior_sigma
            (n, K), px: how unsure the shape prior is of each keypoint, given what the row knows.
        """
        by_class = self._factors(coverage)  # (K, C)
        known = np.where(np.isfinite(prior_sigma), prior_sigma, np.inf)
        which = (known[..., None] > self.edges[None]).sum(axis=2)  # (n, K)
        factor: Array = by_class[np.arange(len(by_class))[None], which]
        return factor

    def _factors(self, coverage: float) -> Array:
        """(K, C): the radius that holds in `coverage` of cases, in units of the stated sigma."""
        factor = conformal.conformal_quantile(self.scores, self.rows, coverage)
        # So few scores do not reach so far: the tail of a round Gaussian at least.
        few = conformal.conformal_rank(self.rows, coverage) > self.rows
        return np.where(few, np.maximum(factor, conformal.gaussian_radius(coverage)), factor)

    def unverified(self, groups: Integers) -> Mask:
        """(n, K): keypoints that the row's source never labels; of rows of unknown source, none."""
        known = groups >= 0
        unverified: Mask = known[:, None] & ~self.labelled[np.where(known, groups, 0)]
        return unverified

    def shift(self, groups: Integers) -> Array:
        """(n, K): by how much to widen radii and sigma, 1 where residuals of the row's source were seen."""
        return np.where(self.unverified(groups), self.widening[np.maximum(groups, 0)][:, None], 1.0)

    def narrowed(self, gain: Array) -> Radii:
        """For answers whose stated sigma is `gain` (K,) times that of the answers that this was made from."""
        return replace(self, typical=self.typical * gain)

    def usual_radius(self, coverage: float) -> Array:
        """(K,) px: what a large radius of a keypoint is judged by; infinite where none was measured."""
        usual = self.typical * self._factors(coverage)[:, 0]
        return np.where(np.isfinite(usual), usual, np.inf)


def fit_radii(
    error: Array, sigma: Array, prior_sigma: Array, groups: Integers, labelled: Mask, reference: Integers
) -> Radii:
    """Scores of cross-fitted residuals.

    Parameters
    ----------
    error
        (n, K, 2), px: answer minus label, labels hidden as in rows to be filled; NaN where there is none.
    sigma, prior_sigma
        (n, K), px: what is stated of the answer, and what the shape prior alone states.
    groups
        (n,): label source of each row.
    labelled
        (G, K): whether a source labels the keypoint.
    reference
        (K,): the source in whose convention the keypoint is answered.
    """
    known: Mask = np.all(np.isfinite(error), axis=2) & np.isfinite(sigma)
    scored = np.where(known, np.linalg.norm(error, axis=2) / np.maximum(sigma, LEAST_SIGMA), np.nan)
    keypoints = error.shape[1]
    pooled = np.sort(scored[known]) if known.any() else np.array([conformal.gaussian_radius(_PROBE_COVERAGE)])
    edges = np.full((keypoints, _CLASSES - 1), np.inf)
    scores = np.empty((keypoints, _CLASSES, _SCORES_KEPT))
    rows = np.empty((keypoints, _CLASSES), np.int64)
    typical = np.full(keypoints, np.nan)
    for k in range(keypoints):
        of_keypoint, knowledge = scored[known[:, k], k], prior_sigma[known[:, k], k]
        if len(of_keypoint):
            typical[k] = np.median(sigma[known[:, k], k])
        shared = of_keypoint if len(of_keypoint) >= _OWN_ROWS else pooled
        found = class_edges(knowledge)
        edges[k, : len(found)] = found
        which = np.searchsorted(edges[k], knowledge)
        for c in range(_CLASSES):
            part = of_keypoint[which == c] if c <= len(found) and len(found) else shared
            scores[k, c], rows[k, c] = conformal.thinned(np.sort(part), _SCORES_KEPT), len(part)
    widening = np.array([shift_widening(scored, groups, g, reference) for g in range(len(labelled))])
    return Radii(edges, scores, rows, labelled, widening, typical, known.sum(axis=0))


def class_edges(prior_sigma: Array) -> Array:
    """The prior's sigmas that divide rows into up to three classes of enough rows each; maybe none.

    Rows lie in the class after an edge if their sigma is larger than it.
    """
    ordered = np.sort(prior_sigma)
    found: list[float] = []
    begin = 0
    for part in range(1, _CLASSES):
        middle = part * len(ordered) // _CLASSES
        if not len(ordered) or middle >= len(ordered):
            break
        # The edge goes where the sigma steps up, at or after this part's end.
        steps = np.flatnonzero(ordered[middle:] > _CLASS_STEP * ordered[max(middle - 1, 0)])
        if not len(steps):
            break
        end = middle + int(steps[0])
        if end - begin < _CLASS_ROWS or len(ordered) - end < _CLASS_ROWS:
            continue
        found.append(float((ordered[end - 1] + ordered[end]) / 2))
        begin = end
    return np.array(found)


def shift_widening(score: Array, groups: Integers, group: int, reference: Integers) -> float:
    """How much larger scores (n, K) are in a source than in the one that each keypoint is learnt from.

    Judged by the keypoints that both label, and drawn towards none where these are few. With too few labels
    in common, a guess.
    """
    relative = []
    for k, home in enumerate(reference.tolist()):
        scored = np.isfinite(score[:, k])
        in_source, others = score[scored & (groups == group), k], score[scored & (groups == home), k]
        if home != group and len(in_source) and len(others) >= _PROBE_ROWS:
            relative.append(in_source / max(float(np.quantile(others, _PROBE_COVERAGE)), 1e-9))
    together = np.concatenate(relative) if relative else np.zeros(0)
    if len(together) < _PROBE_ROWS:
        return _UNPROBED
    shown = float(np.clip(np.quantile(together, _PROBE_COVERAGE), 1.0, _MOST_WIDENING))
    return float(shown ** (len(relative) / (len(relative) + _UNSHIFTED)))
