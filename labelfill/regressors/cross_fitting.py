"""Answers for rows whose labels are hidden as in rows to be filled: what calibration and scores rest on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from labelfill.arrays import Array, Integers, Mask
from labelfill.regressors.answering import answer_in_blocks
from labelfill.regressors.calibration.blending import Calibration, calibrate, gain_of_averaging
from labelfill.regressors.calibration.joint_correction import fit_joint_correction
from labelfill.regressors.calibration.radii import Radii, fit_radii
from labelfill.regressors.ensemble import Ensemble, Member, Members
from labelfill.regressors.held_out import COVERAGES, HeldOutPoints
from labelfill.regressors.stage_state import Work, pattern_bank
from labelfill.runs.randomness import random_key
from labelfill.sources.anchors import Anchors, PatternBank
from labelfill.sources.preparation import LEAST_LABELS

# Residuals of a keypoint are taken on at most this many rows: more cost time and tell little.
MOST_RESIDUAL_ROWS = 1500


def calibrate_on_hidden(
    work: Work, ensemble: Ensemble, anchors: Anchors, kept: Integers
) -> tuple[Ensemble, dict[int, dict[str, float]], HeldOutPoints]:
    """The ensemble with weights, joint correction and radii from cross-fitted residuals; scores by part.

    Residuals are of all members on training rows with labels hidden; scores are of held-out rows too, whose
    points are kept.
    """
    prep = work.preparation
    training = prep.training
    priors = tuple(
        work.fit_prior(anchors, training & (prep.folds != fold)) for fold in range(prep.fold_count)
    )
    hidden = replace(ensemble, fold_priors=priors)
    own = _hidden_answers(work, hidden, anchors, kept, training, "calibration", folds=prep.folds)
    calibration = calibrate(own.members.xy - own.truth[None], own.members.sigma)
    corrected, stated = calibration.blend(own.members.xy, own.members.sigma)
    joint = None
    if ensemble.patch and not ensemble.image_only:
        together = _answered_together(work.blank, kept)
        joint, corrected = fit_joint_correction(
            own.members.found, corrected, own.truth, prep.joint_folds[own.rows], together, work.partners
        )
    calibration = calibration.rescaled(corrected - own.truth, stated)
    radii = _radii(work, anchors, own, corrected, calibration)
    ensemble = replace(ensemble, calibration=calibration, joint=joint, radii=radii)
    gain = _gain_of_averaging(work, ensemble, anchors, kept)
    ensemble = replace(ensemble, calibration=calibration.narrowed(gain), radii=radii.narrowed(gain))
    figures: dict[int, dict[str, float]] = {}
    _note(figures, "cross-fitted", own, corrected, kept)
    held_out = _hidden_answers(work, ensemble, anchors, kept, ~training, "held-out")
    answer, sigma = ensemble.best(held_out.members)
    for name, part in (("validation", prep.validation), ("evaluation", prep.evaluation)):
        _note(figures, name, held_out, np.where(part[held_out.rows, None, None], answer, np.nan), kept)
    return ensemble, figures, _points(held_out, answer, sigma, radii.narrowed(gain))


def _gain_of_averaging(work: Work, ensemble: Ensemble, anchors: Anchors, kept: Integers) -> Array:
    """(K,): by how much answers are better than the residuals that they are calibrated on.

    A row to be filled is answered by the average of all folds' networks, a residual is of one fold's. Of rows
    that no network learnt from their disagreement tells what averaging takes away; labels have no say in it.
    """
    prep = work.preparation
    if not ensemble.patch or not prep.validation.any():
        return np.ones(work.dataset.schema.count)
    each = [
        ensemble.best(
            _hidden_answers(
                work,
                ensemble,
                anchors,
                kept,
                prep.validation,
                "validation",
                folds=np.full(len(prep.folds), fold),
            ).members
        )
        for fold in range(prep.fold_count)
    ]
    return gain_of_averaging(np.stack([xy for xy, _ in each]), np.stack([sigma for _, sigma in each]))


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


def _points(hidden: _Hidden, answer: Array, sigma: Array, radii: Radii) -> HeldOutPoints:
    """The answered points (n, K) one by one, with what could be seen of their rows."""
    prior, prior_sigma = hidden.members.xy[Member.PRIOR], hidden.members.sigma[Member.PRIOR]
    radius = np.stack([sigma * radii.factor(coverage, prior_sigma) for coverage in COVERAGES], axis=2)
    there = np.isfinite(hidden.truth).all(axis=2) & np.isfinite(sigma)
    hidden_row: list[Integers] = []
    shown, hiding, points = [], [], []
    for keypoints, known in hidden.passes:
        own = np.zeros(there.shape, bool)
        own[:, keypoints] = there[:, keypoints]
        rows = np.flatnonzero(own.any(axis=1))
        at = np.argwhere(own)
        hiding.append(np.searchsorted(rows, at[:, 0]) + sum(len(rows) for rows in hidden_row))
        hidden_row.append(rows)
        shown.append(known[rows])
        points.append(at)
    row, keypoint = np.concatenate(points).T
    return HeldOutPoints(
        hidden.rows[np.concatenate(hidden_row)], np.concatenate(shown), np.concatenate(hiding), keypoint,
        hidden.truth[row, keypoint], answer[row, keypoint], prior[row, keypoint], radius[row, keypoint],
    )  # fmt: skip


def _radii(work: Work, anchors: Anchors, hidden: _Hidden, answer: Array, calibration: Calibration) -> Radii:
    """How far answers are off, by what is stated of them, by what the rows know, and by source."""
    prep = work.preparation
    known = anchors.known & np.isfinite(work.labels).all(axis=2) & prep.training[:, None]
    of_source = np.arange(len(prep.groups.names))[:, None] == prep.group_of[None]
    labelled: Mask = of_source.astype(np.int64) @ known.astype(np.int64) >= LEAST_LABELS
    _, stated = calibration.blend(hidden.members.xy, hidden.members.sigma)
    prior_sigma = hidden.members.sigma[Member.PRIOR]
    groups = prep.group_of[hidden.rows]
    return fit_radii(answer - hidden.truth, stated, prior_sigma, groups, labelled, prep.reference)


def _note(
    figures: dict[int, dict[str, float]], part: str, hidden: _Hidden, answer: Array, kept: Integers
) -> None:
    """Put the scores of a part's rows beside those that are there, by keypoint."""
    for k in kept.tolist():
        labelled = np.isfinite(answer[:, k] - hidden.truth[:, k]).all(axis=1)
        error = (answer[:, k] - hidden.truth[:, k])[labelled]
        prior_error = (hidden.members.xy[Member.PRIOR, :, k] - hidden.truth[:, k])[labelled]
        if len(error):
            figures.setdefault(k, {}).update({
                f"{part} rows": len(error),
                f"{part} rmse": float(np.sqrt(np.mean(error**2))),
                f"{part} mae": float(np.mean(np.abs(error))),
            })  # fmt: skip
            if np.isfinite(prior_error).all():  # it does not answer beside regressors that see images alone
                figures[k][f"{part} rmse of the prior"] = float(np.sqrt(np.mean(prior_error**2)))


