"""Which rows of two tables belong together.

By a column of ids that both have, else by a column ``row`` (0-based row of the other table) in one of them,
else by order.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelfill.data.table import KeypointTable
from labelfill.errors import DataError, place, shown

ROW_COLUMN = "row"

_log = logging.getLogger("labelfill")


def join_rows(table: KeypointTable, onto: KeypointTable) -> tuple[NDArray[np.int64], str]:
    """For each row of `onto` the row of `table` that belongs to it, -1 if none does; and what joined them.

    A column joins if both tables have it, no value stands twice and some values are the same in both; if both
    have several, the one with most in common.

    Raises
    ------
    DataError
        If rows can be joined neither by ids nor by ``row``, and the numbers of rows differ.
    """
    shared = [column for column in onto.extra if column in table.extra and column != ROW_COLUMN]
    common = {column: _ids_in_common(table.extra[column], onto.extra[column]) for column in shared}
    best = max(shared, key=common.__getitem__, default=None)
    if best is not None and common[best]:
        return _rows_of_ids(table.extra[best], onto.extra[best]), best
    if ROW_COLUMN in table.extra and ROW_COLUMN in onto.extra:
        numbers, wanted = (list(map(str, _row_numbers(each, None))) for each in (table, onto))
        return _rows_of_ids(numbers, wanted), ROW_COLUMN
    if ROW_COLUMN in onto.extra:
        return _row_numbers(onto, table), ROW_COLUMN
    if ROW_COLUMN in table.extra:
        rows = np.full(onto.rows, -1)
        rows[_row_numbers(table, onto)] = np.arange(table.rows)
        return rows, ROW_COLUMN
    if table.rows != onto.rows:
        raise DataError(
            f"{table.path} has {table.rows} rows and {onto.path} has {onto.rows}, and no column of ids joins "
            f"them: give both the same rows in the same order, or a column of ids, or one of them a column "
            f"{ROW_COLUMN!r} with the other's 0-based rows"
        )
    for column in onto.extra:
        if table.extra.get(column, onto.extra[column]) != onto.extra[column]:
            _log.warning(
                "rows of %s and %s are joined by order, though their columns %r differ",
                *(table.path, onto.path, column),
            )
    return np.arange(onto.rows), "order"


def _ids_in_common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many ids two columns share; 0 if a value is blank or stands twice, so that they are no ids."""
    first, second = {text.strip() for text in a}, {text.strip() for text in b}
    if len(first) < len(a) or len(second) < len(b) or "" in first | second:
        return 0
    return len(first & second)


def _rows_of_ids(ids: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    at = {text.strip(): i for i, text in enumerate(ids)}
    return np.array([at.get(text.strip(), -1) for text in wanted], dtype=np.int64)


def _row_numbers(table: KeypointTable, of: KeypointTable | None) -> NDArray[np.int64]:
    """The column ``row`` as numbers: distinct rows, of `of` if that is given."""
    numbers: dict[int, None] = {}
    for i, text in enumerate(table.extra[ROW_COLUMN]):
        where = place(table.path, row=i, line=int(table.lines[i]), column=ROW_COLUMN)
        number = row_number(text, where, of)
        if number in numbers:
            raise DataError(f"{where}: row {number} stands twice; expected each row once")
        numbers[number] = None
    return np.array([*numbers], dtype=np.int64)


def row_number(text: str, where: str, of: KeypointTable | None = None) -> int:
    """A 0-based row, of `of` if that is given."""
    try:
        number = int(text)
    except ValueError:
        raise DataError(f"{where}: {shown(text)} is not a whole number; expected a 0-based row") from None
    if number < 0 or (of is not None and number >= of.rows):
        last = f"0 to {of.rows - 1}, the rows of {of.path}" if of is not None else "0 or more"
        raise DataError(f"{where}: there is no row {number}; expected {last}")
    return number
