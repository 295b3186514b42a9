"""What the stages would do, by the decisions that they make themselves; nothing is trained or written.

A run directory opened by `RunDirectory.look` keeps nothing, and what a stage would refuse is refused here
in the same words. Each function returns what ``--dry-run --json`` prints whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelfill.data.corrections import Corrections
from labelfill.data.dataset import Dataset
from labelfill.filling.fill import Found, complete_fills, fillable_points
from labelfill.filling.fills import Fills
from labelfill.filling.job import FillingJob, check_destination, output_files, plan_job
from labelfill.filling.stage import count_fills
from labelfill.final.filled_table import read_training_table
from labelfill.final.fitting import input_shape, rows_learnt_from, session_plans
from labelfill.final.model import STAGE as FINAL_STAGE
from labelfill.final.model import build_final_network
from labelfill.final.stage import final_inputs
from labelfill.final.targets import groups_of, make_lesson, targets_of
from labelfill.networks.architectures import parameter_count
from labelfill.networks.devices import choose_device
from labelfill.regressors.files import STAGE as TRAINING_STAGE
from labelfill.regressors.files import load_ensemble
from labelfill.regressors.learnable import find_learnable
from labelfill.regressors.source_audit import anchors_of_sources, compare_sources
from labelfill.regressors.stage import trained_units, training_inputs
from labelfill.regressors.stage_state import Work, begin_work
from labelfill.runs import PART_NAMES, RunDirectory, Standing, load_split
from labelfill.settings import FinalModelSettings, ImputeSettings, KeypointModelSettings, TableSettings
from labelfill.sources.preparation import LOW_DATA, declared_sources

Plan = Mapping[str, Any]


def plan_training(
    run: RunDirectory,
    dataset: Dataset,
    settings: KeypointModelSettings,
    *,
    table: TableSettings,
    device: str,
    seed: int,
    force: bool = False,
) -> Plan:
    """What `train_keypoint_models` would learn from, and how many networks it would train.

    Where labels of several sources seem to disagree the images decide: until networks have looked at them
    the number of networks is known within bounds only, and labels count as they stand.
    """
    chosen = choose_device(device)
    standing = run.standing(TRAINING_STAGE, training_inputs(dataset, settings, table, chosen, seed), force)
    work = begin_work(run, dataset, settings, table, chosen, seed)
    compared = compare_sources(work)
    learnable = find_learnable(work, anchors_of_sources(work, compared, []))
    prep, names = work.preparation, dataset.schema.keypoints
    blank = np.isnan(dataset.table.labels)
    incomplete = np.flatnonzero(work.blank.any(axis=0)).tolist()
    units = trained_units(work, learnable)
    return {
        **_standing(standing),
        "models done": sum(name in standing.units for name in _all_units(work, units, compared.suspected)),
        "table": str(dataset.table.path),
        "rows": dataset.table.rows,
        **({} if dataset.placements is None else {"frame": str(dataset.schema.image_size)}),
        "rows per part": {
            name: int((prep.parts == part).sum()) for part, name in enumerate(PART_NAMES)
        },
        "sources": {name: int((prep.group_of == g).sum()) for g, name in enumerate(prep.groups.names)},
        "suspected": [names[k] for k in compared.suspected],
        "mirror partners": "used" if work.partners is not None else "not used",
        "keypoints": {
            names[k]: {"labels": int(learnable.labels[k]), "blank cells": int(blank[:, k].sum())}
            for k in incomplete
        },
        "left blank": {names[k]: why for k, why in learnable.skipped.items()},
        "low data": [names[k] for k in learnable.kept.tolist() if learnable.labels[k] < LOW_DATA],
        "folds": prep.fold_count,
        "models": _model_counts(work, units, compared.suspected),
        "device": str(chosen),
        "writes": [str(run.path / folder) for folder in ("keypoint-models", "shared-models")],
    }  # fmt: skip


def _all_units(work: Work, units: list[str], suspected: list[int]) -> list[str]:
    return [*units, *_audit_units(work, suspected, "probe"), *_audit_units(work, suspected, "audit")]


def _audit_units(work: Work, suspected: list[int], kind: str) -> list[str]:
    return [] if work.settings.method == "prior" else [f"{kind} {k}" for k in suspected]


def _model_counts(work: Work, units: list[str], suspected: list[int]) -> list[int]:
    """How many are trained at least and at most: a second look is taken where a first one says so."""
    first = len(units) + len(_audit_units(work, suspected, "probe"))
    return [first, first + len(_audit_units(work, suspected, "audit"))]


def plan_filling(
    run: RunDirectory,
    dataset: Dataset,
    out: Path,
    settings: ImputeSettings,
    *,
    corrections: Corrections | None = None,
    device: str,
    force: bool = False,
) -> Plan:
    """Which cells `impute` would fill and which would stay blank, and the files it would write."""
    chosen = choose_device(device)
    job = plan_job(run, dataset, out, settings, corrections, chosen, overwrite=force)
    standing = run.standing(job.stage, job.inputs, force)
    counts = count_fills(job, _expected(run, job, chosen))
    blank = np.isnan(job.dataset.table.labels).sum(axis=(0, 2))
    names = job.dataset.schema.keypoints
    return {
        **_standing(standing),
        "table": str(dataset.table.path),
        "rows": counts.rows,
        "observed": counts.observed,
        "filled": counts.filled,
        "keypoints": {
            name: int(blank[k]) - counts.left_blank_keypoints.get(name, 0)
            for k, name in enumerate(names)
            if blank[k]
        },
        "left_blank": counts.left_blank,
        "left_blank_keypoints": counts.left_blank_keypoints,
        "kept_occluded": counts.kept_occluded,
        "rejected": counts.rejected,
        "max_radius": settings.max_radius,
        "copies": counts.methods.get("copy", 0),
        "unknown_source_rows": counts.unknown_source_rows,
        "device": str(chosen),
        "writes": {what: str(path) for what, path in job.outputs.items()},
    }


def _expected(run: RunDirectory, job: FillingJob, device: torch.device) -> Found:
    """What would be found, all but where: points that models answer for, copies, a person's verdicts."""
    dataset, settings = job.dataset, job.settings
    ensemble, sources, _ = load_ensemble(run, device)
    groups = sources.groups.assign(dataset.table.labelled, declared_sources(dataset, sources.groups))
    answered = fillable_points(dataset, ensemble, sources, settings)
    fills = Fills(
        np.where(answered[..., None] & np.isnan(dataset.table.labels), 0.0, np.nan),
        np.where(answered, 1.0, np.nan),
        np.where(answered, 0.0, np.nan),  # nothing is too uncertain yet
        answered.astype(np.int8),
        np.zeros(answered.shape, np.int64),
        np.full(answered.shape, "", dtype=object),
    )
    complete_fills(fills, dataset, groups, sources, settings)
    return Found(fills, groups, None)


