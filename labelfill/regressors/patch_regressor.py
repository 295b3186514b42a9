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
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from labelfill.arrays import Array, Integers, Mask
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.fit import Examples, Plan, fit
from labelfill.networks.loss import sigma_of
from labelfill.networks.memory import answers
from labelfill.regressors.patches import Pyramid
from labelfill.regressors.views import Seen, View, ViewKind, base_positions, look, make_network, view_inputs
from labelfill.runs.randomness import random_key
from labelfill.schema import KeypointSchema
from labelfill.shape.prior import ShapePrior
from labelfill.sources.anchors import Anchors, PatternBank

_VIEW_SHIFT = 0.035
# Examples per epoch: beyond this, more rows make epochs longer but answers hardly better.
MOST_EXAMPLES = 1500
# In training of the face regressor this share of rows loses each anchor with a chance of a half, so
# that it also learns keypoints that are nearly always labelled.
_FORGETFUL = 0.25
# Patches of all rows at once might not fit into memory.
_PATCHES_AT_ONCE = 512


@dataclass(frozen=True)
class Evidence:
    """What all regressors of a run share.

    Attributes
    ----------
    schema, prior
        Of the table.
    partners
        (K,) mirror partners; None if mirrored rows are not used.
    images
        (n, H, W) uint8.
    anchors
        Of all rows, in the reference convention.
    training, validation
        (n,) rows of these parts.
    folds
        (n,) the fold of each training row.
    fold_count
        Into how many folds the training rows are divided.
    """

    schema: KeypointSchema
    prior: ShapePrior
    partners: tuple[int, ...] | None
    images: NDArray[np.uint8]
    anchors: Anchors
    training: Mask
    validation: Mask
    folds: Integers
    fold_count: int


@dataclass(frozen=True)
class _Sample:
    """Rows to learn from, mirrored copies included."""

    rows: Integers
    mirrored: Mask
    anchors: Anchors

    def take(self, which: Integers) -> _Sample:
        return _Sample(self.rows[which], self.mirrored[which], self.anchors.take(which))


def _sample(evidence: Evidence, sought: Mask, rows: Mask) -> _Sample:
    """Rows that label a keypoint that is sought (K,), then mirrored rows that do."""
    index = np.flatnonzero(rows & evidence.anchors.exact[:, sought].any(axis=1))
    sample = _Sample(index, np.zeros(len(index), bool), evidence.anchors.take(index))
    if evidence.partners is None:
        return sample
    mirrored = evidence.anchors.mirrored(evidence.schema, evidence.partners)
    copies = np.flatnonzero(rows & mirrored.exact[:, sought].any(axis=1))
    return _Sample(
        np.concatenate([index, copies]),
        np.concatenate([sample.mirrored, np.ones(len(copies), bool)]),
        Anchors(
            np.concatenate([sample.anchors.xy, mirrored.xy[copies]]),
            np.concatenate([sample.anchors.noise, mirrored.noise[copies]]),
        ),
    )


def _examples(
    view: View, sample: _Sample, bank: PatternBank, evidence: Evidence, pyramid: Pyramid, key: int,
    *, jitter: bool,
) -> Examples:  # fmt: skip
    """One epoch's examples: labels hidden as in rows to be filled, patches cut where such rows' would be."""
    generator = np.random.default_rng(key)
    borrowed = bank.draw(sample.anchors, generator)
    if jitter and view.kind is ViewKind.FACE:
        forget = (generator.random(len(sample.rows)) < _FORGETFUL)[:, None] & (
            generator.random(borrowed.noise.shape[:2]) < 0.5
        )
        borrowed = Anchors(borrowed.xy, np.where(forget[..., None], np.inf, borrowed.noise))
    expected = evidence.prior.condition(borrowed.xy, borrowed.noise)
    seen = look(view, sample.rows, sample.mirrored, expected, evidence.prior, evidence.schema)
    noise_source = None
    if jitter:
        seen = _jittered(view, seen, sample.anchors.xy, generator)
        noise_source = torch.Generator(device=pyramid.device)
        noise_source.manual_seed(key)
    inputs, facts = view_inputs(view, seen, pyramid, evidence.prior, noise_source)
    return _targets(view, sample, borrowed, seen, inputs, facts)


def _jittered(view: View, seen: Seen, truth: Array, generator: np.random.Generator) -> Seen:
    """Rows seen turned, scaled and shifted at random; patches lie off by errors that the prior could make."""
    if view.kind is ViewKind.PATCH:
        # Not the error the prior made, which it may have learnt by heart, but one it could make.
        root = np.linalg.cholesky(seen.expected.covariance[:, view.keypoint] + 1e-6 * np.eye(2))
        error = np.einsum("nab,nb->na", root, generator.standard_normal((len(truth), 2)))
        centre = truth[:, view.keypoint] - error
        frames = replace(seen.frames, centre=centre).jittered(generator)
    else:
        frames = seen.frames.jittered(generator)
        shift = generator.standard_normal(frames.centre.shape) * _VIEW_SHIFT * 2 * view.half
        frames = replace(frames, centre=frames.centre + shift)
    return replace(seen, frames=frames)


