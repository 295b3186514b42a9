"""Convention offsets: how a group's labels differ from the reference convention, and the ways between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Integers, KeptArrays, Mask
from labelfill.sources.agreement import Agreement
from labelfill.sources.groups import LEAST_ROWS, SourceGroups, least_offset

_Z99 = 2.576
_RIDGE = 3e-3
# However good the regressor looks, labels scatter by at least this share of what is seen to scatter.
_LEAST_GUESS_SHARE = 0.4
_LEAST_SLOPE = 0.4


@dataclass(frozen=True)
class OffsetEntry:
    """What a convention offset is about; fields as those of `ConventionOffset`."""

    group: int
    reference: int
    keypoint: int
    rows: int
    claimed: bool


@dataclass(frozen=True)
class ConventionOffset(KeptArrays):
    """By how much a group's labels of a keypoint differ from the reference convention, and the ways between.

    The group's labels are described as a linear function of the reference position and of the anchors
    (`to_group`), fitted on what a regressor of the reference group answers: its errors are independent
    of its answers, so that the fit is not biased. The inverse of that function gives a first guess of
    the position from the label; `guess_variance` says how far guesses err. A second regressor then
    looks at the image with the guess as a noisy anchor: its answer is the anchor that everything else
    uses, with `noise`.

    Attributes
    ----------
    mean, interval
        (2,), (2, 2) px: the mean offset, and its 99% interval (low, high) per axis.
    rows
        Rows it was measured on.
    claimed
        Whether the interval excludes the smallest offset worth claiming.
    guess_variance, noise
        (2,), px²: of the guess, and of the second regressor's answer.
    anchors
        (A,): agreed keypoints, the inputs of `to_group` together with the position.
    to_group
        (2A + 3, 2): label minus reference position, from anchors, reference position and 1.
    """

    shapes: ClassVar[Mapping[str, str]] = {
        "mean": "2",
        "interval": "2 2",
        "guess_variance": "2",
        "noise": "2",
        "anchors": "A <K",
        "to_group": "2A+3 2",
    }

    group: int
    reference: int
    keypoint: int
    mean: Array
    interval: Array
    rows: int
    claimed: bool
    guess_variance: Array
    noise: Array
    anchors: Integers
    to_group: Array

    @property
    def entry(self) -> OffsetEntry:
        """The fields that are no arrays."""
        return OffsetEntry(self.group, self.reference, self.keypoint, self.rows, self.claimed)

    def guess(self, labels: Array) -> Array:
        """(n, 2) px: the keypoint's labels among (n, K, 2), moved into the reference convention."""
        label = labels[:, self.keypoint]
        slope, rest = _position_slope(self.to_group), self.to_group.copy()
        rest[-3:-1] = 0.0
        origin = _origin(labels, self.anchors)
        aside = label - origin - _design(labels, self.anchors, label) @ rest
        inverted = aside @ np.linalg.inv(slope) + origin
        return np.where(_complete(labels, self.anchors)[:, None], inverted, label - self.mean)

    def in_group(self, labels: Array, position: Array) -> Array:
        """(n, 2) px: reference positions (n, 2) as the group would label them."""
        shift = _design(labels, self.anchors, position) @ self.to_group
        return position + np.where(_complete(labels, self.anchors)[:, None], shift, self.mean)


def _complete(labels: Array, anchors: Integers) -> Mask:
    """(n,): rows that label all anchors."""
    complete: Mask = np.all(np.isfinite(labels[:, anchors]), axis=(1, 2))
    return complete


def _design(labels: Array, anchors: Integers, point: Array) -> Array:
    """(n, 2A + 3): anchors and a point relative to the anchors' mean, and 1; of use in complete rows only."""
    origin = _origin(labels, anchors)
    relative = (labels[:, anchors] - origin[:, None]).reshape(len(labels), 2 * len(anchors))
    design: Array = np.column_stack([relative, point - origin, np.ones(len(labels))])
    return design


def _origin(labels: Array, anchors: Integers) -> Array:
    """(n, 2): the anchors' mean."""
    if not len(anchors):
        return np.zeros((len(labels), 2))
    origin: Array = labels[:, anchors].mean(axis=1)
    return origin


def _position_slope(to_group: Array) -> Array:
    """(2, 2): how the group's label moves with the reference position (row vectors from the left)."""
    slope: Array = np.eye(2) + to_group[-3:-1]
    # Held well away from where it could not be inverted: both mark the same part of the same face.
    left, size, right = np.linalg.svd(slope)
    return np.asarray(left @ np.diag(np.clip(size, _LEAST_SLOPE, 1 / _LEAST_SLOPE)) @ right)