def plan_destination(
    run: RunDirectory, dataset: Dataset, out: Path, settings: ImputeSettings, *, force: bool = False
) -> Plan:
    """Where `impute` would write once the models are trained; refused where it could not."""
    check_destination(run, dataset, out, settings, overwrite=force)
    files = output_files(out, settings, dataset)
    return {"state": "after training", "writes": {what: str(path) for what, path in files.items()}}


def plan_final(
    run: RunDirectory,
    filled: Path | None,
    original: Path | None,
    settings: FinalModelSettings,
    *,
    device: str,
    seed: int,
    images_beside: Path | None = None,
    distrust: Path | None = None,
    allow_outside: bool = False,
    force: bool = False,
) -> Plan:
    """What `train_final` would learn from, for how long, and how large the network would be."""
    chosen, settings = choose_device(device), settings.complete()
    table, told_by = read_training_table(
        run, run, filled, original, settings,
        distrust=distrust, images_beside=images_beside, allow_outside=allow_outside,
    )  # fmt: skip
    inputs = final_inputs(run, table, told_by, settings, chosen, seed)
    standing = run.standing(FINAL_STAGE, inputs, force)
    ensemble, sources, _ = load_ensemble(run, chosen)
    groups = groups_of(table, sources)
    lesson = make_lesson(table, groups, sources, settings)
    parts = load_split(run.path / "split.csv", len(groups))
    targets = targets_of(lesson, table, groups, sources, settings, parts, None)
    training, validation = rows_learnt_from(targets, parts, settings, seed)
    shape = input_shape(ensemble.schema)
    network = build_final_network(lesson.heads.outputs(settings.rows == "separate"), shape, settings)
    return {
        **_standing(standing),
        "table": str(table.dataset.table.path),
        "told by": str(told_by),
        "preset": settings.preset,
        "labels": settings.labels,
        "rows": table.dataset.table.rows,
        "training rows": len(training),
        "validation rows": len(validation),
        "epochs": [plan.epochs for plan in session_plans(settings, len(training))],
        "outputs": lesson.heads.count,
        "parameters": parameter_count(network),
        "device": str(chosen),
        "writes": [str(run.path / "final")],
    }


def _standing(standing: Standing) -> dict[str, Any]:
    return {"state": standing.state, "starts over": standing.starts_over}
