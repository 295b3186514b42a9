"""People's decisions on single points of a table, as the review page hands them over.

Format: UTF-8 text, a header ``row,keypoint,action,x,y``, then one decision per line, in any order, at most
one per point. ``row`` is the 0-based data row of the table that was filled, ``keypoint`` the name without
``_x`` or ``_y``; ``x`` and ``y`` are px with 4 decimals, empty where the action needs none. A sixth column,
``reviewer``, may tell who decided. The actions:

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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfill.data.distrust import check_labelled, entry_of, read_fields
from labelfill.data.formats.tables import as_csv
from labelfill.data.joining import row_number
from labelfill.data.table import KeypointTable, coordinate_text
from labelfill.errors import DataError, shown

PLACING = ("accepted", "moved")
ACTIONS = (*PLACING, "rejected", "wrong")
HEADER = ("row", "keypoint", "action", "x", "y")
REVIEWER = "reviewer"


@dataclass(frozen=True)
class Decision:
    """What a person decided about a point.

    Attributes
    ----------
    place
        (x, y) px, if the action puts the point somewhere.
    reviewer
        Who decided; empty if nobody is named.
    where
        The line that says so, as error messages name it.
    """

    row: int
    keypoint: str
    action: str
    place: tuple[float, float] | None = None
    reviewer: str = ""
    where: str = ""


Decisions = Mapping[tuple[int, str], Decision]


@dataclass(frozen=True)
class Corrections:
    """People's decisions on a table's points, as arrays.

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
    """Decisions on the points of `table`, which is the one before it was filled.

    Raises
    ------
    DataError
        If there is no such file, or a line does not fit this table.
    StorageError
        If the file cannot be read.
    """
    return corrections_of(read_decisions(path).values(), table)


def corrections_of(decisions: Iterable[Decision], table: KeypointTable) -> Corrections:
    """Decisions on the points of `table`, which is the one before it was filled.

    Raises
    ------
    DataError
        If one does not fit this table.
    """
    shape = table.labels.shape
    found = Corrections(np.full(shape, np.nan), np.zeros(shape[:2], bool), np.zeros(shape[:2], bool))
    for decision in decisions:
        entry = entry_of(decision.where, (str(decision.row), decision.keypoint), table)
        at = (entry.row, entry.keypoint)
        if decision.action == "wrong":
            check_labelled(entry, table)
            found.wrong[at] = True
        elif table.observed[at].all():
            raise DataError(
                f"{decision.where}: {decision.action} speaks of a fill, but {table.path} labels "
                f"{shown(decision.keypoint)} in row {decision.row}; name the table before it was filled, "
                "or say wrong"
            )
        elif decision.place is None:
            found.rejected[at] = True
        else:
            found.confirmed[at] = np.where(table.observed[at], np.nan, decision.place)
    return found


def read_decisions(path: Path) -> dict[tuple[int, str], Decision]:
    """The decisions of a file by row and keypoint, whichever table they belong to.

    Raises
    ------
    DataError
        If there is no such file, or a line is no decision.
    StorageError
        If the file cannot be read.
    """
    found: dict[tuple[int, str], Decision] = {}
    for where, fields in read_fields(path, HEADER, REVIEWER):
        row, name = row_number(fields[0], where), fields[1]
        if (row, name) in found:
            raise DataError(
                f"{where}: {shown(name)} of row {row} stands in {found[row, name].where} already; expected "
                "each point once"
            )
        action, *texts = (text.strip() for text in fields[2:5])
        if action not in ACTIONS:
            raise DataError(
                f"{where}: there is no action {shown(fields[2])}; expected one of {', '.join(ACTIONS)}"
            )
        place = _place(where, action, texts)
        found[row, name] = Decision(row, name, action, place, fields[5].strip(), where)
    return found


def corrections_bytes(decisions: Iterable[Decision]) -> bytes:
    """A whole file of decisions, in the order of their rows; with a column of reviewers if one is named."""
    ordered = sorted(decisions, key=lambda decision: decision.row)
    named = any(decision.reviewer for decision in ordered)
    lines: list[tuple[object, ...]] = [(*HEADER, REVIEWER) if named else HEADER]
    for decision in ordered:
        x, y = ("", "") if decision.place is None else (coordinate_text(v).decode() for v in decision.place)
        line = (decision.row, decision.keypoint, decision.action, x, y)
        lines.append((*line, decision.reviewer) if named else line)
    return b"".join(as_csv(lines))


def _place(where: str, action: str, texts: Sequence[str]) -> tuple[float, float] | None:
    """Where a line puts the point, px; None if its action puts it nowhere."""
    if action not in PLACING:
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
