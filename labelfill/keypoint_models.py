"""The first stage: one regressor per incomplete keypoint, and all that they stand on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.agreement import Agreement
from labelfill.anchors import Anchors, PatternBank, labels_as_anchors
from labelfill.coarse import needs_coarse, with_coarse
from labelfill.conventions import ConventionOffset
from labelfill.cross_fitting import calibrate_on_hidden
from labelfill.dataset import Dataset
from labelfill.doubts import weigh_down
from labelfill.ensemble import Ensemble
from labelfill.mirroring import mirror_shift
from labelfill.model_files import STAGE, offsets_to_json, save_distrusted, save_ensemble_files
from labelfill.preparation import (
    LEAST_LABELS,
    LOW_DATA,
    Preparation,
    choose_partners,
    distrust_inputs,
    prepare,
)
from labelfill.runs import RunDirectory, json_value
from labelfill.settings import KeypointModelSettings, TableSettings
from labelfill.shape import ShapePrior, fit_shape_prior
from labelfill.source_audit import audit_sources
from labelfill.training import choose_device, keep_threads
from labelfill.units import Unit, UnitTrainer
from labelfill.views import face_view, image_view, patch_view
from labelfill.work import Work, pattern_bank

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_log = logging.getLogger("labelfill")


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
        **distrust_inputs(dataset),
    }
    state = run.begin_stage(STAGE, inputs, force)
    if state == "done":
        return {"state": "done before", **run.stages[STAGE]["results"]}
    keep_threads(run, STAGE)
    run.note(
        input={
            "path": str(dataset.table.path.resolve()),
            "sha256": dataset.table.content_sha256,
            "image_size": str(dataset.schema.image_size),
            **({} if dataset.placements is None else {"framed": True}),
            **_images_elsewhere(dataset),
        },
        device=str(chosen),
        seed=seed,
    )
    save_distrusted(run, dataset)
    preparation = prepare(run, dataset, table, seed)
    partners = choose_partners(dataset, settings.mirror_pairs, preparation.parts)
    if partners is not None:
        dataset = _with_mirror_shift(dataset, preparation, partners, seed)
    trainer = UnitTrainer(run, settings, seed, chosen, progress)
    work = Work(dataset, settings, preparation, partners, seed, chosen, trainer, progress)
    results = _train(run, work)
    run.finish_stage(STAGE, results=results)
    return {"state": state, **results}


def _images_elsewhere(dataset: Dataset) -> dict[str, str]:
    beside = dataset.images_beside
    return {} if beside is None else {"images_beside": str(beside.resolve())}


def _with_mirror_shift(
    dataset: Dataset, preparation: Preparation, partners: tuple[int, ...], seed: int
) -> Dataset:
    """The dataset whose schema knows where the mirror axis of its labels lies."""
    assert dataset.images is not None
    labels = dataset.labels[preparation.training]
    extent = float(np.ptp(fit_shape_prior(*_face_value(labels)).mean, axis=0).max())
    shift = mirror_shift(dataset.images[preparation.training], labels, partners, extent, seed)
    if shift:
        _log.info("labels lie %+.1f px beside what they mark, judged by mirrored images", shift)
    return replace(dataset, schema=replace(dataset.schema, mirror_shift=shift))


def _face_value(labels: Array) -> tuple[Array, Array]:
    anchors = labels_as_anchors(labels)
    return anchors.xy, anchors.noise


def _train(run: RunDirectory, work: Work) -> dict[str, Any]:
    audit = audit_sources(work)
    anchors, offsets, agreements = audit.anchors, audit.offsets, audit.agreements
    prior = work.fit_prior(anchors, work.preparation.training)
    anchors, prior, doubtful = _without_slips(work, anchors, prior)
    incomplete = work.blank.any(axis=0)
    learnable = anchors.exact[work.preparation.training].sum(axis=0)
    divisible = _divisible(work, anchors)
    kept = np.flatnonzero(incomplete & (learnable >= LEAST_LABELS) & divisible)
    skipped = np.setdiff1d(np.flatnonzero(incomplete), kept)
    for k in skipped:
        needed = f"{LEAST_LABELS} are needed" if divisible[k] or not learnable[k] else "all belong together"
        _log.warning(
            "%s stays blank: %d training rows label it, and %s",
            work.dataset.schema.keypoints[k], learnable[k], needed,
        )  # fmt: skip
    ensemble = Ensemble(work.dataset.schema, prior, work.partners)
    needy = needs_coarse(prior, anchors, work.blank, work.dataset.schema)
    if needy.any() and work.settings.method != "prior" and len(kept):
        ensemble, anchors = with_coarse(work, ensemble, anchors, needy)
    ensemble = _with_regressors(work, ensemble, anchors, kept)
    figures: dict[int, dict[str, float]] = {}
    if len(kept):
        ensemble, figures = calibrate_on_hidden(work, ensemble, anchors, kept)
    save_ensemble_files(run, ensemble, work.preparation, agreements, offsets, skipped)
    results = _results(work, anchors, offsets, agreements, kept, skipped, figures)
    return {**results, "doubtful labels": int(doubtful.sum())}


def _without_slips(work: Work, anchors: Anchors, prior: ShapePrior) -> tuple[Anchors, ShapePrior, Mask]:
    """Anchors and prior with implausible labels of training rows trusted less, and (n, K) which these are.

    Scores of held-out rows count every label, so theirs are left alone.
    """
    training = work.preparation.training
    doubtful, weighed = np.zeros((len(anchors), work.dataset.schema.count), bool), anchors
    for _ in range(2):  # a prior that wrong labels have widened does not find them all
        found, implausible = weigh_down(prior, anchors)
        doubtful = implausible & training[:, None]
        if not doubtful.any():
            break
        weighed = Anchors(anchors.xy, np.where(doubtful[..., None], found.noise, anchors.noise))
        prior = work.fit_prior(weighed, training)
    return weighed, prior, doubtful


def _divisible(work: Work, anchors: Anchors) -> Mask:
    """(K,): keypoints that rows of several folds label, so that each fold's model has some to learn from."""
    folds = work.preparation.folds
    labelled = [anchors.exact[folds == fold].any(axis=0) for fold in range(work.preparation.fold_count)]
    several: Mask = np.sum(labelled, axis=0) > 1
    return several


