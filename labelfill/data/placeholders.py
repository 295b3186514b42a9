"""Constant pairs that stand for "not labelled": told from labels by where and how often they stand.

Tables mark what is not labelled by (0, 0), (-1, -1), -999 or another number. Taken as labels they would be
learnt, many px off. A pair is a placeholder if

* several keypoints of one row have exactly this pair, in three rows or in all that are labelled; or
* it is (0, 0), negative, or over four times as large as the image, and lies off all that is usual for its
  keypoint, in three rows (negative ones also where no other label is).

Labels may agree without being placeholders: in whole px on small images, where they were moved onto the
image's border, in a keypoint by which faces were aligned. `find_placeholders` leaves these alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labelfill.arrays import Array, Integers, Mask
from labelfill.data.table import KeypointTable
from labelfill.errors import counted, listed, place
from labelfill.schema import AXES, coordinate_columns

_LEAST_ROWS = 3
_LARGE = 4.0  # times the image
# Outside of 99.9% of a keypoint's other labels, as a normal distribution has it, and by so many px.
_REGION = 13.816  # quantile of the squared Mahalanobis distance: chi-squared, 2 degrees of freedom
_MARGIN = 3.0
# Of whole px thousands of pairs may agree by chance: so many are looked at closely.
_MOST_PAIRS = 8
# So few other labels do not tell what is usual.
_LEAST_OTHERS = 5
# Two labels that agree by chance, whole px of neighbouring keypoints, are elsewhere as near each other, px.
_NEAR = 2.5
# A share of the rows with a corner of the image in which further labels lie on its border.
_CLIPPED = 0.5


@dataclass(frozen=True)
class Placeholder:
    """A pair that stands for "not labelled".

    Attributes
    ----------
    pair
        x and y, as they stand in the file.
    points
        (n, K): where it stands.
    """

    pair: tuple[float, float]
    points: Mask

    @property
    def value(self) -> float | None:
        """The number that stands in both columns, if it is one."""
        x, y = self.pair
        return x if x == y else None

    def __str__(self) -> str:
        return f"({plain_number(self.pair[0])}, {plain_number(self.pair[1])})"


def find_placeholders(
    written: Array, labels: Array, in_frame: Array, sizes: Array | None
) -> list[Placeholder]:
    """The placeholders among labels, most frequent first.

    Parameters
    ----------
    written
        (n, K, 2): coordinates as they stand in the file, NaN where blank.
    labels, in_frame
        (n, K, 2): the same in px of each row's image, and of a frame in which rows can be compared.
    sizes
        (n, 2), px: height and width of each row's image; None: what holds most labels.
    """
    pairs = _Pairs.of(written)
    if not pairs.several.any():
        return []
    beyond = _beyond(labels, written, _extent(labels) if sizes is None else sizes)
    coincident, labelled = pairs.coincident_rows(), int((pairs.numbers >= 0).any(axis=1).sum())
    in_rows = coincident >= min(_LEAST_ROWS, max(labelled, 1))
    outside = _most_frequent(
        pairs.counted(beyond) & (in_rows | pairs.counted(beyond, _LEAST_ROWS)), pairs.counts
    )
    inside = _most_frequent(in_rows & ~pairs.counted(beyond), coincident)
    if not len(inside) + len(outside):
        return []
    others = np.where(np.isin(pairs.numbers, [*inside, *outside])[..., None], np.nan, in_frame)
    some_negative = bool((others < 0).any())
    far = np.nanmax(np.where(beyond[..., None], np.nan, labels), axis=(0, 1), initial=0.0)
    far = np.broadcast_to(far, (len(labels), 2)) if sizes is None else sizes[:, ::-1] - 1

    def is_meant(number: int) -> bool:
        points = pairs.numbers == number
        if _is_clipped(points, labels, far):
            return False
        if number not in outside:
            return not _agree_by_chance(points, labels)
        if in_rows[number] or (bool((written[points] < 0).all()) and not some_negative):
            return True
        off = [_Region.of(others[:, k]).off(in_frame[:, k]) for k in range(labels.shape[1])]
        return int((np.stack(off, 1) & points).any(axis=1).sum()) >= _LEAST_ROWS

    found = [number for number in (*outside.tolist(), *inside.tolist()) if is_meant(number)]
    points = [pairs.numbers == number for number in found]
    return sorted(
        (Placeholder(tuple(written[held][0].tolist()), held) for held in points),
        key=lambda each: -int(each.points.sum()),
    )


def _most_frequent(pairs: Mask, counts: Integers) -> Integers:
    """Numbers of some pairs (P,): placeholders are among those that are counted most."""
    numbers = np.flatnonzero(pairs)
    return numbers[np.argsort(-counts[numbers], kind="stable")][:_MOST_PAIRS]


@dataclass(frozen=True)
class _Pairs:
    """Which points hold the same pair.

    Attributes
    ----------
    numbers
        (n, K): of each point's pair, -1 where it is blank or only half known.
    counts
        (P,): points that hold each pair.
    """

    numbers: Integers
    counts: Integers

    @classmethod
    def of(cls, written: Array) -> _Pairs:
        known = np.isfinite(written).all(axis=2)
        numbers = np.full(known.shape, -1, np.int64)
        values = np.ascontiguousarray(written[known] + 0.0).view(np.complex128).reshape(-1)  # no -0.0
        _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
        numbers[known] = which.reshape(-1)
        return cls(numbers, counts)

    @property
    def several(self) -> Mask:
        found: Mask = self.counts > 1
        return found

    def coincident_rows(self) -> Integers:
        """(P,): rows in which several keypoints hold the pair."""
        ordered = np.sort(self.numbers, axis=1)
        rows, columns = np.nonzero((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0))
        if not len(rows):
            return np.zeros(len(self.counts), np.int64)
        distinct = np.unique(np.stack([rows, ordered[rows, columns + 1]]), axis=1)
        return np.bincount(distinct[1], minlength=len(self.counts))

    def counted(self, points: Mask, at_least: int = 1) -> Mask:
        """(P,): pairs that so many of some points (n, K) hold."""
        held = self.numbers[points & (self.numbers >= 0)]
        return np.bincount(held, minlength=len(self.counts)) >= at_least


@dataclass(frozen=True)
class _Region:
    """Where 99.9% of a keypoint's labels lie, as a normal distribution has it; nowhere if there are few."""

    mean: Array
    precision: Array
    known: bool

    @classmethod
    def of(cls, labels: Array) -> _Region:
        found = labels[np.isfinite(labels).all(axis=1)]
        if len(found) < _LEAST_OTHERS:
            return cls(np.zeros(2), np.eye(2), known=False)
        covariance = np.cov(found.T) + 1e-6 * np.eye(2)
        mean: Array = found.mean(axis=0)
        precision: Array = np.linalg.inv(covariance).astype(np.float64)
        return cls(mean, precision, known=True)

    def off(self, xy: Array) -> Mask:
        """(n,): which of some points (n, 2) lie outside, by more than the margin."""
        away = xy - self.mean
        distance = np.sqrt(np.einsum("ni,ij,nj->n", away, self.precision, away))
        with np.errstate(invalid="ignore", divide="ignore"):
            outside = np.linalg.norm(away, axis=1) * (1 - np.sqrt(_REGION) / distance)
        found: Mask = self.known & (np.nan_to_num(outside) >= _MARGIN)
        return found


