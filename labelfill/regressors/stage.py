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
from labelfill.regressors.cross_fitting import calibrate_on_hidden
from labelfill.regressors.ensemble import Ensemble
from labelfill.regressors.files import save_distrusted, save_ensemble
from labelfill.regressors.held_out import disputed_labels, report_files
from labelfill.regressors.job import TrainingJob
from labelfill.regressors.results import stage_results
from labelfill.regressors.setup import Setup, pattern_bank, set_up
from labelfill.regressors.source_audit import audit_sources
from labelfill.regressors.trainable import Trainable, find_trainable
from labelfill.regressors.unit_names import COARSE, FACE, STAGE, UnitName, patch_name
from labelfill.regressors.units import Unit
from labelfill.regressors.views import face_view, image_view, patch_view
from labelfill.regressors.whole_image import coarse_completed, with_coarse
from labelfill.runs import RunDirectory
from labelfill.runs.engines import LOCAL, Engine
from labelfill.shape.prior import Expected, ShapePrior
from labelfill.sources.anchors import PatternBank
from labelfill.sources.conventions import ConventionOffset

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
    copied = copied_points(setup, trainable, audit.offsets)
    for k, why in _left_blank(setup, trainable, copied).items():
        _log.warning("%s %s", setup.dataset.schema.keypoints[k], why)
    untrained = Ensemble(setup.dataset.schema, trainable.prior, setup.partners)
    completing, completed = _completed_by_whole_images(setup, untrained, trainable)
    ensemble = _with_regressors(setup, completing, completed)
    calibrated = calibrate_on_hidden(setup, ensemble, completed)
    disputed = disputed_labels(audit.offsets, setup.labels, setup.preparation.group_of, audit.anchors)
    for_report = report_files(calibrated.held_out, disputed)
    save_ensemble(run, calibrated.ensemble, audit.sources(setup, trainable.skipped), for_report)
    return stage_results(setup, audit, completed, calibrated, copied)


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
        "%s has no images: an image size of %s is assumed from the labels; set another with --image-size HxW",
        dataset.table.path, dataset.schema.image_size,
    )  # fmt: skip
    return {"without_images": "size assumed"}


def copied_points(
    setup: Setup, trainable: Trainable, offsets: Sequence[ConventionOffset]
) -> Mapping[int, int]:
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
            told[k] = f"stays blank except for {points}, copied from identical images: {why}"
        else:
            told[k] = f"gets no model, but all its blanks can be copied from identical images: {why}"
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
    units = filling_units(setup, trainable)
    evidence = setup.evidence(trainable.prior, trainable.anchors)
    blank = None if image_only else setup.blank
    trainer = setup.trainer.announce("keypoint models", units, evidence, blank)
    start = None if blank is None else trainer.start(evidence, blank)
    regressors = trainer.train(units, evidence, "keypoint models", start)
    by_unit = dict(zip([unit.name for unit in units], regressors, strict=True))
    patch = {k: by_unit[patch_name(k)] for k in trainable.keypoints.tolist()}
    return replace(ensemble, face=by_unit.get(FACE), patch=patch)


def filling_units(setup: Setup, trainable: Trainable) -> list[Unit]:
    """The regressors that fill, a coarse one aside."""
    image_only = setup.settings.method == "image-only"
    return _image_units(setup, trainable) if image_only else _patch_units(setup, trainable)


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
