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
from numpy.typing import NDArray
from torch import nn

from labelfill.arrays import Array, Integers, Mask
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.fit import Examples, Plan, fit
from labelfill.networks.loss import sigma_of
from labelfill.networks.memory import answers
from labelfill.regressors.patches import Frames, Pyramid
from labelfill.regressors.views import Seen, View, base_positions, look, make_network, view_inputs
from labelfill.runs.randomness import random_key
from labelfill.schema import KeypointSchema
from labelfill.shape.prior import Expected, ShapePrior
from labelfill.sources.anchors import Anchors, PatternBank

_VIEW_SHIFT = 0.035
# Examples per epoch: beyond this, more rows make epochs longer but answers hardly better.
MOST_EXAMPLES = 1500
# In training of the face regressor this share of rows loses each anchor with a chance of a half, so
# that it also learns keypoints that are nearly always labelled.
_FORGETFUL = 0.25


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
    own = rows & evidence.anchors.exact[:, sought].any(axis=1)
    index = np.flatnonzero(own)
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
    view: View,
    sample: _Sample,
    bank: PatternBank,
    evidence: Evidence,
    pyramid: Pyramid,
    key: int,
    *,
    jitter: bool,
) -> Examples:
    """One epoch's examples: labels hidden as in rows to be filled, patches cut where such rows' would be."""
    generator = np.random.default_rng(key)
    borrowed = bank.draw(sample.anchors, generator)
    if view.keypoint is None and not view.whole_image and jitter:
        forget = (generator.random(len(sample.rows)) < _FORGETFUL)[:, None] & (
            generator.random(borrowed.noise.shape[:2]) < 0.5
        )
        borrowed = Anchors(borrowed.xy, np.where(forget[..., None], np.inf, borrowed.noise))
    expected = evidence.prior.condition(borrowed.xy, borrowed.noise)
    truth = sample.anchors.xy
    if view.keypoint is not None and not view.whole_image and jitter:
        # Not the error the prior made, which it may have learnt by heart, but one it could make.
        root = np.linalg.cholesky(expected.covariance[:, view.keypoint] + 1e-6 * np.eye(2))
        error = np.einsum("nab,nb->na", root, generator.standard_normal((len(truth), 2)))
        xy = expected.xy.copy()
        xy[:, view.keypoint] = truth[:, view.keypoint] - error
        seen = look(view, sample.rows, sample.mirrored, expected, evidence.prior, evidence.schema)
        seen = Seen(
            seen.rows,
            seen.mirrored,
            Frames(xy[:, view.keypoint], seen.frames.half, seen.frames.angle),
            Expected(xy, expected.covariance),
            seen.scale,
        )
    else:
        seen = look(view, sample.rows, sample.mirrored, expected, evidence.prior, evidence.schema)
    if jitter:
        frames = seen.frames.jittered(generator)
        if view.keypoint is None or view.whole_image:
            shift = generator.standard_normal(frames.centre.shape) * _VIEW_SHIFT * 2 * view.half
            frames = Frames(frames.centre + shift, frames.half, frames.angle)
        seen = Seen(seen.rows, seen.mirrored, frames, seen.expected, seen.scale)
    noise_source = torch.Generator(device=pyramid.device)
    noise_source.manual_seed(key)
    inputs, facts = view_inputs(view, seen, pyramid, evidence.prior, noise_source if jitter else None)
    return _targets(view, sample, borrowed, seen, inputs, facts)


def _targets(
    view: View, sample: _Sample, borrowed: Anchors, seen: Seen, inputs: torch.Tensor, facts: torch.Tensor
) -> Examples:
    which = slice(None) if view.keypoint is None else slice(view.keypoint, view.keypoint + 1)
    base = base_positions(view, seen)[:, which]
    offset = np.nan_to_num(sample.anchors.xy[:, which] - base)
    target = seen.frames.to_frame(offset) * (view.half / view.spread)
    weight = sample.anchors.exact[:, which].astype(np.float64)
    if view.keypoint is None and not view.whole_image:
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
        own: Mask = np.arange(keypoints) == view.keypoint
        return own
    lacking: Mask = (~np.isfinite(bank.noise).all(axis=2)).mean(axis=0) >= 0.5
    if labelled is not None:
        lacking &= labelled
    return lacking if lacking.any() else np.ones(keypoints, bool)