def _extent(labels: Array) -> Array:
    """(1, 2): height and width of what holds most labels, where no image tells."""
    found = np.abs(labels[np.isfinite(labels).all(axis=2)])
    if not len(found):
        return np.ones((1, 2))
    extent: Array = np.maximum(np.quantile(found, 0.75, axis=0)[::-1], 1.0)[None]
    return extent


def _beyond(labels: Array, written: Array, sizes: Array) -> Mask:
    """(n, K): points that are (0, 0), negative, or over four times as large as the image."""
    with np.errstate(invalid="ignore"):
        zero = (written == 0).all(axis=2)
        negative = (written < 0).all(axis=2)
        large = (np.abs(labels) > _LARGE * sizes[:, None, ::-1]).all(axis=2)
    found: Mask = zero | negative | large
    return found


def _agree_by_chance(points: Mask, labels: Array) -> bool:
    """Whether keypoints that agree somewhere are elsewhere near each other, in as many rows.

    Parameters
    ----------
    points
        (n, K): where they do.
    labels
        (n, K, 2), px of each row's image, where whole numbers make labels agree.
    """
    together = points & (points.sum(axis=1, keepdims=True) > 1)
    # Where a label may stand, two that agree in a row or two say nothing.
    if max(int(together.any(axis=1).sum()), int(together.sum(axis=1).max())) < _LEAST_ROWS:
        return True
    others = np.where(together[..., None], np.nan, labels)
    agreements = nearby = 0
    for pattern, rows in zip(
        *np.unique(together[together.any(axis=1)], axis=0, return_counts=True), strict=True
    ):
        keypoints = np.flatnonzero(pattern)
        gaps = np.linalg.norm(others[:, keypoints[1:]] - others[:, keypoints[:-1]], axis=2)
        agreements += int(rows) * (len(keypoints) - 1)
        nearby += int((gaps < _NEAR).sum())
    return nearby >= agreements


