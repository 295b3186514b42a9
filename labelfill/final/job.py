"""A filled table to learn from: what decides the outcome, for how long, and with how large a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from labelfill.final.filled_table import Filled, read_training_table
from labelfill.final.fitting import input_shape, rows_learnt_from, session_plans
from labelfill.final.model import STAGE, build_final_network
from labelfill.final.targets import groups_of, make_lesson, targets_of
from labelfill.networks.architectures import parameter_count
from labelfill.networks.devices import choose_device
from labelfill.original.design import design
from labelfill.regressors.files import STAGE as MODELS_STAGE
from labelfill.regressors.files import load_ensemble
from labelfill.runs import RunDirectory, json_value, load_split, sha256_file
from labelfill.settings import FinalModelSettings
from labelfill.sources.preparation import distrust_inputs

# What the default network had as settings once: runs of that time are finished for the same inputs.
_ONCE_SETTINGS = {
    "shuffle": "on", "rotate": "none", "activation": None, "batch_norm": None, "dropout": None,
    "features": None, "l1": 0.0, "l2": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class FinalJob:
    """A filled table to learn from, and how.

    Attributes
    ----------
    models
        The run whose keypoint models, label sources and split are used.
    told_by
        The file that tells the table's observed cells from filled ones.
    settings
        Complete: those that were not given are the preset's.
    force
        Start over whatever the run directory holds.
    """

    models: RunDirectory
    filled: Filled
    told_by: Path
    settings: FinalModelSettings
    device: torch.device
    seed: int
    force: bool = False

    @property
    def inputs(self) -> dict[str, Any]:
        """Everything that decides what the stage ends with."""
        return {
            "table": self.filled.dataset.table.content_sha256,
            "told by": sha256_file(self.told_by),
            "models": self.models.stage_fingerprint(MODELS_STAGE),
            "settings": {**_ONCE_SETTINGS, **json_value(self.settings)},
            "seed": self.seed,
            "device": self.device.type,
            **distrust_inputs(self.filled.dataset),
        }


def final_job(
    run: RunDirectory,
    filled: Path | None,
    original: Path | None,
    settings: FinalModelSettings,
    *,
    device: str,
    seed: int,
    models: RunDirectory | None = None,
    images_beside: Path | None = None,
    distrust: Path | None = None,
    allow_outside: bool = False,
    force: bool = False,
    progress: bool = False,
) -> FinalJob:
    """The job of learning from a filled table, which is read for it.

    Parameters
    ----------
    filled
        The filled table; None takes the one that `impute` wrote last, or the table as it was where nothing is
        learnt from fills.
    original
        The table before it was filled, if there is no sidecar.
    models
        The run whose keypoint models, label sources and split are used; None for `run` itself.
    distrust
        A list of labels that are neither learnt from nor scored; None takes those that were not trusted when
        the table was filled.
    images_beside
        The file whose folder the images are named from; None: as when the table was filled.
    allow_outside
        Whether ``image_path`` may lead out of the table's folder.

    Raises
    ------
    ModelError, DataError
        If there is no filled table, or it is not the run's own.
    """
    chosen, settings = choose_device(device), design(settings) or settings.complete()
    models = run if models is None else models
    table, told_by = read_training_table(
        models, run, filled, original, settings,
        distrust=distrust, images_beside=images_beside, allow_outside=allow_outside, progress=progress,
    )  # fmt: skip
    return FinalJob(models, table, told_by, settings, chosen, seed, force)


def describe_final(run: RunDirectory, job: FinalJob) -> Mapping[str, Any]:
    """What the third stage would learn from, for how long, and how large its network would be.

    Raises
    ------
    UsageError
        If it was begun with other inputs, as the stage itself would.
    DataError
        If there is no row to learn from.
    """
    standing = run.standing(STAGE, job.inputs, job.force)
    settings, filled = job.settings, job.filled
    ensemble, sources, _ = load_ensemble(job.models, job.device)
    groups = groups_of(filled, sources)
    lesson = make_lesson(filled, groups, sources, settings)
    parts = load_split(job.models.path / "split.csv", len(groups))
    targets = targets_of(lesson, filled, groups, sources, settings, parts, None)
    training, validation = rows_learnt_from(targets, parts, settings, job.seed)
    shape = input_shape(ensemble.schema)
    network = build_final_network(lesson.heads.outputs(settings.rows == "separate"), shape, settings)
    return {
        "state": standing.state,
        "starts over": standing.starts_over,
        "table": str(filled.dataset.table.path),
        "told by": str(job.told_by),
        "preset": settings.preset,
        "labels": settings.labels,
        "rows": filled.dataset.table.rows,
        "training rows": len(training),
        "validation rows": len(validation),
        "epochs": [plan.epochs for plan in session_plans(settings, len(training))],
        "outputs": lesson.heads.count,
        "parameters": parameter_count(network),
        "device": str(job.device),
        "writes": [str(run.path / folder) for folder in ("final", "report")],
    }
