"""The shape prior: one Gaussian over all coordinates of a row, conditioned on whatever a row has.

For any pattern of missing labels the conditioned Gaussian states where each missing keypoint is
expected and how surely: linear regression for every pattern at once (Little & Rubin, *Statistical
Analysis with Missing Data*, ch. 11). Everywhere here, `noise` is the variance of what is known
about a coordinate, in px²: 0 for an exact label, `numpy.inf` where nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from labelfill.arrays import Array, Integers, KeptArrays, Mask
from labelfill.errors import DataError
from labelfill.schema import KeypointSchema

# Labels are never exact: keeps conditioning well posed (px²).
_LEAST_NOISE = 0.01
# Degrees of freedom of the row weights: a row as far off as the Gaussian expects keeps its weight,
# a row ten times as far (exchanged sides, shifted labels) counts a tenth (Lange et al. 1989, JASA).
_ROBUSTNESS = 8.0
_EM_ITERATIONS = 30
_EM_TOLERANCE = 1e-3
_SHRINKAGE_CHOICES = (1.0, 4.0, 16.0, 64.0)
# With this many rows per coordinate shrinkage no longer matters, and the smallest is taken untested.
_PLENTY_OF_ROWS = 15
_PATTERNS_AT_ONCE = 512


@dataclass(frozen=True)
class Expected:
    """Where the prior expects the keypoints of some rows.

    Attributes
    ----------
    xy
        (n, K, 2), px.
    covariance
        (n, K, 2, 2), px²; per keypoint.
    """

    xy: Array
    covariance: Array

    @property
    def sigma(self) -> Array:
        """(n, K): root mean square of the standard deviations in x and y, px."""
        variance: Array = np.trace(self.covariance, axis1=-2, axis2=-1) / 2
        return np.sqrt(variance)

    def take(self, rows: Integers) -> Expected:
        return Expected(self.xy[rows], self.covariance[rows])


@dataclass(frozen=True)
class ShapePrior(KeptArrays):
    """A Gaussian over the 2K coordinates of a row.

    Attributes
    ----------
    mean
        (K, 2), px: the mean shape.
    covariance
        (2K, 2K), px².
    """

    shapes: ClassVar[Mapping[str, str]] = {
        "mean": "K 2",
        "covariance": "2K 2K",
    }

    mean: Array
    covariance: Array

    @property
    def keypoints(self) -> int:
        return len(self.mean)

    @property
    def extent(self) -> float:
        """The larger side of the mean shape's bounding box, px; 0 for a single keypoint."""
        return float(np.ptp(self.mean, axis=0).max())

    def condition(self, xy: Array, noise: Array) -> Expected:
        """What is expected of every keypoint, given what is known.

        Parameters
        ----------
        xy
            (n, K, 2), px; read only where `noise` is finite.
        noise
            (n, K, 2), px².
        """
        flat_noise, _, deviation = self._flat(xy, noise)
        expected = np.empty(deviation.shape)
        covariance = np.empty((len(xy), self.keypoints, 2, 2))
        for members, inverse in _precisions(self.covariance, flat_noise):
            gain, remaining = _gain(self.covariance, inverse)
            # Not as a product of matrices, whose last digits depend on how many rows come together.
            expected[members] = np.einsum("ni,ji->nj", deviation[members], gain)
            blocks = remaining.reshape(self.keypoints, 2, self.keypoints, 2)
            covariance[members] = np.einsum("kakb->kab", blocks)
        return Expected((expected + self.mean.reshape(-1)).reshape(xy.shape), covariance)

    def residuals_from_others(self, xy: Array, noise: Array) -> tuple[Array, Array]:
        """How far each known label lies from where the row's other keypoints lead to expect it.

        Returns
        -------
        residual
            (n, K, 2), px; 0 for coordinates that are not known.
        covariance
            (n, K, 2, 2), px²: of that residual, the label's own noise included; 0 between and for
            coordinates that are not known.
        """
        flat_noise, known, deviation = self._flat(xy, noise)
        residual, covariance = np.zeros(xy.shape), np.zeros((*xy.shape, 2))
        for members, inverse in _precisions(self.covariance, flat_noise):
            # A keypoint's block of the inverse is the precision of its label given all others.
            blocks = np.einsum("kakb->kab", inverse.reshape(self.keypoints, 2, self.keypoints, 2)).copy()
            unknown = ~known[members[0]].reshape(self.keypoints, 2)
            blocks += unknown[:, :, None] * np.eye(2)
            given_others = np.linalg.inv(blocks) - unknown[:, :, None] * np.eye(2)
            pull = (deviation[members] @ inverse).reshape(-1, self.keypoints, 2)
            residual[members] = np.einsum("kab,nkb->nka", given_others, pull)
            covariance[members] = given_others
        return residual, covariance

    def squared_distance(self, xy: Array, noise: Array) -> tuple[Array, Integers]:
        """Squared Mahalanobis distance of what is known of each row (n,), and its degrees of freedom (n,)."""
        flat_noise, known, deviation = self._flat(xy, noise)
        distance = np.empty(len(xy))
        for members, inverse in _precisions(self.covariance, flat_noise):
            distance[members] = np.einsum("ni,ij,nj->n", deviation[members], inverse, deviation[members])
        return distance, known.sum(axis=1)

    def _flat(self, xy: Array, noise: Array) -> tuple[Array, Mask, Array]:
        """(n, 2K): the noise, where it is finite, and there the deviation from the mean shape, px."""
        flat_xy, flat_noise = (array.reshape(len(xy), 2 * self.keypoints) for array in (xy, noise))
        known = np.isfinite(flat_noise)
        return flat_noise, known, np.where(known, flat_xy - self.mean.reshape(-1), 0.0)