def measure_offset(
    agreement: Agreement,
    keypoint: int,
    labels: Array,
    rows: Integers,
    answer: Array,
    reference_residual: Array,
    extent: float,
) -> ConventionOffset:
    """Measure a suspected convention offset against the images.

    Parameters
    ----------
    labels
        (n, K, 2), px: all rows.
    rows
        (m,): rows of the group that label the keypoint; none was trained on.
    answer
        (m, 2), px: what the reference group's regressor answers there, without seeing the label.
    reference_residual
        (r, 2), px: label minus answer on rows of the reference group that were held out.
    extent
        Of the face, px.
    """
    difference = labels[rows, keypoint] - answer
    held_out = len(reference_residual) > 0
    bias = reference_residual.mean(axis=0) if held_out else np.zeros(2)
    mean = difference.mean(axis=0) - bias
    spread = difference.var(axis=0)
    own_error = reference_residual.var(axis=0) if held_out else np.zeros(2)
    error = np.sqrt(
        spread / max(len(difference) - 1, 1) + (own_error / len(reference_residual) if held_out else 0.0)
    )
    interval = np.stack([mean - _Z99 * error, mean + _Z99 * error])
    surely = np.maximum(np.abs(mean) - _Z99 * error, 0.0)
    claimed = len(rows) >= LEAST_ROWS and float(np.hypot(*surely)) > least_offset(extent)
    anchors = np.flatnonzero(agreement.agreed)
    way = to_group_map(labels[rows], anchors, answer + bias, keypoint, mean)
    guess_variance = _guess_variance(labels[rows], anchors, keypoint, answer + bias, way, mean, own_error)
    return ConventionOffset(
        agreement.group, agreement.reference, keypoint, mean, interval, len(rows), claimed,
        guess_variance, guess_variance, anchors, way,
    )  # fmt: skip


def _guess_variance(
    labels: Array,
    anchors: Integers,
    keypoint: int,
    position: Array,
    way: Array,
    mean: Array,
    own_error: Array,
) -> Array:
    """(2,): what scatters between label and its description is the answer's error and the label's own."""
    complete = _complete(labels, anchors)
    shift = np.where(complete[:, None], _design(labels, anchors, position) @ way, mean)
    scatter = np.var(labels[:, keypoint] - position - shift, axis=0)
    slope = _position_slope(way)
    inherent = np.maximum(
        scatter - np.diag(slope.T @ np.diag(own_error) @ slope), _LEAST_GUESS_SHARE * scatter
    )
    back = np.linalg.inv(slope)
    variance: Array = np.diag(back.T @ np.diag(inherent) @ back)
    return variance.copy()


def to_group_map(labels: Array, anchors: Integers, position: Array, keypoint: int, mean: Array) -> Array:
    """(2A + 3, 2): how labels (m, K, 2) of a group depart from reference positions (m, 2), by pose."""
    complete = _complete(labels, anchors)
    design = _design(labels, anchors, position)[complete]
    difference = (labels[:, keypoint] - position)[complete]
    way = _ridge(design, difference, mean)
    held = _position_slope(way) - np.eye(2)
    if np.allclose(held, way[-3:-1]):
        return way
    # With a slope that had to be held, what remains is for the anchors and the constant to explain anew.
    others = np.delete(design, [-3, -2], axis=1)
    rest = _ridge(others, difference - design[:, -3:-1] @ held, mean)
    return np.concatenate([rest[:-1], held, rest[-1:]])


def constant_map(anchors: Integers, mean: Array) -> Array:
    """(2A + 3, 2): the `to_group` of an offset that is the same whatever the pose."""
    return np.concatenate([np.zeros((2 * len(anchors) + 2, 2)), mean[None]])


def _ridge(design: Array, target: Array, mean: Array) -> Array:
    """Least squares (d, 2) with a small penalty on all but the last column, the constant."""
    # Too few rows tell of no dependence on pose.
    if len(design) < LEAST_ROWS:
        return np.concatenate([np.zeros((design.shape[1] - 1, 2)), mean[None]])
    penalty: Array = np.diag(np.maximum(design.var(axis=0), 1e-6)).astype(np.float64) * (_RIDGE * len(design))
    penalty[-1, -1] = 0.0
    return np.asarray(np.linalg.solve(design.T @ design + penalty, design.T @ target), np.float64)


@dataclass(frozen=True)
class Sources:
    """What a run knows of label sources."""

    groups: SourceGroups
    reference: NDArray[np.int64]
    offsets: list[ConventionOffset]
    untested: dict[int, NDArray[np.bool_]]
    skipped: NDArray[np.int64]
