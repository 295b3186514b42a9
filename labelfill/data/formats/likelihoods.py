"""Columns of likelihoods: which a table has, what they say, and what `impute --likelihood` puts into them."""

from __future__ import annotations

import re

import numpy as np

from labelfill.arrays import Array
from labelfill.data.table import (
    LIKELIHOOD,
    FoundPoints,
    HeaderKind,
    KeypointTable,
    Splices,
    likelihood_column,
    likelihood_splices,
)
from labelfill.errors import DataError, listed, place, shown
from labelfill.schema import coordinate_columns

_ENDINGS = (LIKELIHOOD, "score", "confidence")
_LINE_END = re.compile(r"[\r\n]")


def likelihoods(table: KeypointTable) -> Array:
    """(n, K): how likely each point is right, as the table states it in columns; NaN where it does not."""
    found = np.full(table.labels.shape[:2], np.nan)
    columns = likelihood_columns(table)
    if not columns:
        raise DataError(
            f"{table.path}: no column of likelihoods for --min-likelihood; expected names such as "
            f"{likelihood_column(table.keypoints[0])} (or {' or '.join(f'_{end}' for end in _ENDINGS[1:])}); "
            f"its other columns: {listed(sorted(table.extra)) or 'none'}"
        )
    for k, column in columns.items():
        for row, text in enumerate(table.extra[column]):
            try:
                found[row, k] = float(text) if text.strip() else np.nan
            except ValueError:
                where = place(table.path, row=row, line=int(table.lines[row]), column=column)
                raise DataError(
                    f"{where}: found {shown(text)}, expected a likelihood from 0 to 1, or nothing"
                ) from None
    return found


def likelihood_columns(table: KeypointTable) -> dict[int, str]:
    """By keypoint, the column that states likelihoods."""
    return {
        k: column
        for k, name in enumerate(table.keypoints)
        for column in (f"{name}_{end}" for end in reversed(_ENDINGS))
        if column in table.extra
    }


def without_likelihoods(table: KeypointTable) -> list[int]:
    """The keypoints that have no such column, in the order in which their coordinates stand in the file."""
    stated, at = likelihood_columns(table), {column: c for c, column in enumerate(table.columns)}
    first = [min(at[column] for column in coordinate_columns([name])) for name in table.keypoints]
    return sorted((k for k in range(len(first)) if k not in stated), key=first.__getitem__)


def scores_of_fills(table: KeypointTable, found: FoundPoints) -> Array:
    """(n, K): of points of which a coordinate is filled; NaN for others."""
    return np.where(found.new(table).any(axis=2), found.score, np.nan)


def stated_likelihoods(table: KeypointTable, found: FoundPoints, kind: HeaderKind) -> list[Splices]:
    """What is put into a table of text to state how sure its fills are."""
    return likelihood_splices(
        table, scores_of_fills(table, found), likelihood_columns(table), without_likelihoods(table), kind
    )


def no_likelihoods(table: KeypointTable, column: str) -> DataError:
    """What is said of a column of such a name that holds something else."""
    return DataError(
        f"{place(table.path, column=column)}: found values that are no numbers, expected likelihoods from 0 "
        "to 1; rename the column, or leave --likelihood out"
    )


def check_new_columns(table: KeypointTable) -> None:
    """Refuse a table to which columns of likelihoods cannot be added.

    Raises
    ------
    DataError
        If a keypoint's name holds a line end, so that rows would begin on other lines than the sidecar says;
        or if there is a column of the name that holds no text.
    """
    for name in (table.keypoints[k] for k in without_likelihoods(table)):
        column = likelihood_column(name)
        if column in table.columns:
            raise no_likelihoods(table, column)
        if _LINE_END.search(name):
            raise DataError(
                f"{place(table.path)}: the name of keypoint {shown(name)} holds a line end, so no column of "
                "likelihoods can be named after it; rename it, or leave --likelihood out"
            )
