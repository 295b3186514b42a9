"""A table to learn from: what decides the outcome, and which models will be trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from labelfill.data.dataset import Dataset
from labelfill.data.run_tables import FILL_WITHOUT
from labelfill.data.table import without_images
from labelfill.errors import DataError
from labelfill.networks.devices import choose_device
from labelfill.regressors.files import STAGE
from labelfill.regressors.learnable import Learnable, find_learnable
from labelfill.regressors.source_audit import anchors_of_sources, audit_units, compare_sources
from labelfill.regressors.stage_state import Work, begin_work
from labelfill.regressors.unit_names import COARSE, FACE, UnitKind, UnitName, patch_name
from labelfill.runs import PART_NAMES, RunDirectory, json_value
from labelfill.runs.engines import LOCAL, Engine
from labelfill.settings import KeypointModelSettings, TableSettings
from labelfill.sources.preparation import LOW_DATA, distrust_inputs

# Of what lies in a smaller square a px is a large part, and so are the errors that labels are taken to have.
_LEAST_SIDE = 8


@dataclass(frozen=True)
class TrainingJob:
    """A table to learn from, and how.

    Attributes
    ----------
    force
        Start over whatever the run directory holds.
    """

    dataset: Dataset
    settings: KeypointModelSettings
    table: TableSettings
    device: torch.device
    seed: int
    force: bool = False

    @property
    def inputs(self) -> dict[str, Any]:
        """Everything that decides what the stage ends with."""
        return {
            "table": self.dataset.table.content_sha256,
            "image size": str(self.dataset.schema.image_size),
            "source column": self.table.source_column,
            "group column": self.table.group_column,
            "settings": json_value(self.settings),
            "seed": self.seed,
            "device": self.device.type,
            "format": 1,
            **distrust_inputs(self.dataset),
        }

    def begin(self, run: RunDirectory, *, progress: bool = False, engine: Engine = LOCAL) -> Work:
        """What is decided before anything is trained."""
        return begin_work(
            run, self.dataset, self.settings, self.table, self.device, self.seed,
            progress=progress, engine=engine,
        )  # fmt: skip


def training_job(
    dataset: Dataset,
    settings: KeypointModelSettings,
    *,
    table: TableSettings,
    device: str,
    seed: int,
    force: bool = False,
) -> TrainingJob:
    """The job of learning from a table, on a device that there is.

    Raises
    ------
    DataError
        If the table has no images and networks are to look at them, or its coordinates are no px.
    """
    if dataset.images is None:
        _check_without_images(dataset, settings)
    return TrainingJob(dataset, settings, table, choose_device(device), seed, force)


def _check_without_images(dataset: Dataset, settings: KeypointModelSettings) -> None:
    table, size = dataset.table, dataset.schema.image_size
    if settings.method != "prior":
        raise DataError(f"{without_images(table.path, table.columns)}, {FILL_WITHOUT}")
    if dataset.image_size_assumed and size.width < _LEAST_SIDE:
        raise DataError(
            f"{table.path}: coordinates within {size.width} px, expected px of images; if they are shares of "
            "an image's size multiply them by it, if images are so small state their size by --image-size HxW"
        )


def trained_units(work: Work, learnable: Learnable) -> list[UnitName]:
    """Names of the regressors that are trained to fill."""
    if work.settings.method == "prior" or not len(learnable.kept):
        return []
    names = [patch_name(k) for k in learnable.kept.tolist()]
    if learnable.needy.any():
        names.insert(0, COARSE)
    return names if work.settings.method == "image-only" else [FACE, *names]


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
    work = job.begin(run)
    compared = compare_sources(work)
    learnable = find_learnable(work, anchors_of_sources(work, compared, []))
    filling = trained_units(work, learnable)
    probes, audits = (
        audit_units(work, kind, compared.suspected) for kind in (UnitKind.PROBE, UnitKind.AUDIT)
    )
    dataset, prep, names = job.dataset, work.preparation, job.dataset.schema.keypoints
    blank = np.isnan(dataset.table.labels).sum(axis=(0, 2))
    return {
        "state": standing.state,
        "starts over": standing.starts_over,
        "models done": sum(str(name) in standing.units for name in (*filling, *probes, *audits)),
        "table": str(dataset.table.path),
        "rows": dataset.table.rows,
        **({} if dataset.images is not None else {"without images": True}),
        **({} if dataset.placements is None else {"frame": str(dataset.schema.image_size)}),
        "rows per part": {
            name: int((prep.parts == part).sum()) for part, name in enumerate(PART_NAMES)
        },
        "sources": {name: int((prep.group_of == g).sum()) for g, name in enumerate(prep.groups.names)},
        "suspected": [names[k] for k in compared.suspected],
        "mirror partners": "used" if work.partners is not None else "not used",
        "keypoints": {
            names[k]: {"labels": int(learnable.labels[k]), "blank cells": int(blank[k])}
            for k in np.flatnonzero(work.blank.any(axis=0)).tolist()
        },
        "left blank": {names[k]: why for k, why in learnable.skipped.items()},
        "low data": [names[k] for k in learnable.kept.tolist() if learnable.labels[k] < LOW_DATA],
        "folds": prep.fold_count,
        # A second look at disputed keypoints is taken where a first one says so.
        "models": [len(filling) + len(probes), len(filling) + len(probes) + len(audits)],
        "device": str(job.device),
        "writes": [str(run.path / folder) for folder in ("keypoint-models", "shared-models", "report")],
    }  # fmt: skip
