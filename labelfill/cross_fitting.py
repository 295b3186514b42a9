"""Answers for rows whose labels are hidden as in rows to be filled: what calibration and scores rest on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from labelfill.anchors import Anchors, PatternBank
from labelfill.calibration import Calibration, calibrate
from labelfill.ensemble import Ensemble, answer_in_blocks
from labelfill.training import random_key
from labelfill.work import Work, pattern_bank

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Residuals of a keypoint are taken on at most this many rows: more cost time and tell little.
MOST_RESIDUAL_ROWS = 1500


def calibrate_on_hidden(
    work: Work, ensemble: Ensemble, anchors: Anchors, kept: Integers
) -> tuple[Calibration, dict[int, dict[str, float]]]:
    """Cross-fitted residuals of all members on training rows with labels hidden; scores of held-out rows."""
    training = work.preparation.training
    prep = work.preparation
    priors = tuple(
        work.fit_prior(anchors, training & (prep.folds != fold)) for fold in range(prep.fold_count)
    )
    ensemble = replace(ensemble, fold_priors=priors)
    xy, sigma, truth = _hidden_answers(work, ensemble, anchors, kept, training, "calibration", folded=True)
    calibration = calibrate(xy - truth[None], sigma)
    figures: dict[int, dict[str, float]] = {}
    parts = [("cross-fitted", xy, sigma, truth)]
    for name, rows in (
        ("validation", work.preparation.validation),
        ("evaluation", work.preparation.evaluation),
    ):
        parts.append((name, *_hidden_answers(work, ensemble, anchors, kept, rows, name, folded=False)))
    for name, found, stated, labels in parts:
        blended, _ = calibration.blend(found, np.where(np.isfinite(found).all(axis=3), stated, np.nan))
        for k in kept.tolist():
            error = (blended[:, k] - labels[:, k])[np.isfinite(labels[:, k]).all(axis=1)]
            prior_error = (found[0, :, k] - labels[:, k])[np.isfinite(labels[:, k]).all(axis=1)]
            if len(error):
                figures.setdefault(k, {}).update({
                    f"{name} rows": len(error),
                    f"{name} rmse": float(np.sqrt(np.mean(error**2))),
                    f"{name} mae": float(np.mean(np.abs(error))),
                    f"{name} rmse of the prior": float(np.sqrt(np.mean(prior_error**2))),
                })  # fmt: skip
    return calibration, figures


def _hidden_answers(
    work: Work, ensemble: Ensemble, anchors: Anchors, kept: Integers, part: Mask, name: str, *, folded: bool
) -> tuple[Array, Array, Array]:
    """Members' answers and labels for rows of a part, each keypoint hidden as in the rows that lack it."""
    blank = ~work.dataset.table.labelled
    rows = np.flatnonzero(part & anchors.exact[:, kept].any(axis=1))
    if len(rows) > MOST_RESIDUAL_ROWS:
        generator = np.random.default_rng(random_key(work.seed, name, "rows"))
        # Rows with many labels tell most; ties are broken at random.
        order = np.lexsort((generator.random(len(rows)), -anchors.exact[rows][:, kept].sum(axis=1)))
        rows = np.sort(rows[order[:MOST_RESIDUAL_ROWS]])
    count = work.dataset.schema.count
    xy = np.full((3, len(rows), count, 2), np.nan)
    sigma = np.full((3, len(rows), count), np.nan)
    truth = np.full((len(rows), count, 2), np.nan)
    folds = work.preparation.folds[rows] if folded else None
    for borrowed, wanted in hidden_passes(anchors, blank, kept, rows, work.seed, name):
        some = np.flatnonzero(wanted.any(axis=1))
        members = answer_in_blocks(
            ensemble, rows[some], borrowed.take(some), wanted[some], work.images, work.device,
            folds=None if folds is None else folds[some], desc=name, progress=work.progress,
        )  # fmt: skip
        found = np.zeros((len(rows), count), bool)
        found[some] = wanted[some]
        at = np.nonzero(found)
        local = np.full(len(rows), -1)
        local[some] = np.arange(len(some))
        xy[:, at[0], at[1]] = members.xy[:, local[at[0]], at[1]]
        sigma[:, at[0], at[1]] = members.sigma[:, local[at[0]], at[1]]
        truth[at] = anchors.xy[rows][at]
    return xy, sigma, truth


def hidden_passes(
    anchors: Anchors, blank: Mask, kept: Integers, rows: Integers, seed: int, name: str
) -> Iterator[tuple[Anchors, Mask]]:
    """Rows with labels hidden as in rows to be filled, and (m, K) which; once per bank of patterns.

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
        yield borrowed, wanted


def _passes(anchors: Anchors, blank: Mask, kept: Integers) -> list[tuple[Integers, PatternBank]]:
    """Which keypoints can share one pass: those that most rows to be filled lack; the others one by one."""
    filled: Mask = np.any(blank[:, kept], axis=1)
    common = kept[blank[np.ix_(filled, kept)].mean(axis=0) >= 0.5]
    passes = [(common, PatternBank.of(anchors, filled))] if len(common) else []
    alone = [k for k in kept.tolist() if k not in common]
    return passes + [(np.array([k]), pattern_bank(anchors, blank[:, k], k)) for k in alone]