def _targets(
    view: View, sample: _Sample, borrowed: Anchors, seen: Seen, inputs: torch.Tensor, facts: torch.Tensor
) -> Examples:
    offset = np.nan_to_num(sample.anchors.xy[:, view.answered] - base_positions(view, seen))
    target = seen.frames.to_frame(offset) * (view.half / view.spread)
    weight = sample.anchors.exact[:, view.answered].astype(np.float64)
    if view.kind is ViewKind.FACE:
        weight[(borrowed.noise == 0).all(axis=2)] = 0.0  # what a row is told exactly is nothing to learn

    def move(values: Array) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(inputs.device)

    return Examples(
        inputs, facts, move(target), move(weight), move(seen.frames.half * view.spread / view.half)
    )


def sought_keypoints(view: View, bank: PatternBank, labelled: Mask | None = None) -> Mask:
    """(K,): a row is worth learning from if it labels one of these.

    For a regressor of all keypoints: those that most rows to be filled lack. Rows that label only what
    such rows label too would teach it nothing; nor does what no row labels (K,).
    """
    keypoints = bank.noise.shape[1]
    if view.keypoint is not None:
        its_own: Mask = np.arange(keypoints) == view.keypoint
        return its_own
    lacking: Mask = (~np.isfinite(bank.noise).all(axis=2)).mean(axis=0) >= 0.5
    if labelled is not None:
        lacking &= labelled
    return lacking if lacking.any() else np.ones(keypoints, bool)


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
    """

    name: str
    view: View
    bank: PatternBank
    plan: Plan
    passes: int
    seed: int
    device: str


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
        sample = _sample(evidence, sought, inside)

        def draw(epoch: int, sample: _Sample = sample, fold: int = fold) -> Examples:
            key = random_key(seed, name, fold, epoch)
            rows = np.tile(np.arange(len(sample.rows)), job.passes)
            if len(sample.rows) > MOST_EXAMPLES:
                rows = np.random.default_rng(key).permutation(len(sample.rows))[:MOST_EXAMPLES]
            return _examples(view, sample.take(rows), job.bank, evidence, pyramid, key, jitter=True)

        torch.manual_seed(random_key(seed, name, fold, "weights"))
        network = make_network(view, evidence.schema.count).to(pyramid.device)
        key = (seed, name, fold)
        fitted.append(fit(network, draw, validation, job.plan, key=key, checkpoint=checkpoint(fold)))
    return fitted


def _validation(job: RegressorJob, evidence: Evidence, sought: Mask, pyramid: Pyramid) -> Examples | None:
    """What chooses the epoch; None if no validation row labels what is sought (K,)."""
    held_out = _sample(evidence, sought, evidence.validation)
    if not len(held_out.rows):
        return None
    key = random_key(job.seed, job.name, "validation")
    examples = _examples(job.view, held_out, job.bank, evidence, pyramid, key, jitter=False)
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
    view: View, network: nn.Module, seen: Seen, pyramid: Pyramid, prior: ShapePrior, shift: float = 0.0
) -> Answer:
    """What one network answers for rows as it sees them, in px of the (mirrored) image.

    Parameters
    ----------
    shift
        By how many px (of a shape of mean size) the patch is cut beside the expected position, along
        its diagonal: averaging over several cuts lessens the error.
    """
    if shift and view.kind is not ViewKind.IMAGE:
        diagonal = np.full((len(seen.rows), 2), shift / view.half)
        frames = seen.frames
        seen = replace(seen, frames=replace(frames, centre=frames.centre + frames.from_frame(diagonal)))
    count, scale = view.answers(prior.keypoints), view.spread / view.half
    positions, sigmas = [np.zeros((0, count, 2))], [np.zeros((0, count))]
    for begin in range(0, len(seen.rows), _PATCHES_AT_ONCE):
        part = seen.take(np.arange(begin, min(begin + _PATCHES_AT_ONCE, len(seen.rows))))
        inputs, facts = view_inputs(view, part, pyramid, prior, None)
        answered = answers(network, inputs, facts)
        out = answered.cpu().numpy().astype(np.float64)  # here, because not every device has doubles
        positions.append(base_positions(view, part) + part.frames.from_frame(out[..., :2] * scale))
        sigmas.append(sigma_of(out[..., 2]) * scale * part.frames.half[:, None])
    return Answer(np.concatenate(positions), np.concatenate(sigmas))
