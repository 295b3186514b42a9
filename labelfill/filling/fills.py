"""What was found for blank keypoints: in px of the frame, and in px of each row's own image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Integers, Mask
from labelfill.data.dataset import Dataset


class FillMethod(IntEnum):
    """How a point was filled."""

    NONE = 0
    REGRESSOR = 1
    COPY = 2
    PRIOR = 3
    CONVENTION = 4
    CONFIRMED = 5
    HARMONISED = 6

    @property
    def word(self) -> str:
        """As the provenance tells it; empty where nothing is filled."""
        return "" if self is FillMethod.NONE else self.name.lower()


# The uncertainty at which a fill counts half, as a share of the image's longer side: about the error that
# the final network itself makes.
HALF_WEIGHT = 0.02


@dataclass(frozen=True)
class _Points:
    """What was found for the blank keypoints of a table.

    Attributes
    ----------
    xy
        (n, K, 2), px: finite where a blank coordinate is filled.
    sigma, radius
        (n, K), px: per coordinate; of the circle that holds the true position in the asked share of cases.
    method
        (n, K): a `FillMethod` each.
    conventions
        (n, K): number of the group in whose convention it is filled.
    flags
        (n, K) words joined by spaces; observed labels that the row's others contradict have some too.
    """

    xy: Array
    sigma: Array
    radius: Array
    method: NDArray[np.int8]
    conventions: Integers
    flags: NDArray[np.object_]

    @classmethod
    def empty(cls, conventions: Integers) -> Self:
        """Nothing is filled."""
        shape = conventions.shape
        nothing, no_words = np.full(shape, np.nan), np.full(shape, "", dtype=object)
        return cls(
            np.full((*shape, 2), np.nan), nothing, nothing, np.zeros(shape, np.int8), conventions, no_words
        )

    @property
    def filled(self) -> Mask:
        """(n, K): keypoints of which a coordinate is filled."""
        filled: Mask = self.method != FillMethod.NONE
        return filled

    def replaced(self, points: Mask, others: Self) -> Self:
        """The same but for some points (n, K), which are as in `others`."""
        return type(self)(
            np.where(points[..., None], others.xy, self.xy),
            np.where(points, others.sigma, self.sigma),
            np.where(points, others.radius, self.radius),
            np.where(points, others.method, self.method),
            np.where(points, others.conventions, self.conventions),
            np.where(points, others.flags, self.flags),
        )

    def overlaid(self, others: Self) -> Self:
        """The same but where `others` fill something."""
        return self.replaced(others.filled, others)

    def without(self, points: Mask) -> Self:
        """The same but for some points (n, K), which stay blank after all."""
        return self.replaced(points, self.empty(self.conventions))


class OwnFills(_Points):
    """Fills in px of each row's own image: what is written to files."""

    def too_uncertain(self, most: float | None) -> Mask:
        """(n, K): fills whose radius is more than `most` px; what a person confirmed is certain enough."""
        if most is None:
            return np.zeros(self.method.shape, bool)
        sure = self.method == FillMethod.CONFIRMED
        uncertain: Mask = self.filled & ~sure & (self.radius > most)
        return uncertain

    def score(self, dataset: Dataset) -> Array:
        """(n, K), 0..1: how much each fill counts beside a label; 0 where none is."""
        size = dataset.schema.image_size
        half = (HALF_WEIGHT * max(size.height, size.width)) ** 2
        score: Array = half / (half + dataset.lengths_in_frame(self.sigma) ** 2)
        return np.where(self.filled, score, 0.0)


class Fills(_Points):
    """Fills in px of the frame that all images of the table share: what is computed with."""

    def in_own_px(self, dataset: Dataset) -> OwnFills:
        """The same in px of each row's own image."""
        return OwnFills(
            dataset.in_own_px(self.xy),
            dataset.lengths_in_own_px(self.sigma),
            dataset.lengths_in_own_px(self.radius),
            self.method,
            self.conventions,
            self.flags,
        )


P = TypeVar("P", Fills, OwnFills)


@dataclass(frozen=True)
class Filling(Generic[P]):
    """A table's fills, (n,) the source group of each row, and, if asked for, all in one convention.

    Attributes
    ----------
    harmonised
        Finite, with the method ``harmonised``, also where an observed label is to be moved.
    """

    fills: P
    groups: Integers
    harmonised: P | None


def in_own_px(filling: Filling[Fills], dataset: Dataset) -> Filling[OwnFills]:
    """The same in px of each row's own image."""
    harmonised = None if filling.harmonised is None else filling.harmonised.in_own_px(dataset)
    return Filling(filling.fills.in_own_px(dataset), filling.groups, harmonised)
