"""Which rows and points of a filled table to show first: in the order of the review list, then by radius."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelfill.filling.reviewing import review_order
from labelfill.reports.result.filled_rows import FilledRows
from labelfill.schema import Array

# Flagged points come before all others, however large the radii of these are.
_FLAGGED = 1e6


def doubt_of_points(filled: FilledRows) -> Array:
    """(n, K): the larger the sooner to be looked at; -inf for points that are neither filled nor flagged."""
    there = filled.filled & np.isfinite(filled.radius)
    typical = max(float(np.median(filled.radius[there])), 1e-9) if there.any() else 1.0
    doubt = np.where(there, filled.radius / typical, -np.inf)
    order = review_order(filled.radius, filled.flags)
    doubt[order.points[:, 0], order.points[:, 1]] = _FLAGGED + order.severity
    return doubt


def worst_rows(doubt: Array) -> NDArray[np.int64]:
    """Rows with something to look at, worst first, from the doubt of their points (n, K)."""
    worst = doubt.max(axis=1, initial=-np.inf)
    rows = np.flatnonzero(worst > -np.inf)
    ordered: NDArray[np.int64] = rows[np.argsort(-worst[rows], kind="stable")].astype(np.int64)
    return ordered
