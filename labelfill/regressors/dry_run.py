"""What the first stage would do: a dry run, which writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from labelfill.networks.devices import Computing
from labelfill.regressors.job import TrainingJob
from labelfill.regressors.results import copies_of, rows_per_part, rows_per_source, without_images_or_frame
from labelfill.regressors.setup import Setup, set_up
from labelfill.regressors.source_audit import anchors_of_sources, audit_units, compare_sources
from labelfill.regressors.stage import copied_points, filling_units, trained_units
from labelfill.regressors.trainable import Trainable, find_trainable
from labelfill.regressors.unit_names import STAGE, TRUNK, UnitKind
from labelfill.runs import RunDirectory
from labelfill.sources.preparation import LOW_DATA


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
    todo = replace(setup.trainer, finished=standing.units if standing.state == "resume" else ())
    dataset, names = job.dataset, job.dataset.schema.keypoints
    blank = np.isnan(dataset.table.labels).sum(axis=(0, 2))
    return {
        "state": standing.state,
        "starts over": standing.starts_over,
        "models done": sum(str(name) in standing.units for name in (*first, *audits)),
        "table": str(dataset.table.path),
        "rows": dataset.table.rows,
        **without_images_or_frame(dataset),
        "rows per part": rows_per_part(setup),
        "sources": rows_per_source(setup),
        "suspected": [names[k] for k in compared.suspected],
        "mirror partners": "used" if setup.partners is not None else "not used",
        "keypoints": {
            names[k]: {"labels": int(trainable.labels[k]), "blank cells": int(blank[k])}
            for k in np.flatnonzero(setup.blank.any(axis=0)).tolist()
        },
        "left blank": {names[k]: why for k, why in trainable.skipped.items()},
        **copies_of(names, copied_points(setup, trainable, [])),
        "low data": [names[k] for k in trainable.keypoints.tolist() if trainable.labels[k] < LOW_DATA],
        "folds": setup.preparation.fold_count,
        # A second look at disputed keypoints is taken where a first one says so.
        "models": [len(first), len(first) + len(audits)],
        "estimated seconds": None
        if standing.state == "done"
        else _seconds(replace(setup, trainer=todo), trainable, len(probes), len(audits)),
        "device": str(job.device),
        "writes": [str(run.path / folder) for folder in ("keypoint-models", "shared-models", "report")],
    }


def _seconds(setup: Setup, trainable: Trainable, probes: int, audits: int) -> list[float] | None:
    """About how long training will take, at least and at most; None where that cannot be told.

    Parameters
    ----------
    probes, audits
        How many models the source audit trains in its first look, and at most in its second; each is about as
        costly as one that fills.
    """
    if not trained_units(setup, trainable):
        return None
    blank = None if setup.settings.method == "image-only" else setup.blank
    evidence, units = setup.evidence(trainable.prior, trainable.anchors), filling_units(setup, trainable)
    tasks = setup.trainer.planned(units, evidence, blank)
    if not tasks:
        return None
    seconds = setup.trainer.estimated_seconds(tasks, evidence)
    if seconds is None:
        return None
    each = tasks[-1].steps / sum(task.steps for task in tasks)
    return [seconds * (1 + each * count) for count in (probes, probes + audits)]
