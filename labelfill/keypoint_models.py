"""The first stage: one regressor per incomplete keypoint, and all that they stand on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelfill.anchors import Anchors, PatternBank, in_reference_convention, labels_as_anchors
from labelfill.calibration import Calibration, calibrate
from labelfill.dataset import Dataset
from labelfill.ensemble import Ensemble, answer_in_blocks
from labelfill.model_files import STAGE, offsets_to_json, save_ensemble_files
from labelfill.patches import Pyramid
from labelfill.preparation import LEAST_LABELS, LOW_DATA, Preparation, choose_partners, prepare
from labelfill.regressors import Evidence, face_view, image_view, patch_view
from labelfill.runs import RunDirectory, json_value
from labelfill.settings import KeypointModelSettings, TableSettings
from labelfill.shape import ShapePrior, fit_shape_prior, with_mirrored
from labelfill.sources import (
    Agreement,
    ConventionOffset,
    find_agreement,
    least_offset,
    measure_offset,
)
from labelfill.training import choose_device, random_key
from labelfill.units import Unit, UnitTrainer

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_log = logging.getLogger("labelfill")

# Residuals of a keypoint are taken on at most this many rows: more cost time and tell little.
_MOST_RESIDUAL_ROWS = 1500
_COARSE_LOOSENINGS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


@dataclass
class _Work:
    """What the stage's steps hand on."""

    dataset: Dataset
    settings: KeypointModelSettings
    preparation: Preparation
    partners: tuple[int, ...] | None
    seed: int
    device: torch.device
    trainer: UnitTrainer
    progress: bool

    @property
    def labels(self) -> Array:
        return self.dataset.table.labels

    @property
    def images(self) -> NDArray[np.uint8]:
        assert self.dataset.images is not None
        return self.dataset.images

    def fit_prior(self, anchors: Anchors, rows: Mask) -> ShapePrior:
        part = anchors.take(np.flatnonzero(rows))
        if self.partners is None:
            return fit_shape_prior(part.xy, part.noise, self.seed)
        return fit_shape_prior(
            *with_mirrored(part.xy, part.noise, self.dataset.schema, self.partners), self.seed
        )

    def evidence(self, prior: ShapePrior, anchors: Anchors) -> Evidence:
        prep = self.preparation
        return Evidence(
            self.dataset.schema, prior, self.partners, self.images, anchors,
            prep.training, prep.validation, prep.folds, prep.fold_count,
        )  # fmt: skip


def train_keypoint_models(
    run: RunDirectory,
    dataset: Dataset,
    settings: KeypointModelSettings,
    *,
    table: TableSettings,
    device: str,
    seed: int,
    force: bool = False,
    progress: bool = False,
) -> Mapping[str, Any]:
    """Train what `impute` needs on the table's training rows, and keep it in the run directory.

    Returns
    -------
    dict
        Figures for people: sources, convention offsets, and for each keypoint the cross-fitted
        RMSE in px. ``state`` says whether anything was done.
    """
    chosen = choose_device(device)
    inputs = {
        "table": dataset.table.content_sha256,
        "image size": str(dataset.schema.image_size),
        "source column": table.source_column,
        "group column": table.group_column,
        "settings": json_value(settings),
        "seed": seed,
        "device": chosen.type,
        "format": 1,
    }
    state = run.begin_stage(STAGE, inputs, force)
    if state == "done":
        return {"state": "done before", **run.stages[STAGE]["results"]}
    run.note(
        input={
            "path": str(dataset.table.path.resolve()),
            "sha256": dataset.table.content_sha256,
            "image_size": str(dataset.schema.image_size),
        },
        device=str(chosen),
        seed=seed,
    )
    preparation = prepare(run, dataset, table, seed)
    partners = choose_partners(dataset, settings.mirror_pairs, preparation.parts)
    trainer = UnitTrainer(run, settings, seed, chosen, progress)
    work = _Work(dataset, settings, preparation, partners, seed, chosen, trainer, progress)
    results = _train(run, work)
    run.finish_stage(STAGE, results=results)
    return {"state": state, **results}


