"""Radii that hold in a stated share of cases: split-conformal quantiles, and a round Gaussian's.

Papadopoulos et al. 2002; Lei et al. 2018, *Distribution-free predictive inference for regression*.
"""

from __future__ import annotations

import math

import numpy as np

from labelfill.arrays import Array, Integers

# What rounding may add to a rank that is a whole number.
_ROUNDING = 1e-9
# The radius of a round Gaussian that holds in 95% of cases, in units of sigma.
GAUSSIAN_RADIUS_95 = 2.448


def gaussian_radius(coverage: float) -> float:
    """The radius that holds in `coverage` of cases of a round Gaussian, in units of sigma."""
    return math.sqrt(-2 * math.log(1 - coverage))


def thinned(ordered: Array, kept: int) -> Array:
    """(kept,) of sorted scores, evenly, rounded outwards so that none understates."""
    at = np.ceil((np.arange(kept) + 1) / kept * len(ordered) - _ROUNDING).astype(np.int64) - 1
    return ordered[np.clip(at, 0, len(ordered) - 1)]


def conformal_rank(rows: Integers, coverage: float) -> Array:
    """Which of n sorted scores holds in `coverage` of further cases: the ceil((n + 1) coverage)-th."""
    rank: Array = np.ceil((rows + 1) * coverage - _ROUNDING)
    return rank


def conformal_quantile(scores: Array, rows: Integers, coverage: float) -> Array:
    """(...): the score of that rank, the largest if it lies beyond.

    Parameters
    ----------
    scores
        (..., Q): sorted, thinned to Q.
    rows
        (...): how many scores these were.
    """
    kept = scores.shape[-1]
    level = np.minimum(conformal_rank(rows, coverage) / np.maximum(rows, 1), 1.0)
    at = np.ceil(level * kept - _ROUNDING).astype(np.int64) - 1
    quantile: Array = np.take_along_axis(scores, np.clip(at, 0, kept - 1)[..., None], axis=-1)[..., 0]
    return quantile