def _with_regressors(work: Work, ensemble: Ensemble, anchors: Anchors, kept: Integers) -> Ensemble:
    """Train the face regressor and one patch regressor per keypoint to be filled."""
    if work.settings.method == "prior" or not len(kept):
        return ensemble
    schema, prior = work.dataset.schema, ensemble.prior
    blank = work.blank
    units = []
    if work.settings.method == "image-only":
        blind = PatternBank.blind(schema.count)
        units += [
            Unit(f"patch {k}", schema.keypoints[k], image_view(k, schema, prior), blind, k)
            for k in kept.tolist()
        ]
    else:
        filled: Mask = np.any(blank[:, kept], axis=1)
        bank = pattern_bank(anchors, filled, None)
        units.append(Unit("face", "all keypoints", face_view(_expected(prior, bank), prior, schema), bank))
        for k in kept.tolist():
            bank = pattern_bank(anchors, blank[:, k], k)
            view = patch_view(k, _expected(prior, bank), prior, schema, work.settings.patch_size)
            units.append(Unit(f"patch {k}", schema.keypoints[k], view, bank, k))
    regressors = work.trainer.train(units, work.evidence(prior, anchors), "keypoint models")
    by_unit = dict(zip([unit.name for unit in units], regressors, strict=True))
    return replace(
        ensemble,
        face=by_unit.get("face"),
        patch={k: by_unit[f"patch {k}"] for k in kept.tolist()},
    )


def _expected(prior: ShapePrior, bank: PatternBank) -> Any:
    return prior.condition(np.zeros(bank.noise.shape), bank.noise)


def _results(
    work: Work, anchors: Anchors, offsets: list[ConventionOffset], agreements: list[Agreement],
    kept: Integers, skipped: Integers, figures: dict[int, dict[str, float]],
) -> dict[str, Any]:  # fmt: skip
    prep, names = work.preparation, work.dataset.schema.keypoints
    learnable = anchors.exact[prep.training].sum(axis=0)
    members = [figures[k] for k in kept.tolist() if k in figures]
    pooled = _pooled(members, "cross-fitted rmse", "cross-fitted rows")
    prior = _pooled(members, "cross-fitted rmse of the prior", "cross-fitted rows")
    return {
        "rows": len(prep.parts),
        **({} if work.dataset.placements is None else {"frame": str(work.dataset.schema.image_size)}),
        "rows per part": {
            "training": int(prep.training.sum()),
            "validation": int(prep.validation.sum()),
            "evaluation": int(prep.evaluation.sum()),
        },
        "sources": {name: int((prep.group_of == g).sum()) for g, name in enumerate(prep.groups.names)},
        "convention offsets": [
            offsets_to_json(offset, work.dataset.schema, prep.groups) for offset in offsets if offset.claimed
        ],
        "mirror partners": "used" if work.partners is not None else "not used",
        "mirror shift": round(work.dataset.schema.mirror_shift, 2),
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