def _hidden_answers(
    work: Work, ensemble: Ensemble, anchors: Anchors, kept: Integers, part: Mask, name: str,
    *, folds: Integers | None = None,
) -> _Hidden:  # fmt: skip
    """Members' answers and labels for rows of a part, each keypoint hidden as in the rows that lack it.

    With `folds`, for all rows of the table, answers are of the networks that did not see a row's fold.
    """
    rows = _chosen_rows(work, anchors, kept, part, name)
    count = work.dataset.schema.count
    xy = np.full((len(Member), len(rows), count, 2), np.nan)
    sigma = np.full((len(Member), len(rows), count), np.nan)
    truth = np.full((len(rows), count, 2), np.nan)
    expected, scale, angle = np.zeros((len(rows), count, 2)), np.ones(len(rows)), np.zeros(len(rows))
    passes: list[tuple[Integers, Mask]] = []
    hidings = _hidden_by_keypoints(anchors, work.blank, kept, rows, work.seed, name)
    for number, (keypoints, borrowed, labelled) in enumerate(hidings):
        hidden = np.zeros((len(rows), count), bool)
        hidden[:, keypoints] = (borrowed.noise[:, keypoints] > 0).all(axis=2)
        some = np.flatnonzero(labelled.any(axis=1))
        # Keypoints without a label are asked for too: what is answered there tells of the others.
        members = answer_in_blocks(
            ensemble, rows[some], borrowed.take(some), hidden[some], work.dataset.images, work.device,
            folds=None if folds is None else folds[rows[some]], desc=name, progress=work.progress,
        )  # fmt: skip
        asked = np.ix_(some, keypoints)
        xy[:, asked[0], asked[1]] = members.xy[:, :, keypoints]
        sigma[:, asked[0], asked[1]] = members.sigma[:, :, keypoints]
        truth[asked] = np.where(labelled[asked][..., None], anchors.xy[rows][asked], np.nan)
        passes.append((keypoints, borrowed.known & ~labelled))
        if number == 0:  # of keypoints that are answered together, if there are any
            expected[some], scale[some], angle[some] = members.expected, members.scale, members.angle
    return _Hidden(rows, Members(xy, sigma, expected, scale, angle), truth, passes)