def _train(run: RunDirectory, work: _Work) -> dict[str, Any]:
    labels = work.labels
    observed = work.dataset.table.observed
    agreements, offsets, answers = _audit(work)
    claimed = [offset for offset in offsets if offset.claimed]
    extent = work.fit_prior(labels_as_anchors(labels), work.preparation.training).extent
    anchors = in_reference_convention(
        labels, work.preparation.group_of, claimed, answers,
        {a.group: a.untested for a in agreements if a.untested.any()}, least_offset(extent) ** 2,
    )  # fmt: skip
    prior = work.fit_prior(anchors, work.preparation.training)
    incomplete = ~observed.all(axis=(0, 2))
    learnable = anchors.exact[work.preparation.training].sum(axis=0)
    kept = np.flatnonzero(incomplete & (learnable >= LEAST_LABELS))
    skipped = np.flatnonzero(incomplete & (learnable < LEAST_LABELS))
    for k in skipped:
        _log.warning(
            "%s stays blank: %d training rows label it, and %d are needed",
            work.dataset.schema.keypoints[k], learnable[k], LEAST_LABELS,
        )  # fmt: skip
    ensemble = Ensemble(work.dataset.schema, prior, work.partners)
    needy = needs_coarse(prior, anchors, ~observed.all(axis=2), work.dataset.schema)
    if needy.any() and work.settings.method != "prior" and len(kept):
        ensemble, anchors = _with_coarse(work, ensemble, anchors, needy)
    ensemble = _with_regressors(work, ensemble, anchors, kept, {o.keypoint for o in claimed}, needy)
    figures: dict[int, dict[str, float]] = {}
    if len(kept):
        calibration, figures = _calibrated(work, ensemble, anchors, kept, needy)
        ensemble = ensemble.with_calibration(calibration)
    save_ensemble_files(run, ensemble, work.preparation, agreements, offsets, skipped)
    return _results(work, anchors, offsets, agreements, kept, skipped, figures)


def needs_coarse(prior: ShapePrior, anchors: Anchors, blank: Mask, schema: Any) -> Mask:
    """(n,): rows with blanks of which too little is known to cut a patch.

    Fewer than two anchors, or an expected error circle (95%) wider than a third of the image.
    """
    expected = prior.condition(anchors.xy, anchors.noise)
    widest = np.where(blank, 2.448 * expected.sigma, 0.0).max(axis=1)
    few = anchors.known.sum(axis=1) < 2
    wide = 2 * widest > max(schema.image_size.height, schema.image_size.width) / 3
    needy: Mask = blank.any(axis=1) & (few | wide)
    return needy


def _audit(work: _Work) -> tuple[list[Agreement], list[ConventionOffset], dict[int, Array]]:
    """Find disputed keypoints and measure their offsets by regressors that do not use them as anchors."""
    prep, labels = work.preparation, work.labels
    agreements: list[Agreement] = []
    offsets: list[ConventionOffset] = []
    answers: dict[int, Array] = {}
    if len(prep.groups.names) < 2:
        return agreements, offsets, answers
    face_value = labels_as_anchors(labels)
    reference = int(np.bincount(prep.reference, minlength=len(prep.groups.names)).argmax())
    home = prep.group_of == reference
    if not (home & prep.training).any():
        return agreements, offsets, answers
    prior = work.fit_prior(face_value, home & prep.training)
    held_out = home & ~prep.training
    for group in range(len(prep.groups.names)):
        if group == reference:
            continue
        judged_by = held_out if held_out.sum() >= 30 else home
        agreements.append(find_agreement(prior, labels, group, reference, prep.group_of == group, judged_by))
    suspected = np.flatnonzero(np.any([a.suspected for a in agreements], axis=0))
    if not len(suspected) or work.settings.method == "prior":
        return agreements, _offsets_without_images(work, agreements, prior, answers), answers
    trusted = face_value.without(suspected)
    home_anchors = Anchors(trusted.xy, np.where(home[:, None, None], face_value.noise, trusted.noise))
    elsewhere = (prep.group_of != reference) & np.isfinite(labels[:, suspected]).any(axis=(1, 2))
    bank = PatternBank.of(trusted, elsewhere)
    evidence = replace(
        work.evidence(prior, home_anchors), training=prep.training & home, validation=prep.validation & home
    )
    expected = prior.condition(trusted.xy[elsewhere], trusted.noise[elsewhere])
    units = [
        Unit(f"audit {k}", f"audit: {work.dataset.schema.keypoints[k]}",
             patch_view(k, expected, prior, work.dataset.schema, work.settings.patch_size), bank)
        for k in suspected.tolist()
    ]  # fmt: skip
    regressors = work.trainer.train(units, evidence, "source audit")
    ensemble = Ensemble(work.dataset.schema, prior, work.partners, dict(zip(suspected.tolist(), regressors, strict=True)))
    for k in suspected.tolist():
        answers[k], residual = _audit_answers(work, ensemble, trusted, home, k)
        for agreement in agreements:
            if agreement.suspected[k]:
                rows = np.flatnonzero((prep.group_of == agreement.group) & np.isfinite(labels[:, k]).all(axis=1))
                offsets.append(
                    measure_offset(agreement, k, labels, rows, answers[k][rows], residual, prior.extent)
                )
    return agreements, offsets, answers


