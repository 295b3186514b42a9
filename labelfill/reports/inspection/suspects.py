"""Rows whose labels look wrong, worst first: exchanged sides, shifted rows, single stray labels, odd shapes.

Judged by the shape prior of the row's label source and, where there are images, by what they show
(`appearance`). How far off is too far is taken from the table itself: a score is severe if it lies
far beyond the upper quartile of all rows, as in a box plot, so that a table of careless labels is
not flagged as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Mask
from labelfill.reports.inspection.appearance import AppearanceModel
from labelfill.reports.inspection.inspected_table import InspectedTable
from labelfill.reports.inspection.shapes import FEWEST_ROWS, GroupShapes, common_shift, usual_displacements
from labelfill.schema import mirror_partners

Kind = Literal["swapped", "shifted", "keypoint", "shape", "off-image", "contradicted"]

LISTED = 20
"""So many suspects are listed even if fewer stand out."""

_FENCE = 7.0  # in distances from median to upper quartile; for a Gaussian's radius 1 row in 40,000
_LEAST_SHIFT, _LEAST_STRAY, _LEAST_ODDITY = 3.5, 4.0, 3.5  # standard deviations
_LEAST_GAIN = 8.0  # nats: by so much sides must be likelier when exchanged
_CASCADE = 3  # a shift is found step by step: what lies far away is out of sight at first
_OFF_IMAGE = 0.02  # of the image's longer side: labels just beyond the edge are people's guesses
_MEDIAN = 1.386  # of the squared radius of a standard Gaussian in the plane


@dataclass(frozen=True)
class Suspect:
    """A row whose labels look wrong.

    Attributes
    ----------
    kind
        ``swapped``: likelier with left and right exchanged; ``shifted``: all labels off by the same;
        ``keypoint``: single labels that neither the others nor the image agree with; ``shape``: an
        unlikely shape as a whole; ``off-image``: labels beyond the image; ``contradicted``: labels far
        from where trained regressors see the point.
    severity
        From 1 on the row stands out from the table, and is flagged.
    keypoints
        The labels in question; none if it is the shape as a whole.
    suggested
        (K, 2) px: where these labels might belong; NaN where there is no suggestion.
    """

    row: int
    kind: Kind
    severity: float
    keypoints: tuple[int, ...]
    suggested: Array

    @property
    def flagged(self) -> bool:
        return self.severity >= 1


def find_suspects(
    table: InspectedTable, *, seed: int = 0, show_progress: bool = False
) -> tuple[Suspect, ...]:
    """All that are flagged, and the next up to 20 in all.

    Rows of different label sources are not compared with each other, nor are flat images looked at; labels
    lie beyond the image only where its size is known.
    """
    found = _off_image(table) if table.frame_known else []
    if np.isfinite(table.labels).any(axis=(1, 2)).sum() >= FEWEST_ROWS:
        found += _Examination(table, seed, show_progress).suspects()
    worst: dict[int, Suspect] = {}
    for suspect in found:
        other = worst.setdefault(suspect.row, suspect)
        if suspect.flagged and suspect.kind in ("swapped", "shifted"):
            # It explains why labels lie beyond the image.
            worst[suspect.row] = replace(suspect, severity=max(suspect.severity, other.severity))
        elif suspect.severity > other.severity:
            worst[suspect.row] = suspect
    flagged = sum(suspect.flagged for suspect in worst.values())
    return _worst_first(worst)[: max(flagged, LISTED)]


def with_contradicted(suspects: Sequence[Suspect], severity: Array, answer: Array) -> tuple[Suspect, ...]:
    """The suspects with labels added that trained regressors contradict; a row keeps its severest reason.

    Parameters
    ----------
    severity, answer
        (n, K) from 1 on contradicted, and (n, K, 2) px: where the regressors see the point.
    """
    worst = {suspect.row: suspect for suspect in suspects}
    for row in np.flatnonzero((severity >= 1).any(axis=1)).tolist():
        keypoints = np.flatnonzero(severity[row] >= 1)
        suggested = np.full(answer.shape[1:], np.nan)
        suggested[keypoints] = answer[row, keypoints]
        severest = float(severity[row].max())
        other = worst.get(row)
        if other is None or not other.flagged:
            worst[row] = Suspect(row, "contradicted", severest, tuple(keypoints.tolist()), suggested)
        elif other.severity < severest:
            worst[row] = replace(other, severity=severest)
    return _worst_first(worst)


def _worst_first(by_row: Mapping[int, Suspect]) -> tuple[Suspect, ...]:
    return tuple(sorted(by_row.values(), key=lambda suspect: (-suspect.severity, suspect.row)))


def _off_image(table: InspectedTable) -> list[Suspect]:
    size, labels = table.schema.image_size, table.labels
    outside = table.labelled & ~table.schema.on_image(labels)
    half = np.array([size.width, size.height]) / 2
    nowhere = np.full(labels.shape[1:], np.nan)
    found = []
    for row in np.flatnonzero(outside.any(axis=1)).tolist():
        keypoints = np.flatnonzero(outside[row])
        beyond = (np.abs(labels[row, keypoints] - size.centre) - half).max()
        severity = float(beyond / (_OFF_IMAGE * max(size.height, size.width)))
        found.append(Suspect(row, "off-image", severity, tuple(keypoints.tolist()), nowhere))
    return found


class _Examination:
    """The labels of a table judged row by row; (n,) scores by kind, severe from 1 on."""

    def __init__(self, table: InspectedTable, seed: int, show_progress: bool) -> None:
        self.labels, self.labelled = table.labels, table.labelled
        partners = mirror_partners(table.schema.keypoints)
        self.pairs = [(k, partner) for k, partner in enumerate(partners) if partner > k]
        self.shapes = GroupShapes(self.labels, table.source_of, seed)
        residual, covariance = self.shapes.residuals(self.labels)
        surprise = _radius(residual, covariance, self.labelled)
        self._usual = _usual_radius(surprise, self.labelled)
        by_shape = surprise / self._usual
        self.model: AppearanceModel | None = None
        if table.images is None:
            self.stray = by_shape
            self.shift, self.shift_score = np.zeros((len(self.labels), 2)), np.zeros(len(self.labels))
        else:
            size = table.schema.image_size
            extent = self.shapes.extent or max(size.height, size.width) / 3  # of one keypoint's surroundings
            self._visible = np.where(table.flat[:, None, None], np.nan, self.labels)
            self.model = AppearanceModel(
                table.images, self._visible, residual, extent, seed, show_progress=show_progress
            )
            seen = self.model.displacements(self._visible, residual)
            self._displaced = usual_displacements(seen.by_both)
            self.stray = self._stray_by_image(seen.by_both, by_shape)
            self.shift, self.shift_score = common_shift(seen.by_image)
            for _ in range(_CASCADE - 1):
                seen = self.model.displacements(self._visible - self.shift[:, None], residual)
                self.shift, self.shift_score = common_shift(seen.by_image + self.shift[:, None])
        self.useful: Mask = np.any(self.labelled, axis=1)
        self.stray_fence = self._fence(self.stray.max(axis=1), _LEAST_STRAY)

    def suspects(self) -> list[Suspect]:
        """The likeliest explanation of the rows that stand out, or of the most unusual ones."""
        oddity = self.shapes.oddity(self.labels)
        swapped, gain = self._swapped(oddity)
        stray = self.stray.max(axis=1) / self.stray_fence
        shift = self.shift_score / self._fence(self.shift_score, _LEAST_SHIFT)
        odd = oddity / self._fence(oddity, _LEAST_ODDITY)
        severity = np.max([stray, shift, odd, np.sqrt(gain / _LEAST_GAIN)], axis=0)
        severity[~self.useful] = 0.0
        worst = np.argsort(-severity, kind="stable")
        worst = worst[: max(LISTED, int((severity >= 1).sum()))]

        is_swapped = gain >= _LEAST_GAIN
        is_shifted = ~is_swapped & (shift >= np.maximum(stray, np.where(odd >= 1, 1.0, odd)))
        is_shifted &= self.labelled.sum(axis=1) > 1
        is_stray = ~is_swapped & ~is_shifted & ((stray >= 1) | (stray >= odd))
        marked = self._marked(worst[is_stray[worst]])
        expected = self.shapes.expected(np.where(marked[:, :, None], np.nan, self.labels))
        found = []
        for row in worst[self.useful[worst]].tolist():
            kind: Kind = "shape"
            doubtful, suggested = np.zeros(self.labelled.shape[1], bool), self.labels[row]
            if is_swapped[row]:
                kind, doubtful = "swapped", swapped[row] & self.labelled[row]
                suggested = _exchanged(self.labels[[row]], swapped[[row]], self.pairs)[0]
            elif is_shifted[row]:
                kind, doubtful = "shifted", self.labelled[row]
                suggested = self.labels[row] - self.shift[row]
            elif marked[row].any():
                kind, doubtful, suggested = "keypoint", marked[row], expected[row]
            concerned = swapped[row] if is_swapped[row] else doubtful
            suggested = np.where(concerned[:, None], suggested, np.nan)
            keypoints = tuple(np.flatnonzero(doubtful).tolist())
            found.append(Suspect(row, kind, float(severity[row]), keypoints, suggested))
        return found

    def _fence(self, scores: Array, least: float) -> float:
        """From where on a score stands out from those of the table."""
        middle, upper = np.quantile(scores[self.useful], [0.5, 0.75])
        return max(float(middle + _FENCE * (upper - middle)), least)

    def _stray_by_image(self, displaced: Array, by_shape: Array) -> Array:
        """(m, K) radii of displacements, in standard deviations; `by_shape` where the image tells nothing."""
        radius = by_shape.copy()
        for k, usual in self._displaced.items():
            known = np.isfinite(displaced[:, k]).all(axis=1)
            moves = displaced[known, k : k + 1]
            radius[known, k] = np.sqrt(usual.squared_distance(moves, np.zeros_like(moves))[0])
        return radius

    def _marked(self, rows: NDArray[np.intp]) -> Mask:
        """(n, K): the stray labels of these rows, found one by one, each judged without those before.

        None of a row whose labels disagree as a whole.
        """
        marked = np.zeros(self.labelled.shape, bool)
        going = rows
        count = self.labelled.sum(axis=1)
        for step in range(self.labelled.shape[1]):
            if not len(going):
                break
            unmarked = np.where(marked[going, :, None], np.nan, self.labels[going])
            residual, covariance = self.shapes.residuals(unmarked, going)
            known = self.labelled[going] & ~marked[going]
            stray = _radius(residual, covariance, known) / self._usual
            if self.model is not None:
                points = np.where(known[:, :, None], self._visible[going], np.nan)
                seen = self.model.displacements(points, residual, going)
                stray = self._stray_by_image(seen.by_both, stray)
            worst = np.where(known, stray, 0.0).argmax(axis=1)
            # The first is marked in any case: it is why the row is here.
            severe = (stray[np.arange(len(going)), worst] >= self.stray_fence) | (step == 0)
            marked[going[severe], worst[severe]] = True
            going = going[severe]
            # Where most labels disagree with each other, nobody can say which of them are wrong.
            lost = marked[going].sum(axis=1) > np.maximum(1, (count[going] - 1) // 2)
            marked[going[lost]] = False
            going = going[~lost]
        return marked

    def _swapped(self, oddity: Array) -> tuple[Mask, Array]:
        """(n, K) labels to be exchanged with their partners', and (n,) how much likelier that is, nats."""
        swapped, gain = np.zeros(self.labelled.shape, bool), np.zeros(len(self.labels))
        rows = np.flatnonzero(oddity >= np.quantile(oddity, 0.8))  # swapped rows are odd ones
        if not self.pairs:
            return swapped, gain
        before = self._distance(rows, swapped[rows])
        everything = np.zeros(self.labelled.shape, bool)
        for k, partner in self.pairs:
            either = self.labelled[:, k] | self.labelled[:, partner]
            everything[either, k] = everything[either, partner] = True
        state, best = swapped[rows], before.copy()
        after = self._distance(rows, everything[rows])
        state[after < best] = everything[rows][after < best]
        best = np.minimum(best, after)
        for k, partner in self.pairs:  # then pair by pair
            toggled = state.copy()
            toggled[:, [k, partner]] ^= everything[rows][:, [k, partner]]
            after = self._distance(rows, toggled)
            better = best - after >= 2 * _LEAST_GAIN
            state[better], best[better] = toggled[better], after[better]
        # What remains must be a much better shape, not a bad one that is a little less bad.
        convincing = (best <= before / 2) & state.any(axis=1)
        gain[rows] = np.where(convincing, (before - best) / 2, 0.0)
        swapped[rows] = state & convincing[:, None]
        return swapped, gain

    def _distance(self, rows: NDArray[np.intp], swapped: Mask) -> Array:
        exchanged = _exchanged(self.labels[rows], swapped, self.pairs)
        return self.shapes.squared_distance(exchanged, rows)[0]


