"""What displacements of labels say about single labels and about rows as a whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelfill.schema import Array
from labelfill.shape.prior import ShapePrior, fit_shape_prior

Mask = NDArray[np.bool_]

FEWEST_ROWS = 30
"""Fewer rows with labels tell nothing about which of them are unusual."""

_MEDIAN_SQUARE = 0.455  # of the square of a standard normal variable


def usual_displacements(displaced: Array) -> dict[int, ShapePrior]:
    """For each keypoint that is judged the Gaussian of its displacements, robust to wrong labels."""
    usual = {}
    for k in range(displaced.shape[1]):
        known = np.isfinite(displaced[:, k]).all(axis=1)
        if known.sum() >= FEWEST_ROWS:
            own = displaced[known, k : k + 1]
            usual[k] = fit_shape_prior(own, np.zeros_like(own))
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
    weight = np.zeros(displaced.shape)
    centred = np.zeros(displaced.shape)
    for k in np.flatnonzero(known.any(axis=0)):
        own = displaced[known[:, k], k]
        middle = np.median(own, axis=0)
        centred[known[:, k], k] = own - middle
        weight[known[:, k], k] = 1 / np.maximum(np.median((own - middle) ** 2, axis=0) / _MEDIAN_SQUARE, 1e-4)
    total = weight[judged].sum(axis=1)
    shift[judged] = (centred * weight).sum(axis=1)[judged] / total
    for axis in range(2):
        squares = shift[judged, axis] ** 2
        squared[judged] += squares / (_common_variance(squares, 1 / total[:, axis]) + 1 / total[:, axis])
    return shift, np.sqrt(squared)


def _common_variance(squares: Array, own: Array) -> float:
    """The variance beside each row's own that gives these squares a Gaussian's median; by bisection."""
    low, high = 0.0, float(squares.max()) / _MEDIAN_SQUARE
    for _ in range(40):
        middle = (low + high) / 2
        too_small = np.median(squares / (middle + own)) > _MEDIAN_SQUARE
        low, high = (middle, high) if too_small else (low, middle)
    return high
