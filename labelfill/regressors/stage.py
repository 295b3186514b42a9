"""The first stage: one regressor per incomplete keypoint, and all that they stand on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from labelfill.arrays import Mask
from labelfill.data.dataset import Dataset
from labelfill.data.images.identity import exact_ids, rows_to_copy_from
from labelfill.errors import counted, real_path
from labelfill.networks.devices import Computing, keep_threads
from labelfill.regressors.cross_fitting import Calibrated, calibrate_on_hidden
from labelfill.regressors.ensemble import Ensemble
from labelfill.regressors.files import STAGE, save_distrusted, save_ensemble
from labelfill.regressors.held_out import disputed_labels, report_files
from labelfill.regressors.job import TrainingJob
from labelfill.regressors.setup import Setup, pattern_bank, set_up
from labelfill.regressors.source_audit import (
    Audit,
    anchors_of_sources,
    audit_sources,
    audit_units,
    compare_sources,
)
from labelfill.regressors.trainable import Trainable, find_trainable
from labelfill.regressors.unit_names import COARSE, FACE, TRUNK, UnitKind, UnitName, patch_name
from labelfill.regressors.units import Unit
from labelfill.regressors.views import face_view, image_view, patch_view
from labelfill.regressors.whole_image import coarse_completed, with_coarse
from labelfill.runs import PART_NAMES, RunDirectory
from labelfill.runs.engines import LOCAL, Engine
from labelfill.shape.prior import Expected, ShapePrior
from labelfill.sources.anchors import PatternBank
from labelfill.sources.conventions import ConventionOffset
from labelfill.sources.preparation import LOW_DATA

_log = logging.getLogger("labelfill")


def train_keypoint_models(
    run: RunDirectory, job: TrainingJob, *, progress: bool = False, engine: Engine = LOCAL
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
    state = run.begin_stage(STAGE, job.inputs, job.force)
    if state == "done":
        return {"state": "done before", **run.stages[STAGE]["results"]}
    keep_threads(run, STAGE)
    run.note({"input": _described_input(job.dataset), "device": str(job.device), "seed": job.seed})
    save_distrusted(run, job.dataset)
    results = _train(run, set_up(run, job, Computing(job.device, progress, engine)))
    run.finish_stage(STAGE, results=results)
    return {"state": state, **results}


def _train(run: RunDirectory, setup: Setup) -> dict[str, Any]:
    audit = audit_sources(setup)
    trainable = find_trainable(setup, audit.anchors)
    copied = _copied(setup, trainable, audit.offsets)
    for k, why in _left_blank(setup, trainable, copied).items():
        _log.warning("%s %s", setup.dataset.schema.keypoints[k], why)
    untrained = Ensemble(setup.dataset.schema, trainable.prior, setup.partners)
    completing, completed = _completed_by_whole_images(setup, untrained, trainable)
    ensemble = _with_regressors(setup, completing, completed)
    calibrated = calibrate_on_hidden(setup, ensemble, completed)
    disputed = disputed_labels(audit.offsets, setup.labels, setup.preparation.group_of, audit.anchors)
    for_report = report_files(calibrated.held_out, disputed)
    save_ensemble(run, calibrated.ensemble, audit.sources(setup, trainable.skipped), for_report)
    return _results(setup, audit, completed, calibrated, copied)


def _described_input(dataset: Dataset) -> dict[str, Any]:
    """What the manifest keeps of the table: what later stages read it by."""
    beside = dataset.images_beside
    return {
        "path": str(real_path(dataset.table.path)),
        "sha256": dataset.table.content_sha256,
        "image_size": str(dataset.schema.image_size),
        **({} if dataset.placements is None else {"framed": True}),
        **_frame_without_images(dataset),
        **({} if beside is None else {"images_beside": str(real_path(beside))}),
        **({"reading": dataset.reading.unusual} if dataset.reading.unusual else {}),
    }


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


def _copied(setup: Setup, trainable: Trainable, offsets: Sequence[ConventionOffset]) -> Mapping[int, int]:
    """By keypoint that no model answers for: of how many blank points identical images give the label."""
    dataset = setup.dataset
    if dataset.images is None or not trainable.skipped:
        return {}
    labelled: Mask = np.all(np.isfinite(dataset.labels), axis=2)
    wanted = np.zeros_like(labelled)
    skipped = list(trainable.skipped)
    wanted[:, skipped] = np.isnan(dataset.table.labels[:, skipped]).any(axis=2)
    side = np.full(labelled.shape, -1)
    for offset in offsets:
        side[setup.preparation.group_of == offset.group, offset.keypoint] = offset.group
    found = rows_to_copy_from(exact_ids(dataset.images), wanted, labelled, side)
    return Counter(k for _, k, _ in found)


def _left_blank(setup: Setup, trainable: Trainable, copied: Mapping[int, int]) -> dict[int, str]:
    """What becomes of keypoints that are not learnt, and why."""
    blank = np.isnan(setup.dataset.table.labels).any(axis=2).sum(axis=0)
    told = {}
    for k, why in trainable.skipped.items():
        points = counted(copied.get(k, 0), "point")
        if not copied.get(k):
            told[k] = f"stays blank: {why}"
        elif copied[k] < blank[k]:
            told[k] = f"stays blank but for {points}, to be copied from identical images: {why}"
        else:
            told[k] = f"is not learnt, and all its blank points are to be copied from identical images: {why}"
    return told


def trained_units(setup: Setup, trainable: Trainable) -> list[UnitName]:
    """Names of the regressors that are trained to fill."""
    if setup.settings.method == "prior" or not len(trainable.keypoints):
        return []
    names = [patch_name(k) for k in trainable.keypoints.tolist()]
    if trainable.coarse_rows.any():
        names.insert(0, COARSE)
    return names if setup.settings.method == "image-only" else [FACE, *names]


def _completed_by_whole_images(
    setup: Setup, ensemble: Ensemble, trainable: Trainable
) -> tuple[Ensemble, Trainable]:
    """Rows of which nothing is known get anchors by a regressor on whole images, if there are such rows."""
    if COARSE not in trained_units(setup, trainable):
        return ensemble, trainable
    with_whole = with_coarse(setup, ensemble, trainable.anchors)
    rows = np.flatnonzero(trainable.coarse_rows)
    anchors = coarse_completed(with_whole, trainable.anchors, rows, setup.images, setup.computing.device)
    return with_whole, replace(trainable, anchors=anchors)


def _with_regressors(setup: Setup, ensemble: Ensemble, trainable: Trainable) -> Ensemble:
    """The ensemble with a face regressor and one patch regressor per keypoint to be filled."""
    if not trained_units(setup, trainable):
        return ensemble
    image_only = setup.settings.method == "image-only"
    units = _image_units(setup, trainable) if image_only else _patch_units(setup, trainable)
    evidence = setup.evidence(trainable.prior, trainable.anchors)
    trunk = None if image_only else setup.trainer.trunk(evidence, setup.blank)
    regressors = setup.trainer.train(units, evidence, "keypoint models", trunk)
    by_unit = dict(zip([unit.name for unit in units], regressors, strict=True))
    patch = {k: by_unit[patch_name(k)] for k in trainable.keypoints.tolist()}
    return replace(ensemble, face=by_unit.get(FACE), patch=patch)


def _image_units(setup: Setup, trainable: Trainable) -> list[Unit]:
    """One regressor per keypoint that sees the whole image and nothing else."""
    schema, blind = setup.dataset.schema, PatternBank.blind(setup.dataset.schema.count)
    return [
        Unit(patch_name(k), schema.keypoints[k], image_view(k, schema, trainable.prior), blind)
        for k in trainable.keypoints.tolist()
    ]


def _patch_units(setup: Setup, trainable: Trainable) -> list[Unit]:
    """A face regressor, and one patch regressor per keypoint."""
    schema, prior, blank = setup.dataset.schema, trainable.prior, setup.blank
    filled: Mask = np.any(blank[:, trainable.keypoints], axis=1)
    bank = pattern_bank(trainable.anchors, filled, None)
    units = [Unit(FACE, "all keypoints", face_view(_expected(prior, bank), prior, schema), bank)]
    for k in trainable.keypoints.tolist():
        bank = pattern_bank(trainable.anchors, blank[:, k], k)
        view = patch_view(k, _expected(prior, bank), prior, schema, setup.settings.patch_size)
        units.append(Unit(patch_name(k), schema.keypoints[k], view, bank))
    return units


def _expected(prior: ShapePrior, bank: PatternBank) -> Expected:
    return prior.condition(np.zeros(bank.noise.shape), bank.noise)


def _results(
    setup: Setup, audit: Audit, trainable: Trainable, calibrated: Calibrated, copied: Mapping[int, int]
) -> dict[str, Any]:
    schema, figures = setup.dataset.schema, calibrated.figures
    names, labels, filled = schema.keypoints, trainable.labels, trainable.keypoints.tolist()
    members = [figures[k] for k in filled if k in figures]
    return {
        "rows": setup.dataset.table.rows,
        **_without_images_or_frame(setup.dataset),
        "rows per part": _rows_per_part(setup),
        "sources": _rows_per_source(setup),
        "convention offsets": [_described_offset(offset, setup) for offset in audit.offsets],
        "mirror partners": "used" if setup.partners is not None else "not used",
        "mirror shift": round(schema.mirror_shift, 2),
        "regressors": [names[k] for k in filled],
        "left blank": [names[k] for k in sorted(trainable.skipped)],
        **_copies_of(names, copied),
        "low data": [names[k] for k in filled if labels[k] < LOW_DATA],
        "cross-fitted rmse": _pooled(members, "cross-fitted rmse"),
        "cross-fitted rmse of the prior": _pooled(members, "cross-fitted rmse of the prior"),
        "keypoints": {names[k]: {"labels": int(labels[k]), **figures.get(k, {})} for k in filled},
        "doubtful labels": int(trainable.doubtful.sum()),
    }


def _without_images_or_frame(dataset: Dataset) -> dict[str, Any]:
    return {
        **({} if dataset.images is not None else {"without images": True}),
        **({} if dataset.placements is None else {"frame": str(dataset.schema.image_size)}),
    }


def _copies_of(names: Sequence[str], copied: Mapping[int, int]) -> dict[str, dict[str, int]]:
    """Keypoints left blank of which identical images label some points; nothing if there are none."""
    return {"copied": {names[k]: points for k, points in copied.items()}} if copied else {}


def _rows_per_part(setup: Setup) -> dict[str, int]:
    parts = setup.preparation.parts
    return {name: int((parts == part).sum()) for part, name in enumerate(PART_NAMES)}


def _rows_per_source(setup: Setup) -> dict[str, int]:
    prep = setup.preparation
    return {name: int((prep.group_of == g).sum()) for g, name in enumerate(prep.groups.names)}


def _described_offset(offset: ConventionOffset, setup: Setup) -> dict[str, Any]:
    """A convention offset for people and reports."""
    names, low_high = setup.preparation.groups.names, offset.interval.round(3)
    return {
        "keypoint": setup.dataset.schema.keypoints[offset.keypoint],
        "source": names[offset.group],
        "reference": names[offset.reference],
        "offset": offset.mean.round(3).tolist(),
        "interval": {"x": low_high[:, 0].tolist(), "y": low_high[:, 1].tolist()},
        "rows": offset.rows,
        "remaining sigma": np.sqrt(offset.noise).round(3).tolist(),
    }


def _pooled(figures: list[dict[str, float]], name: str) -> float | None:
    """The root of the mean of squares of a figure of keypoints, by their rows."""
    usable = [keypoint for keypoint in figures if name in keypoint]
    if not usable:
        return None
    rows = "cross-fitted rows"
    total = sum(keypoint[rows] for keypoint in usable)
    return float(np.sqrt(sum(keypoint[name] ** 2 * keypoint[rows] for keypoint in usable) / total))


def describe_training(run: RunDirectory, job: TrainingJob) -> Mapping[str, Any]:
    """What the first stage would learn from, and how many models it would train; nothing is written.

    Where labels of several sources seem to disagree the images decide: until networks have looked at them
    the number of models is known within bounds only, and labels count as they stand.

    Raises
    ------
    UsageError
        If it was begun with other inputs, as the stage itself would.
    """
    standing = run.standing(STAGE, job.inputs, job.force)
    setup = set_up(run, job, Computing(job.device))
    compared = compare_sources(setup)
    trainable = find_trainable(setup, anchors_of_sources(setup, compared, []))
    filling = trained_units(setup, trainable)
    probes, audits = (
        audit_units(setup, kind, compared.suspected) for kind in (UnitKind.PROBE, UnitKind.AUDIT)
    )
    # Regressors of patches start from a trunk; without such there is none.
    start = [TRUNK] if probes or (filling and job.settings.method == "anchored") else []
    first = [*start, *filling, *probes]
    dataset, names = job.dataset, job.dataset.schema.keypoints
    blank = np.isnan(dataset.table.labels).sum(axis=(0, 2))
    return {
        "state": standing.state,
        "starts over": standing.starts_over,
        "models done": sum(str(name) in standing.units for name in (*first, *audits)),
        "table": str(dataset.table.path),
        "rows": dataset.table.rows,
        **_without_images_or_frame(dataset),
        "rows per part": _rows_per_part(setup),
        "sources": _rows_per_source(setup),
        "suspected": [names[k] for k in compared.suspected],
        "mirror partners": "used" if setup.partners is not None else "not used",
        "keypoints": {
            names[k]: {"labels": int(trainable.labels[k]), "blank cells": int(blank[k])}
            for k in np.flatnonzero(setup.blank.any(axis=0)).tolist()
        },
        "left blank": {names[k]: why for k, why in trainable.skipped.items()},
        **_copies_of(names, _copied(setup, trainable, [])),
        "low data": [names[k] for k in trainable.keypoints.tolist() if trainable.labels[k] < LOW_DATA],
        "folds": setup.preparation.fold_count,
        # A second look at disputed keypoints is taken where a first one says so.
        "models": [len(first), len(first) + len(audits)],
        "device": str(job.device),
        "writes": [str(run.path / folder) for folder in ("keypoint-models", "shared-models", "report")],
    }