def _audit_answers(work: _Work, ensemble: Ensemble, trusted: Anchors, home: Mask, k: int) -> tuple[Array, Array]:
    """(n, 2) answers for all rows, and (r, 2) cross-fitted label minus answer in the reference group."""
    prep, labels = work.preparation, work.labels
    wanted = np.zeros(labels.shape[:2], bool)
    wanted[:, k] = True
    everyone = np.arange(len(labels))
    members = answer_in_blocks(
        ensemble, everyone, trusted, wanted, work.images, work.device, desc="source audit", progress=work.progress
    )
    known = home & np.isfinite(labels[:, k]).all(axis=1)
    rows = np.flatnonzero(known & prep.training)
    bank = PatternBank.of(trusted, ~home)
    borrowed = bank.draw(
        labels_as_anchors(labels[rows]), np.random.default_rng(random_key(work.seed, "audit residuals", k))
    )
    own = answer_in_blocks(
        ensemble, rows, borrowed, wanted[rows], work.images, work.device, folds=prep.folds[rows]
    )
    return members.xy[2, :, k], labels[rows, k] - own.xy[2, :, k]


def _offsets_without_images(
    work: _Work, agreements: list[Agreement], prior: ShapePrior, answers: dict[int, Array]
) -> list[ConventionOffset]:
    """Offsets of suspected keypoints judged by the shape prior alone, for the method that trains no network."""
    prep, labels = work.preparation, work.labels
    offsets = []
    for agreement in agreements:
        trusted = labels_as_anchors(labels).without(~agreement.agreed)
        expected = prior.condition(trusted.xy, trusted.noise)
        for k in np.flatnonzero(agreement.suspected).tolist():
            labelled = np.isfinite(labels[:, k]).all(axis=1)
            rows = np.flatnonzero(labelled & (prep.group_of == agreement.group))
            held = np.flatnonzero(labelled & (prep.group_of == agreement.reference))
            answers[k] = expected.xy[:, k]
            residual = labels[held, k] - expected.xy[held, k]
            offsets.append(measure_offset(agreement, k, labels, rows, expected.xy[rows, k], residual, prior.extent))
    return offsets