def fit_shape_prior(xy: Array, noise: Array, seed: int = 0) -> ShapePrior:
    """Maximum likelihood with missing values (EM), robust to wrong rows, shrunk where rows are few.

    Shrinkage pulls the covariance towards one that knows only how shapes move as a whole and how
    much single points scatter; how strongly is chosen by the likelihood of held-out rows.

    Parameters
    ----------
    xy, noise
        (n, K, 2): labels in px and their noise in px².

    Raises
    ------
    DataError
        If no row labels anything.
    """
    useful = np.isfinite(noise).any(axis=(1, 2))
    xy, noise = xy[useful], noise[useful]
    if not len(xy):
        raise DataError("no training row labels any keypoint; a shape prior cannot be fitted")
    if len(xy) >= _PLENTY_OF_ROWS * xy[0].size:
        return _fit(xy, noise, _SHRINKAGE_CHOICES[0])
    folds = np.random.default_rng([seed, 0x5A9E]).permutation(len(xy)) % 3
    surprise = []
    for shrinkage in _SHRINKAGE_CHOICES:
        surprise.append(0.0)
        for fold in range(3):
            inside, outside = folds != fold, folds == fold
            if inside.any() and outside.any():
                prior = _fit(xy[inside], noise[inside], shrinkage)
                surprise[-1] += _negative_log_likelihood(prior, xy[outside], noise[outside])
    return _fit(xy, noise, _SHRINKAGE_CHOICES[int(np.argmin(surprise))])


def with_mirrored(
    xy: Array, noise: Array, schema: KeypointSchema, partners: Sequence[int]
) -> tuple[Array, Array]:
    """Rows (n, K, 2) followed by their mirrored copies, and the noise likewise."""
    order = np.asarray(partners)
    mirrored_noise = np.where((order >= 0)[:, None], noise[:, order], np.inf)
    return np.concatenate([xy, schema.mirror(xy, partners)]), np.concatenate([noise, mirrored_noise])


