"""What the steps of the first stage hand on to each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from labelfill.anchors import Anchors, PatternBank
from labelfill.dataset import Dataset
from labelfill.preparation import Preparation
from labelfill.regressors import Evidence
from labelfill.settings import KeypointModelSettings
from labelfill.shape import ShapePrior, fit_shape_prior, with_mirrored
from labelfill.units import UnitTrainer

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass
class Work:
    """What the stage's steps hand on."""

    dataset: Dataset
    settings: KeypointModelSettings
    preparation: Preparation
    partners: tuple[int, ...] | None
    seed: int
    device: torch.device
    trainer: UnitTrainer
    progress: bool

    @property
    def labels(self) -> Array:
        return self.dataset.labels

    @property
    def images(self) -> NDArray[np.uint8]:
        assert self.dataset.images is not None
        return self.dataset.images

    def fit_prior(self, anchors: Anchors, rows: Mask) -> ShapePrior:
        part = anchors.take(np.flatnonzero(rows))
        if self.partners is None:
            return fit_shape_prior(part.xy, part.noise, self.seed)
        return fit_shape_prior(
            *with_mirrored(part.xy, part.noise, self.dataset.schema, self.partners), self.seed
        )

    def evidence(self, prior: ShapePrior, anchors: Anchors) -> Evidence:
        prep = self.preparation
        return Evidence(
            self.dataset.schema, prior, self.partners, self.images, anchors,
            prep.training, prep.validation, prep.folds, prep.fold_count,
        )  # fmt: skip

    @property
    def blank(self) -> Mask:
        """(n, K): keypoints of which a coordinate is to be filled."""
        blank: Mask = ~self.dataset.table.labelled
        return blank


def pattern_bank(anchors: Anchors, rows: Mask, keypoint: int | None) -> PatternBank:
    """What rows to be filled know, when a keypoint (or any, if None) is asked for."""
    bank = PatternBank.of(anchors, rows)
    if keypoint is not None:
        own = bank.noise[:, keypoint]
        own[(own == 0).any(axis=1)] = np.inf  # a half-labelled point is not shown either
    return bank
