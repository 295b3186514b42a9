"""A table to fill: by which models, with which settings, and which of its points are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelfill.arrays import Integers, Mask
from labelfill.data.dataset import Dataset
from labelfill.regressors.files import KeypointModels
from labelfill.settings import ImputeSettings
from labelfill.sources.preparation import groups_of_rows


@dataclass(frozen=True)
class FillRequest:
    """What is asked of `fill`.

    Attributes
    ----------
    groups
        (n,) the number of each row's label source.
    """

    dataset: Dataset
    models: KeypointModels
    settings: ImputeSettings
    groups: Integers

    @classmethod
    def of(cls, dataset: Dataset, models: KeypointModels, settings: ImputeSettings) -> FillRequest:
        """Rows are of the label sources that their missing patterns, or a column, tell."""
        return cls(dataset, models, settings, groups_of_rows(dataset, models.sources.groups))

    @property
    def fillable(self) -> Mask:
        """(n, K): blank points that the models answer for; identical images and a person may give others."""
        fillable: Mask = ~self.dataset.table.labelled & ~self.hidden
        fillable[:, self.models.sources.skipped] = False
        return fillable if self.models.ensemble.calibration is not None else np.zeros_like(fillable)

    @property
    def hidden(self) -> Mask:
        """(n, K): points that stay blank because the table declares them hidden."""
        hidden = None if self.settings.fill_occluded else self.dataset.occluded
        return np.zeros(self.dataset.table.labelled.shape, bool) if hidden is None else hidden

    @property
    def disputed(self) -> Mask:
        """(n, K): points that the row's source marks elsewhere than the models answer."""
        disputed = np.zeros(self.dataset.table.labelled.shape, bool)
        for offset in self.models.sources.offsets:
            disputed[self.groups == offset.group, offset.keypoint] = True
        return disputed

    @property
    def conventions(self) -> Integers:
        """(n, K): the groups in whose convention each row's own source labels."""
        reference = self.models.sources.reference[None]
        return np.where(self.disputed, self.groups[:, None], reference)
