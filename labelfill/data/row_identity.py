"""Which rows of a table show the same: identical images or, where there are none, identical labels."""

from __future__ import annotations

import hashlib

import numpy as np

from labelfill.arrays import Array, Integers
from labelfill.data.dataset import Dataset
from labelfill.data.images.identity import content_ids, fingerprint

# Rows that agree in so many points to the last digit are of one image; in fewer they may be by chance.
_LEAST_POINTS = 3


def row_ids(dataset: Dataset, rows: Integers | None = None) -> Integers:
    """(n,), or (m,) of some rows: the same number for rows that show the same, mirrored images included."""
    if dataset.images is not None:
        return content_ids(dataset.images if rows is None else np.asarray(dataset.images[rows]))
    ids = _label_ids(dataset.table.labels)
    return ids if rows is None else ids[rows]


def rows_fingerprint(dataset: Dataset) -> str:
    """One text that is the same for tables whose rows show the same in the same order."""
    if dataset.images is not None:
        return fingerprint(dataset.images)
    return hashlib.sha256(_label_ids(dataset.table.labels).tobytes()).hexdigest()


def _label_ids(labels: Array) -> Integers:
    """The first row with the same labels (n, K, 2); its own number for a row of fewer than three points."""
    ids = np.arange(len(labels))
    first: dict[bytes, int] = {}
    texts = np.where(np.isnan(labels), np.nan, labels + 0.0)  # one NaN, and no -0.0
    for row in np.flatnonzero(np.isfinite(labels).all(axis=2).sum(axis=1) >= _LEAST_POINTS).tolist():
        ids[row] = first.setdefault(texts[row].tobytes(), row)
    return ids
