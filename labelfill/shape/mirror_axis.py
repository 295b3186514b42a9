"""Where the mirror axis of labels lies.

An image is mirrored about its own middle. Labels made in another program may lie a pixel beside
the pixels they belong to (counted from 1, or from a crop's other edge); mirrored labels then lie as
far on the other side, and a network that learns from both sees every keypoint twice as blurred.
How far is seen in the images: around a left eye's label they look, on average, like the mirrored
surroundings of a right eye's label.

Without images nothing tells where labels should lie: they are mirrored about the middle between partners.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.schema import KeypointSchema

_LEAST_ROWS = 30
_MOST_ROWS = 1000
# Mean surroundings reach this many samples each way; shifts are searched up to `_FURTHEST` of them.
_REACH = 14
_FURTHEST = 4.0
_STEP = 0.1
# A shift is believed if it explains away at least this share of the difference, and leaves a difference
# that is small beside the surroundings themselves (faces are about symmetric, noise is not).
_LEAST_GAIN = 0.3
_MOST_LEFT = 0.5


def mirror_shift(
    images: NDArray[np.uint8], labels: Array, partners: Sequence[int], extent: float, seed: int = 0
) -> float:
    """By how many px labels lie right of what they mark, as far as mirroring can tell.

    Parameters
    ----------
    images, labels
        (n, H, W) and (n, K, 2) px, NaN = unlabelled.
    partners
        (K,) mirror partners, -1 for none.
    extent
        Of the mean shape, px.
    """
    step = max(1.0, extent / 60)
    order = np.random.default_rng([seed, 0x31220]).permutation(len(images))[:_MOST_ROWS]
    means: dict[int, Array] = {}
    counts: dict[int, int] = {}
    for k in range(labels.shape[1]):
        rows = order[np.isfinite(labels[order, k]).all(axis=1)]
        if len(rows) >= _LEAST_ROWS:
            means[k], counts[k] = (
                _mean_surroundings(images[np.sort(rows)], labels[np.sort(rows), k], step),
                len(rows),
            )
    pairs = [(k, partner) for k, partner in enumerate(partners) if k in means and partner in means]
    if not pairs:
        return 0.0
    shifts = np.arange(-_FURTHEST, _FURTHEST + _STEP / 2, _STEP)
    losses = np.zeros(len(shifts))
    for k, partner in pairs:
        losses += counts[k] * _differences(means[k], means[partner][:, ::-1], shifts)
    best, unshifted = int(np.argmin(losses)), int(np.argmin(np.abs(shifts)))
    weight = sum(counts[k] for k, _ in pairs)
    if losses[best] > (1 - _LEAST_GAIN) * losses[unshifted] or losses[best] > _MOST_LEFT * weight:
        return 0.0
    return float(shifts[best]) * step


def middle_shift(labels: Array, partners: Sequence[int], schema: KeypointSchema) -> float:
    """By how many px the middle between mirror partners lies right of the frame's middle.

    Parameters
    ----------
    labels
        (n, K, 2) px, NaN = unlabelled; a keypoint counts by its median.
    partners
        (K,) mirror partners, -1 for none.
    """
    counts = np.isfinite(labels[..., 0]).sum(axis=0)
    pairs = [(k, p) for k, p in enumerate(partners) if p >= 0 and counts[k] and counts[p]]
    if not pairs:
        return 0.0
    middles = [(np.nanmedian(labels[:, k, 0]) + np.nanmedian(labels[:, p, 0])) / 2 for k, p in pairs]
    weights = [min(counts[k], counts[p]) for k, p in pairs]
    return float(np.average(middles, weights=weights) - schema.image_size.centre[0])


def _mean_surroundings(images: NDArray[np.uint8], centres: Array, step: float) -> Array:
    """(S, S): the mean of what surrounds the centres (n, 2), each standardised."""
    offsets = np.arange(-_REACH, _REACH + 1.0) * step
    high, wide = images.shape[1:]
    x = np.clip(centres[:, :1] + offsets, 0, wide - 1.001)
    y = np.clip(centres[:, 1:] + offsets, 0, high - 1.001)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right_share, low_share = (x - left)[:, None, :], (y - top)[:, :, None]
    n = np.arange(len(images))[:, None, None]
    rows, columns = top[:, :, None], left[:, None, :]
    right, below = np.minimum(columns + 1, wide - 1), np.minimum(rows + 1, high - 1)
    upper = images[n, rows, columns] * (1 - right_share) + images[n, rows, right] * right_share
    lower = images[n, below, columns] * (1 - right_share) + images[n, below, right] * right_share
    patches = upper * (1 - low_share) + lower * low_share
    patches -= patches.mean(axis=(1, 2), keepdims=True)
    patches /= patches.std(axis=(1, 2), keepdims=True) + 5.0  # flat surroundings tell nothing
    mean: Array = patches.mean(axis=0)
    return mean


def _differences(own: Array, mirrored: Array, shifts: Array) -> Array:
    """For each shift the mean square by which the two differ when moved apart by it, over their size."""
    at = np.arange(own.shape[1], dtype=np.float64)
    inner = slice(int(_FURTHEST) + 1, own.shape[1] - int(_FURTHEST) - 1)
    size = own[:, inner].var() + 1e-9
    result = np.empty(len(shifts))
    for number, shift in enumerate(shifts):
        ours = np.stack([np.interp(at - shift, at, line) for line in own])
        theirs = np.stack([np.interp(at + shift, at, line) for line in mirrored])
        result[number] = ((ours - theirs)[:, inner] ** 2).mean() / size
    return result