def _chosen_rows(work: Work, anchors: Anchors, kept: Integers, part: Mask, name: str) -> Integers:
    """Rows of a part that label a keypoint to be filled; of very many, those that label most."""
    rows = np.flatnonzero(part & anchors.exact[:, kept].any(axis=1))
    if len(rows) <= MOST_RESIDUAL_ROWS:
        return rows
    generator = np.random.default_rng(random_key(work.seed, name, "rows"))
    order = np.lexsort((generator.random(len(rows)), -anchors.exact[rows][:, kept].sum(axis=1)))
    chosen: Integers = np.sort(rows[order[:MOST_RESIDUAL_ROWS]])
    return chosen


def _hidden_by_keypoints(
    anchors: Anchors, blank: Mask, kept: Integers, rows: Integers, seed: int, name: str
) -> Iterator[tuple[Integers, Anchors, Mask]]:
    """Rows with labels hidden as in rows to be filled, and (m, K) which; with the keypoints hidden each time.

    Parameters
    ----------
    anchors, blank
        Of all rows; (n, K) points of which a coordinate is to be filled.
    kept
        Keypoints to hide.
    rows
        (m,): of which rows.
    seed, name
        Decide which row borrows which pattern.
    """
    for keypoints, bank in _passes(anchors, blank, kept):
        generator = np.random.default_rng(random_key(seed, name, int(keypoints[0])))
        borrowed = bank.draw(anchors.take(rows), generator)
        wanted = np.zeros((len(rows), anchors.xy.shape[1]), bool)
        hidden = (borrowed.noise[:, keypoints] > 0).all(axis=2)
        wanted[:, keypoints] = anchors.exact[rows][:, keypoints] & hidden
        yield keypoints, borrowed, wanted


def _answered_together(blank: Mask, kept: Integers) -> Integers:
    """Keypoints that most rows to be filled lack."""
    filled: Mask = np.any(blank[:, kept], axis=1)
    common: Integers = kept[blank[np.ix_(filled, kept)].mean(axis=0) >= 0.5]
    return common


def _passes(anchors: Anchors, blank: Mask, kept: Integers) -> list[tuple[Integers, PatternBank]]:
    """Which keypoints can share one pass: those that most rows to be filled lack; the others one by one."""
    filled: Mask = np.any(blank[:, kept], axis=1)
    common = _answered_together(blank, kept)
    passes = [(common, PatternBank.of(anchors, filled))] if len(common) else []
    alone = [k for k in kept.tolist() if k not in common]
    return passes + [(np.array([k]), pattern_bank(anchors, blank[:, k], k)) for k in alone]