def _with_coarse(work: _Work, ensemble: Ensemble, anchors: Anchors, needy: Mask) -> tuple[Ensemble, Anchors]:
    """Train the regressor on whole images, and give rows of which nothing is known its answers as anchors."""
    prior, schema, prep = ensemble.prior, work.dataset.schema, work.preparation
    view = image_view(None, schema, prior)
    units = [Unit("coarse", "whole image", view, PatternBank.blind(schema.count))]
    (coarse,) = work.trainer.train(units, work.evidence(prior, anchors), "whole-image regressor")
    ensemble = replace(ensemble, coarse=coarse, coarse_noise=np.full(schema.count, 1.0))
    rows = np.flatnonzero(prep.training & anchors.exact.any(axis=1))[:_MOST_RESIDUAL_ROWS]
    nothing = anchors.take(rows).without(np.arange(schema.count))
    pyramid = Pyramid(work.images[rows], work.device)
    found = ensemble.coarse_anchors(np.arange(len(rows)), nothing, pyramid, prep.folds[rows])
    error = np.where(anchors.exact[rows][..., None], anchors.xy[rows] - found.xy, np.nan)
    variance = np.nanmean(np.where(np.isfinite(error), error, np.nan) ** 2, axis=(0, 2))
    variance = np.where(np.isfinite(variance), variance, np.nanmean(variance))
    loosening = _loosening(prior, found.xy, error, variance)
    ensemble = replace(ensemble, coarse_noise=variance * loosening)
    index = np.flatnonzero(needy)
    pyramid = Pyramid(work.images[index], work.device)
    completed = ensemble.coarse_anchors(np.arange(len(index)), anchors.take(index), pyramid)
    xy, noise = anchors.xy.copy(), anchors.noise.copy()
    xy[index], noise[index] = completed.xy, completed.noise
    return ensemble, Anchors(xy, noise)


def _loosening(prior: ShapePrior, found: Array, error: Array, variance: Array) -> float:
    """By how much the noise of coarse anchors must grow so that the prior is not overconfident.

    Their errors go together (the whole face is found too far left), which the prior takes as many
    independent witnesses.
    """
    for loosening in _COARSE_LOOSENINGS:
        noise = np.broadcast_to(variance[None, :, None] * loosening, found.shape)
        expected = prior.condition(found, noise)
        left = np.where(np.isfinite(error), found + error - expected.xy, np.nan)
        share = np.nanmean((left**2).sum(axis=2) / 2 / np.maximum(expected.sigma**2, 1e-6))
        if share <= 1.2:
            break
    return loosening


def _with_regressors(
    work: _Work, ensemble: Ensemble, anchors: Anchors, kept: Integers, disputed: set[int], needy: Mask
) -> Ensemble:
    """Train the face regressor and one patch regressor per keypoint to be filled."""
    if work.settings.method == "prior" or not len(kept):
        return ensemble
    schema, prior = work.dataset.schema, ensemble.prior
    blank = ~work.dataset.table.observed.all(axis=2)
    units = []
    if work.settings.method == "image-only":
        for k in kept.tolist():
            units.append(Unit(f"patch {k}", schema.keypoints[k], image_view(k, schema, prior), PatternBank.blind(schema.count), k))
    else:
        filled = blank[:, kept].any(axis=1)
        bank = _bank(anchors, filled, None)
        units.append(Unit("face", "all keypoints", face_view(_expected(prior, bank), prior, schema), bank))
        for k in kept.tolist():
            bank = _bank(anchors, blank[:, k], k)
            view = patch_view(k, _expected(prior, bank), prior, schema, work.settings.patch_size)
            units.append(Unit(f"patch {k}", schema.keypoints[k], view, bank, k))
    regressors = work.trainer.train(units, work.evidence(prior, anchors), "keypoint models")
    by_unit = dict(zip([unit.name for unit in units], regressors, strict=True))
    return replace(
        ensemble,
        face=by_unit.get("face"),
        patch={k: by_unit[f"patch {k}"] for k in kept.tolist()},
    )


def _bank(anchors: Anchors, rows: Mask, keypoint: int | None) -> PatternBank:
    bank = PatternBank.of(anchors, rows)
    if keypoint is not None:
        own = bank.noise[:, keypoint]
        own[(own == 0).any(axis=1)] = np.inf  # a half-labelled point is not shown either
    return bank


def _expected(prior: ShapePrior, bank: PatternBank) -> Any:
    return prior.condition(np.zeros(bank.noise.shape), bank.noise)


