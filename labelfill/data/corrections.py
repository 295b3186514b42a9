"""A person's verdicts on single points of a table, as the review page hands them over.

Format: UTF-8 text, a header ``row,keypoint,action,x,y``, then one verdict per line, in any order, at most
one per point. ``row`` is the 0-based data row of the table that was filled, ``keypoint`` the name without
``_x`` or ``_y``; ``x`` and ``y`` are px with 4 decimals, empty where the action needs none. The actions:

========== ==============================================================================================
accepted   the fill is right as it stands, at (x, y)
moved      a person put the point to (x, y)
rejected   the fill is no good: the cell stays blank and is counted; no x, y
wrong      an observed label is wrong: it keeps its bytes and is treated like a distrusted one; no x, y
========== ==============================================================================================

``accepted``, ``moved`` and ``rejected`` speak of points with a blank coordinate, ``wrong`` of observed ones.
Where the table states one of x and y, only the other is taken from the file: an observed cell is never
altered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfill.data.distrust import check_labelled, read_entries
from labelfill.data.table import KeypointTable
from labelfill.errors import DataError, shown

ACTIONS = ("accepted", "moved", "rejected", "wrong")
HEADER = ("row", "keypoint", "action", "x", "y")


@dataclass(frozen=True)
class Corrections:
    """A person's verdicts on a table's points.

    Attributes
    ----------
    confirmed
        (n, K, 2), px: where a person says that blank coordinates lie, accepted or moved; NaN elsewhere.
    rejected, wrong
        (n, K): blank points that are to stay blank; observed labels that are not to be trusted.
    """

    confirmed: NDArray[np.float64]
    rejected: NDArray[np.bool_]
    wrong: NDArray[np.bool_]


def read_corrections(path: Path, table: KeypointTable) -> Corrections:
    """A person's verdicts on the points of `table`, which is the one before it was filled.

    Raises
    ------
    DataError
        If there is no such file, or a line does not fit this table.
    StorageError
        If the file cannot be read.
    """
    shape = table.labels.shape
    found = Corrections(np.full(shape, np.nan), np.zeros(shape[:2], bool), np.zeros(shape[:2], bool))
    seen: dict[tuple[int, int], str] = {}
    for entry in read_entries(path, HEADER, table):
        at = (entry.row, entry.keypoint)
        if at in seen:
            raise DataError(
                f"{entry.where}: {shown(table.keypoints[at[1]])} of row {at[0]} stands in {seen[at]} "
                "already; expected each point once"
            )
        seen[at] = entry.where
        action, *texts = (text.strip() for text in entry.rest)
        if action not in ACTIONS:
            raise DataError(
                f"{entry.where}: there is no action {shown(entry.rest[0])}; expected one of "
                f"{', '.join(ACTIONS)}"
            )
        xy = _place(entry.where, action, texts)
        if action == "wrong":
            check_labelled(entry, table)
            found.wrong[at] = True
            continue
        if table.observed[at].all():
            raise DataError(
                f"{entry.where}: {action} speaks of a fill, but {table.path} labels "
                f"{shown(table.keypoints[at[1]])} in row {at[0]}; name the table before it was filled, "
                "or say wrong"
            )
        if xy is None:
            found.rejected[at] = True
        else:
            found.confirmed[at] = np.where(table.observed[at], np.nan, xy)
    return found


def _place(where: str, action: str, texts: Sequence[str]) -> tuple[float, float] | None:
    """Where a line puts the point, px; None if its action puts it nowhere."""
    if action in ("rejected", "wrong"):
        if any(texts):
            raise DataError(f"{where}: found a place ({', '.join(texts)}), but {action} takes none")
        return None
    try:
        x, y = map(float, texts)
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise DataError(
            f"{where}: {action} needs x and y in px, found {shown(','.join(texts))}; "
            "expected numbers with a dot"
        )
    return x, y
