"""The first stage: one regressor per incomplete keypoint, and all that they stand on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from labelfill.arrays import Integers, Mask
from labelfill.data.dataset import Dataset
from labelfill.networks.devices import keep_threads
from labelfill.regressors.cross_fitting import calibrate_on_hidden
from labelfill.regressors.ensemble import Ensemble
from labelfill.regressors.files import STAGE, offsets_to_json, save_distrusted, save_ensemble_files
from labelfill.regressors.held_out import disputed_labels, report_files
from labelfill.regressors.job import TrainingJob, trained_units
from labelfill.regressors.learnable import find_learnable
from labelfill.regressors.source_audit import audit_sources
from labelfill.regressors.stage_state import Work, pattern_bank
from labelfill.regressors.unit_names import COARSE, FACE, patch_name
from labelfill.regressors.units import Unit
from labelfill.regressors.views import face_view, image_view, patch_view
from labelfill.regressors.whole_image import with_coarse
from labelfill.runs import RunDirectory
from labelfill.runs.engines import LOCAL, Engine
from labelfill.shape.prior import ShapePrior
from labelfill.sources.anchors import Anchors, PatternBank
from labelfill.sources.conventions import ConventionOffset
from labelfill.sources.preparation import LOW_DATA

_log = logging.getLogger("labelfill")


def train_keypoint_models(
    run: RunDirectory,
    job: TrainingJob,
    *,
    progress: bool = False,
    engine: Engine = LOCAL,
) -> Mapping[str, Any]:
    """Train what `impute` needs on the table's training rows, and keep it in the run directory.

    Parameters
    ----------
    engine
        What trains the models; it has no say in what they become.

    Returns
    -------
    dict
        Figures for people: sources, convention offsets, and for each keypoint the cross-fitted
        RMSE in px. ``state`` says whether anything was done.
    """
    dataset = job.dataset
    state = run.begin_stage(STAGE, job.inputs, job.force)
    if state == "done":
        return {"state": "done before", **run.stages[STAGE]["results"]}
    keep_threads(run, STAGE)
    run.note(
        input={
            "path": str(dataset.table.path.resolve()),
            "sha256": dataset.table.content_sha256,
            "image_size": str(dataset.schema.image_size),
            **({} if dataset.placements is None else {"framed": True}),
            **_frame_without_images(dataset),
            **_images_elsewhere(dataset),
        },
        device=str(job.device),
        seed=job.seed,
    )
    save_distrusted(run, dataset)
    results = _train(run, job.begin(run, progress=progress, engine=engine))
    run.finish_stage(STAGE, results=results)
    return {"state": state, **results}


def _frame_without_images(dataset: Dataset) -> dict[str, str]:
    """Who says how large the images are that a table lacks."""
    if dataset.images is not None:
        return {}
    if not dataset.image_size_assumed:
        return {"without_images": "size stated"}
    _log.info(
        "%s has no images: a frame of %s is assumed, by the labels' extent; --image-size HxW states another",
        dataset.table.path, dataset.schema.image_size,
    )  # fmt: skip
    return {"without_images": "size assumed"}


def _images_elsewhere(dataset: Dataset) -> dict[str, str]:
    beside = dataset.images_beside
    return {} if beside is None else {"images_beside": str(beside.resolve())}


def _train(run: RunDirectory, work: Work) -> dict[str, Any]:
    audit = audit_sources(work)
    learnable = find_learnable(work, audit.anchors)
    anchors, kept = learnable.anchors, learnable.kept
    for k, why in learnable.skipped.items():
        _log.warning("%s stays blank: %s", work.dataset.schema.keypoints[k], why)
    ensemble = Ensemble(work.dataset.schema, learnable.prior, work.partners)
    units = trained_units(work, learnable)
    if COARSE in units:
        ensemble, anchors = with_coarse(work, ensemble, anchors, learnable.needy)
    if units:
        ensemble = _with_regressors(work, ensemble, anchors, kept)
    figures: dict[int, dict[str, float]] = {}
    held_out = None
    if len(kept):
        ensemble, figures, held_out = calibrate_on_hidden(work, ensemble, anchors, kept)
    skipped = np.array(sorted(learnable.skipped), np.int64)
    disputed = disputed_labels(audit.offsets, work.labels, work.preparation.group_of, audit.anchors)
    for_report = report_files(held_out, disputed)
    save_ensemble_files(run, ensemble, work.preparation, audit.agreements, audit.offsets, skipped, for_report)
    results = _results(work, anchors, audit.offsets, kept, skipped, figures)
    return {**results, "doubtful labels": int(learnable.doubtful.sum())}


def _with_regressors(work: Work, ensemble: Ensemble, anchors: Anchors, kept: Integers) -> Ensemble:
    """Train the face regressor and one patch regressor per keypoint to be filled."""
    schema, prior = work.dataset.schema, ensemble.prior
    blank = work.blank
    units = []
    if work.settings.method == "image-only":
        blind = PatternBank.blind(schema.count)
        units += [
            Unit(patch_name(k), schema.keypoints[k], image_view(k, schema, prior), blind)
            for k in kept.tolist()
        ]
    else:
        filled: Mask = np.any(blank[:, kept], axis=1)
        bank = pattern_bank(anchors, filled, None)
        units.append(Unit(FACE, "all keypoints", face_view(_expected(prior, bank), prior, schema), bank))
        for k in kept.tolist():
            bank = pattern_bank(anchors, blank[:, k], k)
            view = patch_view(k, _expected(prior, bank), prior, schema, work.settings.patch_size)
            units.append(Unit(patch_name(k), schema.keypoints[k], view, bank))
    regressors = work.trainer.train(units, work.evidence(prior, anchors), "keypoint models")
    by_unit = dict(zip([unit.name for unit in units], regressors, strict=True))
    return replace(
        ensemble,
        face=by_unit.get(FACE),
        patch={k: by_unit[patch_name(k)] for k in kept.tolist()},
    )


def _expected(prior: ShapePrior, bank: PatternBank) -> Any:
    return prior.condition(np.zeros(bank.noise.shape), bank.noise)


def _results(
    work: Work, anchors: Anchors, offsets: list[ConventionOffset],
    kept: Integers, skipped: Integers, figures: dict[int, dict[str, float]],
) -> dict[str, Any]:  # fmt: skip
    prep, names = work.preparation, work.dataset.schema.keypoints
    learnable = anchors.exact[prep.training].sum(axis=0)
    members = [figures[k] for k in kept.tolist() if k in figures]
    pooled = _pooled(members, "cross-fitted rmse", "cross-fitted rows")
    prior = _pooled(members, "cross-fitted rmse of the prior", "cross-fitted rows")
    return {
        "rows": len(prep.parts),
        **({} if work.dataset.images is not None else {"without images": True}),
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
