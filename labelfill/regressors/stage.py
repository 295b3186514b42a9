"""The first stage: one regressor per incomplete keypoint, and all that they stand on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from labelfill.arrays import Integers, Mask
from labelfill.data.dataset import Dataset
from labelfill.networks.devices import choose_device, keep_threads
from labelfill.regressors.cross_fitting import calibrate_on_hidden
from labelfill.regressors.ensemble import Ensemble
from labelfill.regressors.files import STAGE, offsets_to_json, save_distrusted, save_ensemble_files
from labelfill.regressors.learnable import Learnable, find_learnable
from labelfill.regressors.source_audit import audit_sources
from labelfill.regressors.stage_state import Work, begin_work, pattern_bank
from labelfill.regressors.units import Unit
from labelfill.regressors.views import face_view, image_view, patch_view
from labelfill.regressors.whole_image import with_coarse
from labelfill.runs import RunDirectory, json_value
from labelfill.runs.engines import LOCAL, Engine
from labelfill.settings import KeypointModelSettings, TableSettings
from labelfill.shape.prior import ShapePrior
from labelfill.sources.anchors import Anchors, PatternBank
from labelfill.sources.conventions import ConventionOffset
from labelfill.sources.preparation import LOW_DATA, distrust_inputs

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
    chosen = choose_device(device)
    inputs = training_inputs(dataset, settings, table, chosen, seed)
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
    work = begin_work(run, dataset, settings, table, chosen, seed, progress=progress, engine=engine)
    results = _train(run, work)
    run.finish_stage(STAGE, results=results)
    return {"state": state, **results}


def training_inputs(
    dataset: Dataset, settings: KeypointModelSettings, table: TableSettings, device: torch.device, seed: int
) -> dict[str, Any]:
    """Everything that decides what the stage ends with."""
    return {
        "table": dataset.table.content_sha256,
        "image size": str(dataset.schema.image_size),
        "source column": table.source_column,
        "group column": table.group_column,
        "settings": json_value(settings),
        "seed": seed,
        "device": device.type,
        "format": 1,
        **distrust_inputs(dataset),
    }


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
    if needs_whole_images(work, learnable):
        ensemble, anchors = with_coarse(work, ensemble, anchors, learnable.needy)
    ensemble = _with_regressors(work, ensemble, anchors, kept)
    figures: dict[int, dict[str, float]] = {}
    if len(kept):
        ensemble, figures = calibrate_on_hidden(work, ensemble, anchors, kept)
    skipped = np.array(sorted(learnable.skipped), np.int64)
    save_ensemble_files(run, ensemble, work.preparation, audit.agreements, audit.offsets, skipped)
    results = _results(work, anchors, audit.offsets, kept, skipped, figures)
    return {**results, "doubtful labels": int(learnable.doubtful.sum())}


def trained_units(work: Work, learnable: Learnable) -> list[str]:
    """Names of the regressors that are trained to fill."""
    if work.settings.method == "prior" or not len(learnable.kept):
        return []
    names = [f"patch {k}" for k in learnable.kept.tolist()]
    if needs_whole_images(work, learnable):
        names.insert(0, "coarse")
    return names if work.settings.method == "image-only" else ["face", *names]


def needs_whole_images(work: Work, learnable: Learnable) -> bool:
    """Whether a regressor on whole images is trained first."""
    return bool(learnable.needy.any()) and work.settings.method != "prior" and len(learnable.kept) > 0


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
