"""Answers for rows whose labels are hidden as in rows to be filled: what calibration and scores rest on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from labelfill.arrays import Array, Integers, Mask
from labelfill.regressors.answering import Question, answer_in_blocks
from labelfill.regressors.calibration.blending import Calibration, calibrate, gain_of_averaging
from labelfill.regressors.calibration.joint_correction import JointCorrection, fit_joint_correction
from labelfill.regressors.calibration.radii import Radii, fit_radii
from labelfill.regressors.ensemble import Ensemble, Member, Members, averaged
from labelfill.regressors.held_out import COVERAGES, HeldOutPoints
from labelfill.regressors.scores import score
from labelfill.regressors.setup import MOST_RESIDUAL_ROWS, Setup, pattern_bank
from labelfill.regressors.trainable import Trainable
from labelfill.runs.randomness import random_key
from labelfill.sources.anchors import Anchors, PatternBank
from labelfill.sources.preparation import LEAST_LABELS


@dataclass(frozen=True)
class Calibrated:
    """An ensemble that knows how large its errors are.

    Attributes
    ----------
    figures
        Scores by keypoint: of cross-fitted answers, and of held-out rows by part.
    held_out
        Points of held-out rows, filled with their labels hidden; None if no keypoint is filled.
    """

    ensemble: Ensemble
    figures: dict[int, dict[str, float]] = field(default_factory=dict)
    held_out: HeldOutPoints | None = None


def calibrate_on_hidden(setup: Setup, ensemble: Ensemble, trainable: Trainable) -> Calibrated:
    """The ensemble with weights, joint correction and radii from cross-fitted residuals.

    Residuals are of all members on training rows with labels hidden; scores are of held-out rows too.
    """
    if not len(trainable.keypoints):
        return Calibrated(ensemble)
    prep, hiding = setup.preparation, _Hiding(setup, trainable.anchors, trainable.keypoints)
    residual = hiding.answered(_with_fold_priors(setup, ensemble, trainable), prep.training, "calibration",
                               folds=prep.folds)  # fmt: skip
    blending = calibrate(residual.members.xy - residual.truth[None], residual.members.sigma)
    blended, stated = blending.blend(residual.members.xy, residual.members.sigma)
    joint, corrected = _joint_correction(hiding, ensemble, residual, blended)
    rescaled = blending.rescaled(corrected - residual.truth, stated)
    radii = _radii(hiding, residual, corrected, rescaled)
    of_one_fold = replace(ensemble, calibration=rescaled, joint=joint, radii=radii)
    by_fold = _held_out_by_fold(hiding, of_one_fold)
    gain = _gain_of_averaging(of_one_fold, by_fold, prep.validation)
    narrowed = radii.narrowed(gain)
    calibrated = replace(of_one_fold, calibration=rescaled.narrowed(gain), radii=narrowed)
    held_out = replace(by_fold[0], members=averaged([hidden.members for hidden in by_fold]))
    answer, sigma = calibrated.best(held_out.members)
    figures: dict[int, dict[str, float]] = {k: {} for k in trainable.keypoints.tolist()}
    for part, hidden, found, rows in (
        ("cross-fitted", residual, corrected, prep.training),
        ("validation", held_out, answer, prep.validation),
        ("evaluation", held_out, answer, prep.evaluation),
    ):
        for k, known in figures.items():
            known |= _scores(part, hidden, np.where(rows[hidden.rows, None, None], found, np.nan), k)
    return Calibrated(calibrated, figures, _points(held_out, answer, sigma, narrowed))


def _with_fold_priors(setup: Setup, ensemble: Ensemble, trainable: Trainable) -> Ensemble:
    """The ensemble with shape priors that did not see each fold."""
    prep = setup.preparation
    priors = [
        setup.fit_prior(trainable.anchors, prep.training & (prep.folds != fold))
        for fold in range(prep.fold_count)
    ]
    return replace(ensemble, fold_priors=tuple(priors))


def _joint_correction(
    hiding: _Hiding, ensemble: Ensemble, residual: _Hidden, blended: Array
) -> tuple[JointCorrection | None, Array]:
    """The joint correction, if it pays; (n, K, 2) px answers corrected by one that did not see the row."""
    if not ensemble.patch or ensemble.image_only:
        return None, blended
    setup, folds = hiding.setup, hiding.setup.preparation.joint_folds[residual.rows]
    return fit_joint_correction(
        residual.members.found, blended, residual.truth, folds, hiding.answered_together, setup.partners
    )


def _held_out_by_fold(hiding: _Hiding, ensemble: Ensemble) -> list[_Hidden]:
    """Held-out rows answered by the networks of each fold alone; once where there are none."""
    prep = hiding.setup.preparation
    if not ensemble.has_networks:
        return [hiding.answered(ensemble, ~prep.training, "held-out")]
    return [
        hiding.answered(ensemble, ~prep.training, "held-out", folds=np.full(len(prep.folds), fold))
        for fold in range(prep.fold_count)
    ]


def _gain_of_averaging(ensemble: Ensemble, by_fold: list[_Hidden], validation: Mask) -> Array:
    """(K,): by how much answers are better than the residuals that they are calibrated on.

    A row to be filled is answered by the average of all folds' networks, a residual is of one fold's. Of rows
    that no network learnt from their disagreement tells what averaging takes away; labels have no say in it.

    Parameters
    ----------
    validation
        (n,): the rows that are judged by.
    """
    rows = validation[by_fold[0].rows]
    if not ensemble.patch or not rows.any():
        return np.ones(ensemble.schema.count)
    answers = [ensemble.best(hidden.members) for hidden in by_fold]
    return gain_of_averaging(
        np.stack([xy[rows] for xy, _ in answers]), np.stack([sigma[rows] for _, sigma in answers])
    )


@dataclass(frozen=True)
class _Hidden:
    """Answers for some rows of the table, and the labels that were hidden from those who answered.

    Attributes
    ----------
    rows
        (n,) index in the table.
    truth
        (n, K, 2), px; NaN where there is no label.
    passes
        For each time that rows were hidden, the keypoints hidden then, and (n, K) whose labels were shown.
    """

    rows: Integers
    members: Members
    truth: Array
    passes: list[tuple[Integers, Mask]]


@dataclass(frozen=True)
class _Hiding:
    """Hides the labels of rows as in the rows to be filled.

    Attributes
    ----------
    anchors
        Of all rows.
    keypoints
        Those that are hidden.
    """

    setup: Setup
    anchors: Anchors
    keypoints: Integers

    def answered(
        self, ensemble: Ensemble, part: Mask, name: str, *, folds: Integers | None = None
    ) -> _Hidden:
        """Members' answers and labels for rows of a part, each keypoint hidden as in the rows that lack it.

        With `folds`, for all rows of the table, answers are of the networks that did not see a row's fold.
        """
        setup, rows = self.setup, self._chosen_rows(part, name)
        shape = (len(rows), setup.dataset.schema.count)
        xy, sigma = np.full((len(Member), *shape, 2), np.nan), np.full((len(Member), *shape), np.nan)
        truth, expected = np.full((*shape, 2), np.nan), np.zeros((*shape, 2))
        scale, angle = np.ones(len(rows)), np.zeros(len(rows))
        passes: list[tuple[Integers, Mask]] = []
        for keypoints, borrowed, labelled in self._hidden_by_keypoints(rows, name):
            hidden = np.zeros(shape, bool)
            hidden[:, keypoints] = (borrowed.noise[:, keypoints] > 0).all(axis=2)
            index = np.flatnonzero(labelled.any(axis=1))
            # Keypoints without a label are asked for too: what is answered there tells of the others.
            question = Question(
                rows[index], borrowed.take(index), hidden[index], setup.dataset.images,
                None if folds is None else folds[rows[index]],
            )  # fmt: skip
            members = answer_in_blocks(ensemble, question, setup.computing, name)
            asked = np.ix_(index, keypoints)
            xy[:, asked[0], asked[1]] = members.xy[:, :, keypoints]
            sigma[:, asked[0], asked[1]] = members.sigma[:, :, keypoints]
            truth[asked] = np.where(labelled[asked][..., None], self.anchors.xy[rows][asked], np.nan)
            if not passes:  # of keypoints that are answered together, if there are any
                expected[index], scale[index], angle[index] = members.expected, members.scale, members.angle
            passes.append((keypoints, borrowed.known & ~labelled))
        return _Hidden(rows, Members(xy, sigma, expected, scale, angle), truth, passes)

    def _chosen_rows(self, part: Mask, name: str) -> Integers:
        """Rows of a part that label a keypoint to be filled; of very many, those that label most."""
        labelled = self.anchors.exact[:, self.keypoints]
        rows = np.flatnonzero(part & labelled.any(axis=1))
        if len(rows) <= MOST_RESIDUAL_ROWS:
            return rows
        generator = np.random.default_rng(random_key(self.setup.seed, name, "rows"))
        order = np.lexsort((generator.random(len(rows)), -labelled[rows].sum(axis=1)))
        chosen: Integers = np.sort(rows[order[:MOST_RESIDUAL_ROWS]])
        return chosen

    def _hidden_by_keypoints(self, rows: Integers, name: str) -> Iterator[tuple[Integers, Anchors, Mask]]:
        """Rows (m,) with labels hidden, and (m, K) which; with the keypoints hidden each time."""
        for keypoints, bank in self._passes():
            generator = np.random.default_rng(random_key(self.setup.seed, name, int(keypoints[0])))
            borrowed = bank.draw(self.anchors.take(rows), generator)
            hidden = (borrowed.noise[:, keypoints] > 0).all(axis=2)
            wanted = np.zeros((len(rows), self.anchors.xy.shape[1]), bool)
            wanted[:, keypoints] = self.anchors.exact[rows][:, keypoints] & hidden
            yield keypoints, borrowed, wanted

    @property
    def answered_together(self) -> Integers:
        """Keypoints that most rows to be filled lack."""
        blank = self.setup.blank[:, self.keypoints]
        common: Integers = self.keypoints[blank[blank.any(axis=1)].mean(axis=0) >= 0.5]
        return common

    def _passes(self) -> list[tuple[Integers, PatternBank]]:
        """Which keypoints share one pass: those that most rows to be filled lack; the others one by one."""
        blank, common = self.setup.blank, self.answered_together
        filled: Mask = np.any(blank[:, self.keypoints], axis=1)
        passes = [(common, PatternBank.of(self.anchors, filled))] if len(common) else []
        alone = [k for k in self.keypoints.tolist() if k not in common]
        return passes + [(np.array([k]), pattern_bank(self.anchors, blank[:, k], k)) for k in alone]


def _points(hidden: _Hidden, answer: Array, sigma: Array, radii: Radii) -> HeldOutPoints:
    """The answered points (n, K) one by one, with what could be seen of their rows."""
    prior, prior_sigma = hidden.members.xy[Member.PRIOR], hidden.members.sigma[Member.PRIOR]
    radius = np.stack([sigma * radii.factor(coverage, prior_sigma) for coverage in COVERAGES], axis=2)
    answered_points = np.isfinite(hidden.truth).all(axis=2) & np.isfinite(sigma)
    hidden_row: list[Integers] = []
    shown, hiding, points = [], [], []
    for keypoints, known in hidden.passes:
        answered = np.zeros(answered_points.shape, bool)
        answered[:, keypoints] = answered_points[:, keypoints]
        rows = np.flatnonzero(answered.any(axis=1))
        at = np.argwhere(answered)
        hiding.append(np.searchsorted(rows, at[:, 0]) + sum(len(rows) for rows in hidden_row))
        hidden_row.append(rows)
        shown.append(known[rows])
        points.append(at)
    row, keypoint = np.concatenate(points).T
    return HeldOutPoints(
        hidden.rows[np.concatenate(hidden_row)], np.concatenate(shown), np.concatenate(hiding), keypoint,
        hidden.truth[row, keypoint], answer[row, keypoint], prior[row, keypoint], radius[row, keypoint],
    )  # fmt: skip


def _radii(hiding: _Hiding, residual: _Hidden, answer: Array, calibration: Calibration) -> Radii:
    """How far answers are off, by what is stated of them, by what the rows know, and by source."""
    prep, labels = hiding.setup.preparation, hiding.setup.labels
    known = hiding.anchors.known & np.isfinite(labels).all(axis=2) & prep.training[:, None]
    of_source = np.arange(len(prep.groups.names))[:, None] == prep.group_of[None]
    labelled: Mask = of_source.astype(np.int64) @ known.astype(np.int64) >= LEAST_LABELS
    _, stated = calibration.blend(residual.members.xy, residual.members.sigma)
    prior_sigma, groups = residual.members.sigma[Member.PRIOR], prep.group_of[residual.rows]
    return fit_radii(answer - residual.truth, stated, prior_sigma, groups, labelled, prep.reference)


def _scores(part: str, hidden: _Hidden, answer: Array, k: int) -> dict[str, float]:
    """Figures of a keypoint for a part's rows, and those of the prior; none without a label."""
    labelled = np.isfinite(answer[:, k] - hidden.truth[:, k]).all(axis=1)
    if not labelled.any():
        return {}
    truth = hidden.truth[labelled, k]
    found = score(answer[labelled, k] - truth)
    figures = {f"{part} rows": int(labelled.sum()), f"{part} rmse": found.rmse, f"{part} mae": found.mae}
    prior_error = hidden.members.xy[Member.PRIOR, labelled, k] - truth
    if np.isfinite(prior_error).all():  # it does not answer beside regressors that see images alone
        figures[f"{part} rmse of the prior"] = score(prior_error).rmse
    return figures
