"""Regressors on upright patches: what they see, how they are trained, and how they answer.

Two kinds share everything but their network and their view:

* a **patch regressor** finds one keypoint in a small patch around where the prior expects it;
* a **face regressor** finds all keypoints in one view of the whole shape, or of the whole image
  where nothing is known of a row.

Each is trained once per fold of the training rows, without that fold: a row's answer by the model
that did not see it (**cross-fitting**) tells how large errors are on rows to be filled, and the
average over folds fills them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from labelfill.arrays import Array, Mask
from labelfill.networks.architectures import PatchRegressor
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.fit import Examples, Plan, fit
from labelfill.networks.loss import sigma_of
from labelfill.networks.memory import answers
from labelfill.regressors.examples import (
    MOST_EXAMPLES,
    Evidence,
    Sample,
    chosen_rows,
    examples_of,
    sample_of,
    sought_keypoints,
)
from labelfill.regressors.patches import Pyramid
from labelfill.regressors.trunk import Start
from labelfill.regressors.views import Seen, View, base_positions, make_network, view_inputs
from labelfill.runs.randomness import random_key
from labelfill.shape.prior import ShapePrior
from labelfill.sources.anchors import PatternBank

# Patches of all rows at once might not fit into memory.
_PATCHES_AT_ONCE = 512


@dataclass(frozen=True)
class RegressorJob:
    """A regressor to train, and how.

    Attributes
    ----------
    name
        Tells regressors apart in random keys.
    bank
        Patterns of the rows to be filled.
    passes
        How often an epoch goes through the rows, each time jittered anew.
    device
        As text, for processes that see other devices.
    start
        What networks of patches start from; None: from random weights.
    """

    name: str
    view: View
    bank: PatternBank
    plan: Plan
    passes: float
    seed: int
    device: str
    start: Start | None = None

    def train(
        self, evidence: Evidence, folds: Sequence[int], checkpoint: Callable[[int], Path | None]
    ) -> list[Fitted]:
        """As `train_folds` does."""
        return train_folds(self, evidence, folds=folds, checkpoint=checkpoint)


def train_folds(
    job: RegressorJob,
    evidence: Evidence,
    *,
    folds: Sequence[int] | None = None,
    checkpoint: Callable[[int], Path | None] = lambda _: None,
) -> list[Fitted]:
    """Train a regressor once per fold, each without that fold's rows.

    Parameters
    ----------
    folds
        Some of them; None for all.
    checkpoint
        From a fold to the file of its unfinished state, if it is kept.
    """
    view, seed, name = job.view, job.seed, job.name
    pyramid = Pyramid(evidence.images, torch.device(job.device))
    sought = sought_keypoints(view, job.bank, np.any(evidence.anchors.exact[evidence.training], axis=0))
    validation = _validation(job, evidence, sought, pyramid)
    fitted = []
    for fold in range(evidence.fold_count) if folds is None else folds:
        inside = evidence.training & (evidence.folds != fold)
        sample = sample_of(evidence, sought, inside)

        def draw(epoch: int, sample: Sample = sample, fold: int = fold) -> Examples:
            key = random_key(seed, name, fold, epoch)
            rows = chosen_rows(len(sample.rows), MOST_EXAMPLES, job.passes, key)
            return examples_of(view, sample.take(rows), job.bank, evidence, pyramid, key, jitter=True)

        torch.manual_seed(random_key(seed, name, fold, "weights"))
        network = make_network(view, evidence.schema.count)
        if job.start is not None and isinstance(network, PatchRegressor) and view.keypoint is not None:
            weights, begun_as = job.start.of(view.keypoint, fold)
            network.start_from(weights, {0: begun_as})
        key = (seed, name, fold)
        network = network.to(pyramid.device)
        fitted.append(fit(network, draw, validation, job.plan, key=key, checkpoint=checkpoint(fold)))
    return fitted


def _validation(job: RegressorJob, evidence: Evidence, sought: Mask, pyramid: Pyramid) -> Examples | None:
    """What chooses the epoch; None if no validation row labels what is sought (K,)."""
    held_out = sample_of(evidence, sought, evidence.validation)
    if not len(held_out.rows):
        return None
    key = random_key(job.seed, job.name, "validation")
    examples = examples_of(job.view, held_out, job.bank, evidence, pyramid, key, jitter=False)
    return examples if bool((examples.weight > 0).any()) else None


@dataclass(frozen=True)
class Answer:
    """Positions and their uncertainty.

    Attributes
    ----------
    xy
        (n, k, 2), px.
    sigma
        (n, k), px: per coordinate, as the network states it, not calibrated.
    """

    xy: Array
    sigma: Array


def answer(
    view: View, networks: Sequence[nn.Module], seen: Seen, pyramid: Pyramid, prior: ShapePrior
) -> Answer:
    """What networks answer on average for rows as they see them, in px of the (mirrored) image."""
    count, scale = view.answers(prior.keypoints), view.spread / view.half
    positions, sigmas = [np.zeros((0, count, 2))], [np.zeros((0, count))]
    for begin in range(0, len(seen.rows), _PATCHES_AT_ONCE):
        part = seen.take(np.arange(begin, min(begin + _PATCHES_AT_ONCE, len(seen.rows))))
        inputs, facts = view_inputs(view, part, pyramid, prior, None)
        answered = torch.stack([answers(network, inputs, facts) for network in networks])
        out = answered.cpu().numpy().astype(np.float64)  # here, because not every device has doubles
        offset, variance = out[..., :2].mean(axis=0), (sigma_of(out[..., 2]) ** 2).mean(axis=0)
        positions.append(base_positions(view, part) + part.frames.from_frame(offset * scale))
        sigmas.append(np.sqrt(variance) * scale * part.frames.half[:, None])
    return Answer(np.concatenate(positions), np.concatenate(sigmas))