def train_folds(
    view: View,
    bank: PatternBank,
    evidence: Evidence,
    plan: Plan,
    *,
    seed: int,
    name: str,
    device: torch.device,
    passes: int = 1,
    folds: Sequence[int] | None = None,
    checkpoint: Callable[[int], Path | None] | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> list[Fitted]:
    """Train a regressor once per fold, each without that fold's rows.

    Parameters
    ----------
    bank
        Patterns of the rows to be filled.
    name
        Tells regressors apart in random keys.
    passes
        How often an epoch goes through the rows, each time jittered anew.
    checkpoint
        From a fold to the file of its unfinished state.
    """
    pyramid = Pyramid(evidence.images, device)
    sought = sought_keypoints(view, bank, np.any(evidence.anchors.exact[evidence.training], axis=0))
    held_out = _sample(evidence, sought, evidence.validation)
    validation = None
    if len(held_out.rows):
        key = random_key(seed, name, "validation")
        validation = _examples(view, held_out, bank, evidence, pyramid, key, jitter=False)
        if not bool((validation.weight > 0).any()):
            validation = None
    fitted = []
    for fold in range(evidence.fold_count) if folds is None else folds:
        inside = evidence.training & (evidence.folds != fold)
        sample = _sample(evidence, sought, inside)

        def draw(epoch: int, sample: _Sample = sample, fold: int = fold) -> Examples:
            key = random_key(seed, name, fold, epoch)
            part = sample.take(np.tile(np.arange(len(sample.rows)), passes)) if passes > 1 else sample
            if len(sample.rows) > MOST_EXAMPLES:
                chosen = np.random.default_rng(key).permutation(len(sample.rows))[:MOST_EXAMPLES]
                part = sample.take(chosen)
            return _examples(view, part, bank, evidence, pyramid, key, jitter=True)

        torch.manual_seed(random_key(seed, name, fold, "weights"))
        network = make_network(view, evidence.schema.count).to(device)
        fitted.append(
            fit(
                network,
                draw,
                validation,
                plan,
                key=(seed, name, fold),
                checkpoint=checkpoint(fold) if checkpoint else None,
                on_epoch=on_epoch,
            )
        )
    return fitted


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
    view: View,
    network: nn.Module,
    rows: Integers,
    mirrored: Mask,
    expected: Expected,
    prior: ShapePrior,
    schema: KeypointSchema,
    pyramid: Pyramid,
    shift: float = 0.0,
) -> Answer:
    """What one network answers for rows of which `expected` is known, in px of the (mirrored) image.

    Parameters
    ----------
    shift
        By how many px (of a shape of mean size) the patch is cut beside the expected position, along
        its diagonal: averaging over several cuts lessens the error.
    """
    seen = look(view, rows, mirrored, expected, prior, schema)
    frames = seen.frames
    if shift and not view.whole_image:
        diagonal = np.full((len(rows), 2), shift / view.half)
        frames = Frames(frames.centre + frames.from_frame(diagonal), frames.half, frames.angle)
    seen = Seen(seen.rows, seen.mirrored, frames, seen.expected, seen.scale)
    pieces, sigmas = [], []
    which = slice(None) if view.keypoint is None else slice(view.keypoint, view.keypoint + 1)
    for begin in range(0, len(rows), 512):  # patches of all rows at once might not fit
        part = np.arange(begin, min(begin + 512, len(rows)))
        piece = Seen(
            rows[part],
            mirrored[part],
            frames.take(part),
            Expected(seen.expected.xy[part], seen.expected.covariance[part]),
            seen.scale[part],
        )
        inputs, facts = view_inputs(view, piece, pyramid, prior, None)
        answer = answers(network, inputs, facts)
        out = answer.cpu().numpy().astype(np.float64)  # here, because not every device has doubles
        scale = view.spread / view.half
        pieces.append(base_positions(view, piece)[:, which] + piece.frames.from_frame(out[..., :2] * scale))
        sigmas.append(sigma_of(out[..., 2]) * scale * piece.frames.half[:, None])
    count = schema.count if view.keypoint is None else 1
    if not pieces:
        return Answer(np.zeros((0, count, 2)), np.zeros((0, count)))
    return Answer(np.concatenate(pieces), np.concatenate(sigmas))