def _is_clipped(points: Mask, labels: Array, far: Array) -> bool:
    """Whether a pair is a corner of the image onto whose border further labels of its rows were moved.

    Parameters
    ----------
    far
        (n, 2): x of each image's right border and y of its lower one.
    """
    rows = points.any(axis=1)
    held, labels, far = points[rows], labels[rows], far[rows][:, None]
    corner = np.nanmax(np.where(held[..., None], labels, np.nan), axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        at_corner = ((np.abs(corner) < 0.01) | (np.abs(corner - far) <= 1)).all()
        along = (labels == corner).any(axis=2) & ~held
    return bool(at_corner and along.any(axis=1).mean() >= _CLIPPED)


def plain_number(value: float) -> str:
    """A number as a person writes it: ``-1``, not ``-1.0``."""
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e15 else repr(value)


def told(table: KeypointTable, found: Placeholder) -> str:
    """One sentence on a placeholder: what it is, how many points hold it, the first of them, what to do."""
    row, k = (int(i) for i in np.argwhere(found.points)[0])
    first = f"{table.keypoints[k]} in row {row} (line {int(table.lines[row])})"
    count = int(found.points.sum())
    remedy = (
        "leave such cells blank"
        if found.value is None
        else f"pass --missing-value {plain_number(found.value)} to have them counted as blank and filled"
    )
    return (
        f"{table.path}: {count:,} points are exactly {found}, first {first}: a placeholder for what is not "
        f"labelled; {remedy}"
    )


def single_placeholders(labels: Array) -> list[float]:
    """Negative numbers that stand in one coordinate alone where none is expected, in three rows or more."""
    values: set[float] = set()
    for column in labels.reshape(len(labels), -1).T:
        negative, counts = np.unique(column[column < 0], return_counts=True)
        for value in negative[counts >= _LEAST_ROWS].tolist():
            others = column[np.isfinite(column) & (column != value)]
            reach = np.sqrt(_REGION) * others.std() + _MARGIN if len(others) else np.inf
            if len(others) >= _LEAST_OTHERS and value < others.mean() - reach:
                values.add(value)
    return sorted(values)


def half_placeholders(table: KeypointTable, values: Sequence[float]) -> str | None:
    """A sentence on points of which only x, or only y, is one of some declared values; None without any."""
    half = np.zeros(table.labels.shape, bool)
    for value in values:
        is_value = table.labels == value
        half |= is_value & ~is_value.all(axis=2, keepdims=True)
    if not half.any():
        return None
    row, k, axis = (int(i) for i in np.argwhere(half)[0])
    column = coordinate_columns(table.keypoints)[len(AXES) * k + axis]
    where = place(table.path, row=row, line=int(table.lines[row]), column=column)
    names = listed([plain_number(value) for value in np.unique(table.labels[half]).tolist()])
    count = int(half.any(axis=2).sum())
    return (
        f"{where}: {counted(count, 'point')} with {names} in only one of x and y: such numbers count as "
        "labels; leave both blank if they are none"
    )