def _calibrated(
    work: _Work, ensemble: Ensemble, anchors: Anchors, kept: Integers, needy: Mask
) -> tuple[Calibration, dict[int, dict[str, float]]]:
    """Cross-fitted residuals of all members on training rows with labels hidden; scores of held-out rows."""
    training = work.preparation.training
    xy, sigma, truth = _hidden_answers(work, ensemble, anchors, kept, training, "calibration", folded=True)
    calibration = calibrate(xy - truth[None], sigma)
    figures: dict[int, dict[str, float]] = {}
    parts = [("cross-fitted", xy, sigma, truth)]
    for name, rows in (("validation", work.preparation.validation), ("evaluation", work.preparation.evaluation)):
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
    work: _Work, ensemble: Ensemble, anchors: Anchors, kept: Integers, part: Mask, name: str, *, folded: bool
) -> tuple[Array, Array, Array]:
    """Members' answers and labels for rows of a part, each keypoint hidden as in the rows that lack it."""
    blank = ~work.dataset.table.observed.all(axis=2)
    rows = np.flatnonzero(part & anchors.exact[:, kept].any(axis=1))
    if len(rows) > _MOST_RESIDUAL_ROWS:
        generator = np.random.default_rng(random_key(work.seed, name, "rows"))
        # Rows with many labels tell most; ties are broken at random.
        order = np.lexsort((generator.random(len(rows)), -anchors.exact[rows][:, kept].sum(axis=1)))
        rows = np.sort(rows[order[:_MOST_RESIDUAL_ROWS]])
    count = work.dataset.schema.count
    xy = np.full((3, len(rows), count, 2), np.nan)
    sigma = np.full((3, len(rows), count), np.nan)
    truth = np.full((len(rows), count, 2), np.nan)
    folds = work.preparation.folds[rows] if folded else None
    for keypoints, bank in _passes(anchors, blank, kept):
        generator = np.random.default_rng(random_key(work.seed, name, int(keypoints[0])))
        borrowed = bank.draw(anchors.take(rows), generator)
        wanted = np.zeros((len(rows), count), bool)
        wanted[:, keypoints] = anchors.exact[rows][:, keypoints] & (borrowed.noise[:, keypoints] > 0).all(axis=2)
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


def _passes(anchors: Anchors, blank: Mask, kept: Integers) -> list[tuple[Integers, PatternBank]]:
    """Which keypoints can share one pass: those that most rows to be filled lack; the others one by one."""
    filled = blank[:, kept].any(axis=1)
    common = kept[blank[np.ix_(filled, kept)].mean(axis=0) >= 0.5]
    passes = [(common, PatternBank.of(anchors, filled))] if len(common) else []
    for k in kept.tolist():
        if k not in common:
            passes.append((np.array([k]), _bank(anchors, blank[:, k], k)))
    return passes


def _results(
    work: _Work, anchors: Anchors, offsets: list[ConventionOffset], agreements: list[Agreement],
    kept: Integers, skipped: Integers, figures: dict[int, dict[str, float]],
) -> dict[str, Any]:  # fmt: skip
    prep, names = work.preparation, work.dataset.schema.keypoints
    learnable = anchors.exact[prep.training].sum(axis=0)
    members = [figures[k] for k in kept.tolist() if k in figures]
    pooled = _pooled(members, "cross-fitted rmse", "cross-fitted rows")
    prior = _pooled(members, "cross-fitted rmse of the prior", "cross-fitted rows")
    return {
        "rows": int(len(prep.parts)),
        "rows per part": {
            "training": int(prep.training.sum()), "validation": int(prep.validation.sum()), "evaluation": int(prep.evaluation.sum()),
        },
        "sources": {name: int((prep.group_of == g).sum()) for g, name in enumerate(prep.groups.names)},
        "convention offsets": [
            offsets_to_json(offset, work.dataset.schema, prep.groups) for offset in offsets if offset.claimed
        ],
        "mirror partners": "used" if work.partners is not None else "not used",
        "regressors": [names[k] for k in kept],
        "left blank": [names[k] for k in skipped],
        "low data": [names[k] for k in kept if learnable[k] < LOW_DATA],
        "cross-fitted rmse": pooled,
        "cross-fitted rmse of the prior": prior,
        "keypoints": {names[k]: {"labels": int(learnable[k]), **figures.get(k, {})} for k in kept.tolist()},
    }  # fmt: skip


def _pooled(figures: list[dict[str, float]], name: str, weight: str) -> float | None:
    usable = [f for f in figures if name in f]
    if not usable:
        return None
    total = sum(f[weight] for f in usable)
    return float(np.sqrt(sum(f[name] ** 2 * f[weight] for f in usable) / total))