def mirror_fits(
    xy: Array, noise: Array, held_out: Mask, schema: KeypointSchema, partners: Sequence[int]
) -> bool:
    """Whether mirrored copies of training rows describe held-out rows about as well as the rows themselves.

    A table of profiles that all look one way, or wrong mirror partners, fail.
    """
    inside, outside = ~held_out, held_out
    if inside.sum() < 2 or not outside.any():
        return True
    with_copies, noise_of_both = with_mirrored(xy[inside], noise[inside], schema, partners)
    if not np.isfinite(noise_of_both[inside.sum() :]).any():
        return False
    alone = _fit(xy[inside], noise[inside], _SHRINKAGE_CHOICES[1])
    both = _fit(with_copies, noise_of_both, _SHRINKAGE_CHOICES[1])
    coordinates = max(int(np.isfinite(noise[outside]).sum()), 1)
    surprise = [_negative_log_likelihood(prior, xy[outside], noise[outside]) for prior in (both, alone)]
    return (
        surprise[0] - surprise[1]
    ) / coordinates < 0.1  # nats per coordinate: a tenth is far less than wrong partners cost


def _fit(xy: Array, noise: Array, shrinkage: float) -> ShapePrior:
    rows, size = len(xy), xy[0].size
    flat, flat_noise = xy.reshape(rows, size), noise.reshape(rows, size)
    known = np.isfinite(flat_noise)
    mean, covariance = _start(flat, known)
    for _ in range(_EM_ITERATIONS):
        filled, weight = np.empty((rows, size)), np.ones(rows)
        scatter = np.zeros((size, size))
        deviation = np.where(known, flat - mean, 0.0)
        for members, inverse in _precisions(covariance, flat_noise):
            gain, remaining = _gain(covariance, inverse)
            part = deviation[members]
            distance = np.einsum("ni,ij,nj->n", part, inverse, part)
            weight[members] = _row_weight(distance, int(known[members[0]].sum()))
            filled[members] = part @ gain.T
            scatter += len(members) * remaining
        shift = (weight[:, None] * filled).sum(axis=0) / weight.sum()
        centred = filled - shift
        scatter += (weight[:, None] * centred).T @ centred
        updated = _shrink(scatter, rows, shrinkage, size)
        change = np.abs(updated - covariance).max() / np.abs(covariance).max()
        mean, covariance = mean + shift, updated
        if change < _EM_TOLERANCE:
            break
    return ShapePrior(mean.reshape(-1, 2), covariance)


def _row_weight(distance: Array, degrees: int) -> Array:
    """The weight of rows by their squared distance: about 1 for a usual row."""
    weight: Array = _scatter_correction(degrees) * (_ROBUSTNESS + degrees) / (_ROBUSTNESS + distance)
    return weight


@cache
def _scatter_correction(degrees: int) -> float:
    """What makes the weighted scatter of Gaussian rows the Gaussian's covariance, not a smaller one.

    Weights that fall with distance take more from the tails than they give to the centre: without this,
    a single keypoint's variance would come out a fifth too small.
    """
    if not degrees:
        return 1.0
    distance = (np.arange(4000) + 0.5) * ((degrees + 12 * math.sqrt(2 * degrees) + 20) / 4000)
    log_density = (degrees / 2 - 1) * np.log(distance) - distance / 2  # chi-squared, but for a factor
    density = np.exp(log_density - log_density.max())
    weighted = (_ROBUSTNESS + degrees) * distance / (_ROBUSTNESS + distance)
    return degrees * float(density.sum() / (density * weighted).sum())


