"""Simple ways of filling, to compare with: by columns alone, without looking at an image.

Arrays in, arrays out. scikit-learn (the extra ``compare``) is imported only for the two imputers it provides.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, get_args

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.errors import UsageError

SimpleMethod = Literal["mean", "forward-fill", "knn", "iterative"]
SIMPLE_METHODS: tuple[SimpleMethod, ...] = get_args(SimpleMethod)

_NEIGHBOURS = 10


def fill_simply(labels: Array, method: SimpleMethod, learn_from: Mask | None = None) -> Array:
    """Fill blank coordinates from the table's coordinates alone.

    Parameters
    ----------
    labels
        Coordinates in px, float64 (n, K, 2), NaN where blank.
    method
        ``mean`` of the column; ``forward-fill``, the last observed value above (the next one below for the
        first rows); ``knn``, the mean of the ten rows nearest in what both observe, by nearness;
        ``iterative``, each column regressed on all others in turn (the last two are scikit-learn's
        KNNImputer and IterativeImputer).
    learn_from
        (n,): rows that others may be filled from; None for all.

    Returns
    -------
    Array
        A copy (n, K, 2); observed coordinates as they were; a coordinate that no row has stays NaN.

    Raises
    ------
    UsageError
        If the method is unknown, or needs scikit-learn and that is not installed.
    """
    if method not in SIMPLE_METHODS:
        known_methods = ", ".join(SIMPLE_METHODS)
        raise UsageError(f"unknown simple method {method!r}; choose from {known_methods}")
    columns = labels.reshape(len(labels), -1)
    blank = np.isnan(columns)
    givers = np.ones(len(columns), bool) if learn_from is None else learn_from
    known = np.flatnonzero(~blank[givers].all(axis=0))
    filled = columns.copy()
    if len(known) and blank.any():
        filled[:, known] = _fill(columns[:, known], method, givers)
    filled[~blank] = columns[~blank]  # whatever a method does, observed coordinates are kept
    return filled.reshape(labels.shape)


def _fill(columns: Array, method: SimpleMethod, givers: Mask) -> Array:
    """Columns (n, C), each with a number in a row that gives, without NaN."""
    if method == "mean":
        return np.where(np.isnan(columns), np.nanmean(columns[givers], axis=0), columns)
    if method == "forward-fill":
        return _forward_fill(columns, givers)
    imputer = _imputer(method)
    with warnings.catch_warnings():
        # It warns if it has not settled after its rounds, which is no fault of a comparison.
        warnings.simplefilter("ignore")
        if givers.all():
            filled: Array = imputer.fit_transform(columns)
        else:
            filled = imputer.fit(columns[givers]).transform(columns)
    return filled


def _forward_fill(columns: Array, givers: Mask) -> Array:
    gives = ~np.isnan(columns) & givers[:, None]
    rows = np.arange(len(columns))[:, None]
    last = np.maximum.accumulate(np.where(gives, rows, -1), axis=0)
    source = np.where(last >= 0, last, gives.argmax(axis=0))
    return np.take_along_axis(columns, source, axis=0)


def require_imputers() -> Any:
    """scikit-learn's module of imputers.

    Raises
    ------
    UsageError
        If it is not installed; says how to get it.
    """
    try:
        import sklearn.impute
        from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes IterativeImputer importable
    except ImportError:
        raise UsageError(
            "the ways 'knn' and 'iterative' need scikit-learn, which is not installed: "
            "pip install 'labelfill[compare]', or leave them out with --ways"
        ) from None
    return sklearn.impute


def _imputer(method: SimpleMethod) -> Any:
    imputers = require_imputers()
    if method == "knn":
        return imputers.KNNImputer(n_neighbors=_NEIGHBOURS, weights="distance")
    return imputers.IterativeImputer(random_state=0)
