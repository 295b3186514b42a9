"""A filled table to learn from: what decides the outcome."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from labelfill.final.filled_table import Filled, FilledRequest, read_training_table
from labelfill.networks.devices import choose_device
from labelfill.original.design import design
from labelfill.regressors.unit_names import STAGE as MODELS_STAGE
from labelfill.runs import RunDirectory, json_value, sha256_file
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
    asked: FilledRequest,
    settings: FinalModelSettings,
    *,
    device: str,
    seed: int,
    models: RunDirectory | None = None,
    force: bool = False,
) -> FinalJob:
    """The job of learning from a filled table, which is read for it.

    Parameters
    ----------
    models
        The run whose keypoint models, label sources and split are used; None for `run` itself.

    Raises
    ------
    ModelError, DataError
        If there is no filled table, or it is not the run's own.
    """
    chosen, complete = choose_device(device), design(settings) or settings.complete()
    models = models or run
    table, told_by = read_training_table(models, run, asked, complete)
    return FinalJob(models, table, told_by, complete, chosen, seed, force)
