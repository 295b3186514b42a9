"""What was found for blank keypoints, and what needs no model to be done with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Mask
from labelfill.data.dataset import Dataset
from labelfill.data.images.identity import exact_ids
from labelfill.regressors.calibration.conformal import gaussian_radius
from labelfill.sources.anchors import Anchors
from labelfill.sources.conventions import ConventionOffset, Sources
from labelfill.sources.groups import UNKNOWN


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
# A label that was copied, or that a person confirmed, is as exact as annotators are.
_PERSON_SIGMA = 0.5


@dataclass(frozen=True)
class Fills:
    """What was found for the blank keypoints of a table.

    Attributes
    ----------
    xy
        (n, K, 2), px of the frame: finite where a blank coordinate is filled.
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
    conventions: NDArray[np.int64]
    flags: NDArray[np.object_]

    def score(self, dataset: Dataset) -> Array:
        """(n, K), 0..1: how much each fill, stated in own px, counts beside a label; 0 where none is."""
        size = dataset.schema.image_size
        half = (HALF_WEIGHT * max(size.height, size.width)) ** 2
        score: Array = half / (half + dataset.lengths_in_frame(self.sigma) ** 2)
        return np.where(self.filled, score, 0.0)

    def in_own_px(self, dataset: Dataset) -> Fills:
        """The same in px of each row's own image, in place of px of the frame that all of them share."""
        return replace(
            self,
            xy=dataset.in_own_px(self.xy),
            sigma=dataset.lengths_in_own_px(self.sigma),
            radius=dataset.lengths_in_own_px(self.radius),
        )

    @property
    def filled(self) -> Mask:
        """(n, K): keypoints of which a coordinate is filled."""
        filled: Mask = self.method != FillMethod.NONE
        return filled


def copy_from_identical(
    fills: Fills, dataset: Dataset, groups: NDArray[np.int64], sources: Sources, coverage: float
) -> None:
    """An identical image that labels the keypoint in the same convention is the best fill there is."""
    if dataset.images is None:
        return
    labels, ids, observed = dataset.labels, exact_ids(dataset.images), dataset.table.observed
    _, which, counts = np.unique(ids, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[which.reshape(-1)] > 1)
    disputing = {(offset.group, offset.keypoint) for offset in sources.offsets}
    by_image: dict[int, list[int]] = {}
    for row in repeated.tolist():
        by_image.setdefault(int(ids[row]), []).append(row)
    for members in by_image.values():
        for k in range(labels.shape[1]):
            givers = [r for r in members if np.isfinite(labels[r, k]).all()]
            for row in members:
                if observed[row, k].all():
                    continue
                side = groups[row] if (int(groups[row]), k) in disputing else UNKNOWN
                same = [
                    r for r in givers
                    if (groups[r] if (int(groups[r]), k) in disputing else UNKNOWN) == side
                ]  # fmt: skip
                if same:
                    fills.xy[row, k] = np.median(labels[same, k], axis=0)
                    spread = float(np.sqrt(np.var(labels[same, k], axis=0).mean())) if len(same) > 1 else 0.0
                    fills.sigma[row, k] = max(_PERSON_SIGMA, spread)
                    fills.radius[row, k] = gaussian_radius(coverage) * fills.sigma[row, k]
                    fills.method[row, k] = FillMethod.COPY


def confirm(
    fills: Fills, dataset: Dataset, groups: NDArray[np.int64], sources: Sources, coverage: float
) -> None:
    """Blank points go where a person says that they lie, in their own row's convention."""
    if dataset.confirmed is None:
        return
    labels = dataset.labels
    said = np.isfinite(dataset.confirmed) & ~dataset.table.observed & np.isfinite(labels)
    points: Mask = np.any(said, axis=2)
    fills.xy[points] = np.where(said, labels, np.nan)[points]
    fills.sigma[points] = _PERSON_SIGMA
    fills.radius[points] = gaussian_radius(coverage) * _PERSON_SIGMA
    fills.method[points] = FillMethod.CONFIRMED
    fills.flags[points] = ""
    for offset in sources.offsets:
        own = points[:, offset.keypoint] & (groups == offset.group)
        fills.conventions[own, offset.keypoint] = offset.group


def withhold(fills: Fills, points: Mask) -> None:
    """Points (n, K) stay blank after all."""
    fills.xy[points] = np.nan
    fills.sigma[points] = np.nan
    fills.radius[points] = np.nan
    fills.method[points] = FillMethod.NONE
    fills.flags[points] = ""


def too_uncertain(fills: Fills, most: float | None) -> Mask:
    """(n, K): fills whose radius is more than `most` px; what a person confirmed is certain enough."""
    if most is None:
        return np.zeros(fills.method.shape, bool)
    sure = fills.method == FillMethod.CONFIRMED
    uncertain: Mask = fills.filled & ~sure & (fills.radius > most)
    return uncertain


def copied(fills: Fills) -> Fills:
    """The same in arrays of its own."""
    return Fills(**{name: values.copy() for name, values in vars(fills).items()})


def harmonise(
    fills: Fills,
    in_reference: Fills,
    labels: Array,
    anchors: Anchors,
    offsets: Sequence[ConventionOffset],
    groups: NDArray[np.int64],
    coverage: float,
) -> Fills:
    """The fills with every disputed keypoint in its reference convention, labels of other conventions moved.

    Rows of a source that the models have not met keep their labels: nobody knows what they mean by them.

    Parameters
    ----------
    in_reference
        Fills of disputed keypoints before they were moved into their rows' own conventions.
    labels
        (n, K, 2), px: what is known.
    anchors
        The labels in the reference convention, with the noise that this leaves.

    Returns
    -------
    Fills
        Finite, with the method ``harmonised``, also where an observed label is to be moved.
    """
    one = copied(fills)
    for offset in offsets:
        k = offset.keypoint
        away = groups == offset.group
        known = away & np.isfinite(labels[:, k]).all(axis=1) & anchors.known[:, k]
        one.xy[known, k] = anchors.xy[known, k]
        one.sigma[known, k] = np.sqrt(anchors.noise[known, k].mean(axis=1))
        one.radius[known, k] = gaussian_radius(coverage) * one.sigma[known, k]
        one.method[known, k] = FillMethod.HARMONISED
        found = away & fills.filled[:, k] & ~known & in_reference.filled[:, k]
        for name in ("xy", "sigma", "radius", "method"):
            getattr(one, name)[found, k] = getattr(in_reference, name)[found, k]
        one.conventions[known | found, k] = offset.reference
        one.flags[known, k] = ""
    return one