def _start(flat: Array, known: Mask) -> tuple[Array, Array]:
    """Means per coordinate, and a covariance of shapes that move as a whole."""
    counts = known.sum(axis=0)
    totals = np.where(known, flat, 0.0).sum(axis=0)
    rowless = totals.reshape(-1, 2).sum(axis=0) / np.maximum(counts.reshape(-1, 2).sum(axis=0), 1)
    mean = np.where(counts > 0, totals / np.maximum(counts, 1), np.tile(rowless, len(counts) // 2))
    spread = np.where(known, flat - mean, 0.0)
    variance = np.maximum((spread**2).sum() / max(known.sum(), 1), 1.0)
    return mean, variance * (0.5 * _whole_shape(len(mean)) + 0.5 * np.eye(len(mean)))


def _whole_shape(size: int) -> Array:
    """1 between coordinates of the same axis."""
    axis = np.arange(size) % 2
    same: Array = (axis[:, None] == axis[None, :]).astype(np.float64)
    return same


def _shrink(scatter: Array, rows: int, shrinkage: float, size: int) -> Array:
    empirical = scatter / rows
    same_axis = _whole_shape(size)
    between = same_axis.sum() - size
    common = (
        max(float((empirical * same_axis).sum() - np.trace(empirical)) / between, 0.0) if between else 0.0
    )
    alone = max(float(np.trace(empirical)) / size - common, 1e-2)
    target = common * same_axis + alone * np.eye(size)
    shrunk: Array = (rows * empirical + shrinkage * target) / (rows + shrinkage)
    return (shrunk + shrunk.T) / 2


def _negative_log_likelihood(prior: ShapePrior, xy: Array, noise: Array) -> float:
    """In nats, over all that is known of the rows; heavy tails cut off so that one bad row cannot decide."""
    distance, degrees = prior.squared_distance(xy, noise)
    total = np.minimum(distance, 10.0 * np.maximum(degrees, 1)).sum()
    for members, inverse in _precisions(prior.covariance, noise.reshape(len(xy), -1)):
        known = np.flatnonzero(np.isfinite(noise.reshape(len(xy), -1)[members[0]]))
        if len(known):
            total -= len(members) * np.linalg.slogdet(inverse[np.ix_(known, known)])[1]
    return float(total / 2)


def _patterns(noise: Array) -> tuple[Array, list[Integers]]:
    """Distinct rows of noise (u, 2K), and the rows that have each."""
    # Conditioning depends on noise alone, and a table has few patterns: each is worked out once. Sorting all
    # rows takes longer than working them out, so that only those that differ are sorted.
    whole = np.ascontiguousarray(noise)
    numbers: dict[bytes, int] = {}
    texts = whole.view(f"V{whole.itemsize * whole.shape[1]}").reshape(-1).tolist()
    which = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
    first = np.full(len(numbers), len(whole))
    np.minimum.at(first, which, np.arange(len(whole)))
    distinct, place = np.unique(whole[first], axis=0, return_inverse=True)
    which = place.reshape(-1)[which]
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which, minlength=len(distinct)))
    return distinct, np.split(order, ends[:-1])


def _precisions(covariance: Array, noise: Array) -> Iterator[tuple[Integers, Array]]:
    """For each pattern its rows and (2K, 2K) the inverse covariance of what is known, 0 elsewhere."""
    distinct, members = _patterns(noise)
    for begin in range(0, len(distinct), _PATTERNS_AT_ONCE):
        block = distinct[begin : begin + _PATTERNS_AT_ONCE]
        known = np.isfinite(block)
        both = known[:, :, None] & known[:, None, :]
        # Unknown coordinates become independent ones of variance 1, which the mask takes out again.
        system = np.where(both, covariance, 0.0)
        diagonal = np.where(known, np.maximum(np.where(known, block, 0.0), _LEAST_NOISE), 1.0)
        index = np.arange(block.shape[1])
        system[:, index, index] += diagonal
        inverse = np.where(both, np.linalg.inv(system), 0.0)
        yield from zip(members[begin : begin + len(block)], inverse, strict=True)


def _gain(covariance: Array, inverse: Array) -> tuple[Array, Array]:
    """The gain (2K, 2K) from deviations to expectations, and the covariance that remains."""
    gain = covariance @ inverse
    remaining = covariance - gain @ covariance
    return gain, (remaining + remaining.T) / 2
