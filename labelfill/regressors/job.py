"""A table to learn from: what decides the outcome, and what is refused beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from labelfill.data.dataset import Dataset
from labelfill.data.run_tables import FILL_WITHOUT
from labelfill.data.table import lacks_images
from labelfill.errors import DataError
from labelfill.networks.devices import choose_device
from labelfill.runs import json_value
from labelfill.settings import KeypointModelSettings, TableSettings
from labelfill.sources.preparation import distrust_inputs, reading_inputs

# Of the networks: 2 since those of patches start from a trunk, 3 since they pool before they normalise.
_FORMAT = 3
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
            "format": 1 if self.settings.method == "prior" else _FORMAT,
            **reading_inputs(self.dataset),
            **distrust_inputs(self.dataset),
        }


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
        raise DataError(f"{lacks_images(table)}, {FILL_WITHOUT}")
    if dataset.image_size_assumed and size.width < _LEAST_SIDE:
        raise DataError(
            f"{table.path}: all coordinates lie within {size.width} px, expected px of images; if they are "
            "shares of the image size pass --coordinates share and --image-size HxW, if images "
            "really are that "
            "small pass --image-size HxW"
        )
