"""One shape prior per label source, asked row by row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from labelfill.arrays import Array, Integers, Mask
from labelfill.shape.prior import ShapePrior, fit_shape_prior

FEWEST_ROWS = 30
"""Fewer rows with labels tell nothing about which of them are unusual; sources need as many for a prior."""
_MEDIAN_SQUARE = 0.455  # of the square of a standard normal variable
_FAR_OUT = 8.0  # robust standard deviations
_LEAST_SPREAD = 0.5  # px
_MOST_FAR_OUT = 0.2  # of the rows: more are no mistakes but another kind of rows


class GroupShapes:
    """The shape priors of a table's label sources; conventions of different sources do not mix.

    Labels are (n, K, 2) px, NaN = missing, of all rows of the table or of those named.

    Parameters
    ----------
    source_of
        (n,): each row's source; small sources and unknown ones share the prior of all rows.
    """

    def __init__(self, labels: Array, source_of: Integers, seed: int = 0) -> None:
        useful = np.isfinite(labels).any(axis=(1, 2))
        sources, counts = np.unique(source_of[useful & (source_of >= 0)], return_counts=True)
        large = sources[counts >= FEWEST_ROWS].tolist()
        self._of_row = np.full(len(labels), -1)
        self._priors: dict[int, ShapePrior] = {}
        for source in large if len(large) > 1 else []:
            self._of_row[source_of == source] = source
            self._priors[source] = _fit(labels[source_of == source], seed)
        if (self._of_row < 0).any():
            self._priors[-1] = _fit(labels, seed)

    @property
    def extent(self) -> float:
        """Of the largest mean shape, px."""
        return max(prior.extent for prior in self._priors.values())

    def residuals(self, labels: Array, rows: Integers | None = None) -> tuple[Array, Array]:
        """As `ShapePrior.residuals_from_others`."""
        residual, covariance = np.zeros(labels.shape), np.zeros((*labels.shape, 2))
        for members, prior, xy, noise in self._parts(labels, rows):
            residual[members], covariance[members] = prior.residuals_from_others(xy, noise)
        return residual, covariance

    def expected(self, labels: Array) -> Array:
        """(n, K, 2) px: where the prior expects keypoints, given labels."""
        expected = np.zeros(labels.shape)
        for members, prior, xy, noise in self._parts(labels):
            expected[members] = prior.condition(xy, noise).xy
        return expected

    def squared_distance(self, labels: Array, rows: Integers | None = None) -> tuple[Array, Integers]:
        """As `ShapePrior.squared_distance`."""
        distance, degrees = np.zeros(len(labels)), np.zeros(len(labels), np.int64)
        for members, prior, xy, noise in self._parts(labels, rows):
            distance[members], degrees[members] = prior.squared_distance(xy, noise)
        return distance, degrees

    def oddity(self, labels: Array) -> Array:
        """(n,): how unlikely a row's shape is as a whole, about standard normal for usual rows."""
        distance, known = self.squared_distance(labels)
        degrees = np.maximum(known, 1)
        spread = 2 / (9 * degrees)  # Wilson & Hilferty 1931: the cube root of chi-squared is nearly normal
        odd: Array = (np.cbrt(distance / degrees) - (1 - spread)) / np.sqrt(spread)
        return odd

    def _parts(
        self, labels: Array, rows: Integers | None = None
    ) -> Iterator[tuple[Integers, ShapePrior, Array, Array]]:
        """Which of these rows belong to a prior, the prior, and their labels and noise."""
        of_row = self._of_row if rows is None else self._of_row[rows]
        for source, prior in self._priors.items():
            members = np.flatnonzero(of_row == source)
            if len(members):
                yield members, prior, labels[members], _noise(labels[members])


def _noise(labels: Array) -> Array:
    """px²: 0 where there is a label, infinite where there is none."""
    return np.where(np.isfinite(labels), 0.0, np.inf)


def _fit(labels: Array, seed: int) -> ShapePrior:
    """The prior of the rows that are not far out.

    The prior's own robustness ends where one row in 2K is wrong in the same way, with exchanged sides
    for example: such rows would become part of what is usual.
    """
    usual = ~_far_out(labels)
    if usual.mean() < 1 - _MOST_FAR_OUT:
        usual[:] = True
    return fit_shape_prior(labels[usual], _noise(labels[usual]), seed)


def _far_out(labels: Array) -> Mask:
    """(n,): rows with a label that lies far from the median shape, moved to where the row's labels are."""
    labelled: Mask = np.all(np.isfinite(labels), axis=2)
    rows, keypoints = np.any(labelled, axis=1), np.any(labelled, axis=0)
    found = np.zeros(len(labels), bool)
    if not rows.any():
        return found
    known = np.where(labelled[:, :, None], labels, np.nan)[rows][:, keypoints]
    deviation = known - np.nanmedian(known, axis=0)
    deviation -= np.nanmedian(deviation, axis=1, keepdims=True)
    spread = np.nanmedian(np.abs(deviation), axis=0) / 0.6745
    distance = np.abs(deviation) / np.maximum(spread, _LEAST_SPREAD)
    found[rows] = np.nanmax(distance, axis=(1, 2)) > _FAR_OUT
    return found


def usual_displacements(displaced: Array) -> dict[int, ShapePrior]:
    """For each keypoint that is judged the Gaussian of its displacements, robust to wrong labels."""
    usual = {}
    for k in range(displaced.shape[1]):
        known = np.isfinite(displaced[:, k]).all(axis=1)
        if known.sum() >= FEWEST_ROWS:
            moves = displaced[known, k : k + 1]
            usual[k] = fit_shape_prior(moves, np.zeros_like(moves))
    return usual


def common_shift(displaced: Array) -> tuple[Array, Array]:
    """(n, 2) px by how much all labels of a row are off alike, and (n,) its length in standard deviations.

    A row's mean displacement, weighted by how well each keypoint is seen. Its variance is that of the
    mean and what the displacements of one row have in common, such as an unusual picture.
    """
    known: Mask = np.all(np.isfinite(displaced), axis=2)
    judged = np.flatnonzero(known.any(axis=1))
    shift, squared = np.zeros((len(displaced), 2)), np.zeros(len(displaced))
    if len(judged) < FEWEST_ROWS:
        return shift, squared
    weight, centred = np.zeros(displaced.shape), np.zeros(displaced.shape)
    for k in np.flatnonzero(known.any(axis=0)):
        moves = displaced[known[:, k], k]
        about = moves - np.median(moves, axis=0)
        centred[known[:, k], k] = about
        weight[known[:, k], k] = 1 / np.maximum(np.median(about**2, axis=0) / _MEDIAN_SQUARE, 1e-4)
    total = weight[judged].sum(axis=1)
    shift[judged] = (centred * weight).sum(axis=1)[judged] / total
    for axis in range(2):
        squares = shift[judged, axis] ** 2
        squared[judged] += squares / (_common_variance(squares, 1 / total[:, axis]) + 1 / total[:, axis])
    return shift, np.sqrt(squared)


def _common_variance(squares: Array, variance: Array) -> float:
    """What has to be added to each row's variance to give these squares a Gaussian's median; by bisection."""
    low, high = 0.0, float(squares.max()) / _MEDIAN_SQUARE
    for _ in range(40):
        middle = (low + high) / 2
        too_small = np.median(squares / (middle + variance)) > _MEDIAN_SQUARE
        low, high = (middle, high) if too_small else (low, middle)
    return high
