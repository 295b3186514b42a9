"""The common start of patch regressors: a network that learns the patches of all keypoints together.

What a patch shows (edges, corners, how it is lit) is much the same around every keypoint. So one trunk per
fold learns it once, from all keypoints' patches, without that fold's rows; the network of each keypoint and
fold starts from the trunk of its fold, and has little left to learn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from labelfill.arrays import Integers, Mask
from labelfill.networks.architectures import PatchRegressor
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.fit import Examples, Plan, fit
from labelfill.regressors.examples import (
    MOST_EXAMPLES,
    Evidence,
    among,
    chosen_rows,
    examples_of,
    joined,
    sample_of,
    sought_keypoints,
)
from labelfill.regressors.patches import Pyramid
from labelfill.regressors.views import View, patch_view
from labelfill.runs.randomness import random_key
from labelfill.sources.anchors import PatternBank

Trunk = tuple[Mapping[str, Tensor], ...]
"""The weights of each fold's network, for all keypoints of the table."""


@dataclass(frozen=True)
class Start:
    """What networks of patches can start from, and which rows it was learnt without.

    Attributes
    ----------
    trained
        By keypoint, the weights of each fold's network of its own, where there is one.
    folds
        (n,): the fold of each row of the table, without which that fold's network was trained; -1 for rows
        that none was trained on.
    size
        Side of a patch in samples.
    """

    trunk: Trunk
    trained: Mapping[int, Trunk]
    folds: Integers
    size: int

    def of(self, keypoint: int, fold: int) -> tuple[Mapping[str, Tensor], int]:
        """The weights that a keypoint's network of a fold starts from, and which of their answers is its."""
        if keypoint in self.trained:
            return self.trained[keypoint][fold], 0
        return self.trunk[fold], keypoint


# Of all keypoints together an epoch has at most about this many examples.
_MOST_TOGETHER = 10_000


@dataclass(frozen=True)
class Look:
    """A keypoint's patches, and what the rows to be filled know where it is blank."""

    view: View
    bank: PatternBank


def all_looks(evidence: Evidence, blank: Mask, size: int) -> tuple[Look, ...]:
    """A look at every keypoint that training rows label, as in rows that lack it, or else any other.

    Parameters
    ----------
    blank
        (n, K): what is to be filled.
    size
        Side of a patch in samples.
    """
    looks = []
    for k in np.flatnonzero(evidence.anchors.exact[evidence.training].any(axis=0)).tolist():
        rows: Mask = blank[:, k] if blank[:, k].any() else np.any(blank, axis=1)
        bank = PatternBank.of(evidence.anchors, rows).hiding(k)
        expected = evidence.prior.condition(np.zeros(bank.noise.shape), bank.noise)
        looks.append(Look(patch_view(k, expected, evidence.prior, evidence.schema, size), bank))
    return tuple(looks)


@dataclass(frozen=True)
class TrunkJob:
    """A trunk to train, and how; fields as those of `RegressorJob`."""

    looks: tuple[Look, ...]
    plan: Plan
    passes: float
    seed: int
    device: str

    def train(
        self, evidence: Evidence, folds: Sequence[int], checkpoint: Callable[[int], Path | None]
    ) -> list[Fitted]:
        """Train the trunk of some folds, each without its fold's rows; the last epoch is kept."""
        pyramid = Pyramid(evidence.images, torch.device(self.device))
        fitted = []
        for fold in folds:
            torch.manual_seed(random_key(self.seed, "trunk", fold, "weights"))
            network = PatchRegressor(self.looks[0].view.size, evidence.schema.count).to(pyramid.device)
            draw = self._drawing(evidence, fold, pyramid)
            key = (self.seed, "trunk", fold)
            fitted.append(fit(network, draw, None, self.plan, key=key, checkpoint=checkpoint(fold)))
        return fitted

    def _drawing(self, evidence: Evidence, fold: int, pyramid: Pyramid) -> Callable[[int], Examples]:
        inside = evidence.training & (evidence.folds != fold)
        samples = [sample_of(evidence, sought_keypoints(look.view, look.bank), inside) for look in self.looks]
        most = most_of_each(len(self.looks))

        def draw(epoch: int) -> Examples:
            parts = []
            for look, sample in zip(self.looks, samples, strict=True):
                key = random_key(self.seed, "trunk", fold, epoch, look.view.answered.start)
                rows = chosen_rows(len(sample.rows), most, self.passes, key)
                part = sample.take(rows)
                k = look.view.answered.start
                examples = examples_of(look.view, part, look.bank, evidence, pyramid, key, jitter=True)
                parts.append(among(examples, k, evidence.schema.count))
            return joined(parts)

        return draw


def most_of_each(keypoints: int) -> int:
    """How many examples an epoch of a trunk has of each of so many keypoints at most."""
    return min(MOST_EXAMPLES, _MOST_TOGETHER // keypoints)