def _exchanged(labels: Array, swapped: Mask, pairs: Sequence[tuple[int, int]]) -> Array:
    """Labels (m, K, 2) with those in question exchanged with their partners'."""
    exchanged = labels.copy()
    for k, partner in pairs:
        rows = swapped[:, k]
        exchanged[rows, k], exchanged[rows, partner] = labels[rows, partner], labels[rows, k]
    return exchanged


def _radius(residual: Array, covariance: Array, known: Mask) -> Array:
    """(n, K): lengths of residuals in standard deviations; 0 where there is none."""
    unknown = ~known[:, :, None, None] * np.eye(2)
    inverse = np.linalg.inv(np.where(known[:, :, None, None], covariance, 0.0) + unknown)
    squared = np.einsum("nka,nkab,nkb->nk", residual, inverse, residual)
    return np.where(known, np.sqrt(np.maximum(squared, 0.0)), 0.0)


def _usual_radius(radius: Array, known: Mask) -> Array:
    """(K,): by what radii of a keypoint are divided to have a Gaussian's median."""
    usual = np.ones(radius.shape[1])
    for k in np.flatnonzero(known.sum(axis=0) >= FEWEST_ROWS):
        usual[k] = max(np.sqrt(np.median(radius[known[:, k], k] ** 2) / _MEDIAN), 0.1)
    return usual
