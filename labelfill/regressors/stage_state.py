"""What the steps of the first stage hand on to each other."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from labelfill.arrays import Array, Mask
from labelfill.data.dataset import Dataset, ImageDataset
from labelfill.regressors.patch_regressor import Evidence
from labelfill.regressors.units import UnitTrainer
from labelfill.runs import RunDirectory
from labelfill.runs.engines import LOCAL, Engine
from labelfill.settings import KeypointModelSettings, TableSettings
from labelfill.shape.mirror_axis import middle_shift, mirror_shift
from labelfill.shape.prior import ShapePrior, fit_shape_prior, with_mirrored
from labelfill.sources.anchors import Anchors, PatternBank, labels_as_anchors
from labelfill.sources.preparation import Preparation, choose_partners, prepare

_log = logging.getLogger("labelfill")


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
        """What networks look at; none is trained on a table without images."""
        return ImageDataset.of(self.dataset).images

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


def begin_work(
    run: RunDirectory, dataset: Dataset, settings: KeypointModelSettings, table: TableSettings,
    device: torch.device, seed: int, *, progress: bool = False, engine: Engine = LOCAL,
) -> Work:  # fmt: skip
    """What is decided before anything is trained."""
    preparation = prepare(run, dataset, table, seed)
    partners = choose_partners(dataset, settings.mirror_pairs, preparation.parts)
    if partners is not None:
        dataset = _with_mirror_shift(dataset, preparation, partners, seed)
    trainer = UnitTrainer(run, settings, seed, device, progress, engine)
    return Work(dataset, settings, preparation, partners, seed, device, trainer, progress)


def _with_mirror_shift(
    dataset: Dataset, preparation: Preparation, partners: tuple[int, ...], seed: int
) -> Dataset:
    """The dataset whose schema knows where the mirror axis of its labels lies."""
    labels = dataset.labels[preparation.training]
    if dataset.images is None:
        shift = middle_shift(labels, partners, dataset.schema)
        return replace(dataset, schema=replace(dataset.schema, mirror_shift=shift))
    anchors = labels_as_anchors(labels)
    extent = float(np.ptp(fit_shape_prior(anchors.xy, anchors.noise).mean, axis=0).max())
    shift = mirror_shift(dataset.images[preparation.training], labels, partners, extent, seed)
    if shift:
        _log.info("labels lie %+.1f px beside what they mark, judged by mirrored images", shift)
    return replace(dataset, schema=replace(dataset.schema, mirror_shift=shift))


def pattern_bank(anchors: Anchors, rows: Mask, keypoint: int | None) -> PatternBank:
    """What rows to be filled know, when a keypoint (or any, if None) is asked for."""
    bank = PatternBank.of(anchors, rows)
    if keypoint is not None:
        own = bank.noise[:, keypoint]
        own[(own == 0).any(axis=1)] = np.inf  # a half-labelled point is not shown either
    return bank
