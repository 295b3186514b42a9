"""What the first stage decides about a table before it trains anything."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Mask
from labelfill.data.dataset import Dataset, ImageDataset
from labelfill.networks.devices import Computing
from labelfill.regressors.examples import Evidence
from labelfill.regressors.job import TrainingJob
from labelfill.regressors.units import UnitTrainer
from labelfill.runs import RunDirectory
from labelfill.settings import KeypointModelSettings
from labelfill.shape.mirror_axis import middle_shift, mirror_shift
from labelfill.shape.prior import ShapePrior, fit_shape_prior, with_mirrored
from labelfill.sources.anchors import Anchors, PatternBank, labels_as_anchors
from labelfill.sources.preparation import Preparation, choose_partners, prepare

_log = logging.getLogger("labelfill")

# Residuals of a keypoint are taken on at most this many rows: more cost time and tell little.
MOST_RESIDUAL_ROWS = 1500


@dataclass(frozen=True)
class Setup:
    """What is decided before anything is trained, for all steps of the stage.

    Attributes
    ----------
    dataset
        Its schema knows where the mirror axis of the labels lies.
    partners
        (K,) mirror partners; None if mirrored rows are not used.
    """

    dataset: Dataset
    settings: KeypointModelSettings
    preparation: Preparation
    partners: tuple[int, ...] | None
    seed: int
    computing: Computing
    trainer: UnitTrainer

    @property
    def labels(self) -> Array:
        """(n, K, 2), px of the frame."""
        return self.dataset.labels

    @property
    def images(self) -> NDArray[np.uint8]:
        """What networks look at; none is trained on a table without images."""
        return ImageDataset.of(self.dataset).images

    def fit_prior(self, anchors: Anchors, rows: Mask) -> ShapePrior:
        """The shape prior of some rows (n,), of their mirrored copies too where partners are known."""
        part = anchors.take(np.flatnonzero(rows))
        if self.partners is None:
            return fit_shape_prior(part.xy, part.noise, self.seed)
        return fit_shape_prior(
            *with_mirrored(part.xy, part.noise, self.dataset.schema, self.partners), self.seed
        )

    def evidence(self, prior: ShapePrior, anchors: Anchors) -> Evidence:
        """What regressors learn from, given a prior and anchors of all rows."""
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


def set_up(run: RunDirectory, job: TrainingJob, computing: Computing) -> Setup:
    """Decide on sources, split, folds and mirror partners."""
    dataset, settings, seed = job.dataset, job.settings, job.seed
    preparation = prepare(run, dataset, job.table, seed)
    partners = choose_partners(dataset, settings.mirror_pairs, preparation.parts)
    if partners is not None:
        dataset = _with_mirror_shift(dataset, preparation, partners, seed)
    trainer = UnitTrainer(run, settings, seed, computing)
    return Setup(dataset, settings, preparation, partners, seed, computing, trainer)


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
        _log.info(
            "labels lie %+.1f px off the middle of mirrored images; mirrored copies allow for it", shift
        )
    return replace(dataset, schema=replace(dataset.schema, mirror_shift=shift))


def pattern_bank(anchors: Anchors, rows: Mask, keypoint: int | None) -> PatternBank:
    """What rows to be filled know, when a keypoint (or any, if None) is asked for."""
    bank = PatternBank.of(anchors, rows)
    return bank if keypoint is None else bank.hiding(keypoint)
