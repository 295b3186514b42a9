"""What regressors learn from: rows with labels hidden as in rows to be filled, seen as those will be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from labelfill.arrays import Array, Integers, Mask
from labelfill.networks.fit import Examples
from labelfill.regressors.patches import Pyramid
from labelfill.regressors.views import Seen, View, ViewKind, base_positions, look, view_inputs
from labelfill.schema import KeypointSchema
from labelfill.shape.prior import ShapePrior
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
class Sample:
    """Rows to learn from, mirrored copies included."""

    rows: Integers
    mirrored: Mask
    anchors: Anchors

    def take(self, which: Integers) -> Sample:
        return Sample(self.rows[which], self.mirrored[which], self.anchors.take(which))


def sample_of(evidence: Evidence, sought: Mask, rows: Mask) -> Sample:
    """Rows that label a keypoint that is sought (K,), then mirrored rows that do."""
    index = np.flatnonzero(rows & evidence.anchors.exact[:, sought].any(axis=1))
    sample = Sample(index, np.zeros(len(index), bool), evidence.anchors.take(index))
    if evidence.partners is None:
        return sample
    mirrored = evidence.anchors.mirrored(evidence.schema, evidence.partners)
    copies = np.flatnonzero(rows & mirrored.exact[:, sought].any(axis=1))
    return Sample(
        np.concatenate([index, copies]),
        np.concatenate([sample.mirrored, np.ones(len(copies), bool)]),
        Anchors(
            np.concatenate([sample.anchors.xy, mirrored.xy[copies]]),
            np.concatenate([sample.anchors.noise, mirrored.noise[copies]]),
        ),
    )


def examples_of(
    view: View, sample: Sample, bank: PatternBank, evidence: Evidence, pyramid: Pyramid, key: int,
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
    view: View, sample: Sample, borrowed: Anchors, seen: Seen, inputs: torch.Tensor, facts: torch.Tensor
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


def example_count(view: View, bank: PatternBank, evidence: Evidence) -> int:
    """About how many examples one fold's model learns from."""
    labelled = evidence.anchors.exact[evidence.training]
    sought = sought_keypoints(view, bank, np.any(labelled, axis=0))
    count = int(labelled[:, sought].any(axis=1).sum())
    mirrored = 1 if evidence.partners is None else 2
    return max(round(count * mirrored * (1 - 1 / evidence.fold_count)), 1)


def chosen_rows(count: int, most: int, passes: float, key: int) -> Integers:
    """An epoch's examples out of `count`: all, `passes` times over, or as many as there may be at `most`."""
    wanted = most if count > most else round(count * passes)
    times, more = divmod(wanted, max(count, 1))
    drawn = np.random.default_rng(key).permutation(count)[:more]
    return np.concatenate([np.tile(np.arange(count), times), drawn])


def among(part: Examples, k: int, keypoints: int) -> Examples:
    """Examples with a target for one keypoint as those of a network of all keypoints."""

    def spread(values: torch.Tensor) -> torch.Tensor:
        """(n, 1, ...) among those of all keypoints, which are 0."""
        wide = values.new_zeros(len(values), keypoints, *values.shape[2:])
        wide[:, k] = values[:, 0]
        return wide

    return replace(part, target=spread(part.target), weight=spread(part.weight))


def joined(parts: Sequence[Examples]) -> Examples:
    """Examples one after another."""
    return Examples(
        torch.cat([part.inputs for part in parts]),
        torch.cat([part.evidence for part in parts]),
        torch.cat([part.target for part in parts]),
        torch.cat([part.weight for part in parts]),
        torch.cat([part.scale for part in parts]),
    )
