"""What a person should look at first: points in order of doubt, with the reasons; arrays in and out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

# Flags that send a person to a single point. The others (`source-shift`, `low-data`, `unknown-source`) hold
# for whole columns or rows of a source, and their radii are wider already.
REASONS = ("large-radius", "implausible-shape", "off-image", "doubtful-anchor", "doubtful-label")
# How many typical radii a reason other than a large radius weighs.
_REASON_WEIGHT = 2.0


@dataclass(frozen=True)
class ReviewOrder:
    """Points worth a look, worst first.

    Attributes
    ----------
    points
        (p, 2): row and keypoint of each.
    severity
        (p,): radius over the table's median radius, and 2 more for each further reason; falls.
    reasons
        (p,) words of `REASONS`, joined by spaces.
    """

    points: Integers
    severity: Array
    reasons: NDArray[np.object_]

    @property
    def rows(self) -> Integers:
        """(r,): rows with such a point, by their worst one."""
        rows, first = np.unique(self.points[:, 0], return_index=True)
        ordered: Integers = rows[np.argsort(first)]
        return ordered


def review_order(radius: Array, flags: NDArray[np.object_]) -> ReviewOrder:
    """Order the flagged points of a table by how much they deserve a look.

    Parameters
    ----------
    radius
        (n, K), px; NaN where nothing was filled.
    flags
        (n, K): words joined by spaces, empty where there are none. An observed label may have some too.
    """
    filled = np.isfinite(radius)
    typical = float(np.median(radius[filled])) if filled.any() else 1.0
    points, severity, reasons = [], [], []
    for row, k in np.argwhere(flags != "").tolist():
        words = [word for word in str(flags[row, k]).split() if word in REASONS]
        if not words:
            continue
        size = radius[row, k] / max(typical, 1e-9) if filled[row, k] else 0.0
        points.append((row, k))
        severity.append(size + _REASON_WEIGHT * sum(word != "large-radius" for word in words))
        reasons.append(" ".join(words))
    order = np.argsort(-np.array(severity), kind="stable")
    return ReviewOrder(
        np.array(points, np.int64).reshape(-1, 2)[order],
        np.array(severity, np.float64)[order],
        np.array(reasons, dtype=object)[order],
    )
