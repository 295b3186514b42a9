"""Lists of labels that are not to be trusted: which label, by row and keypoint.

Format: UTF-8 text, a header ``row,keypoint``, then one label per line, in any order; a label listed twice
counts once. ``row`` is the 0-based data row of the table, ``keypoint`` the name without ``_x`` or ``_y``,
quoted as in any csv file. Bytes of names that are not UTF-8 are written and read as they stand in the table.

A distrusted label keeps its bytes. It is neither anchor nor target, and counts as unlabelled in scores.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfill.data.formats.tables import as_csv
from labelfill.data.joining import row_number
from labelfill.data.table import KeypointTable
from labelfill.errors import DataError, counted, listed, place, reading, shown
from labelfill.runs import write_bytes

HEADER = ("row", "keypoint")


@dataclass(frozen=True)
class Entry:
    """One line of a file that names labels of a table.

    Attributes
    ----------
    where
        The line, as error messages name it.
    row, keypoint
        Data row, and index into the table's keypoints.
    rest
        The fields after these two.
    """

    where: str
    row: int
    keypoint: int
    rest: tuple[str, ...]


def read_distrust(path: Path, table: KeypointTable) -> NDArray[np.bool_]:
    """(n, K): the labels of `table` that a file lists.

    Raises
    ------
    DataError
        If there is no such file, or a line is not a label of this table.
    StorageError
        If the file cannot be read.
    """
    distrusted = np.zeros(table.labels.shape[:2], bool)
    for where, fields in read_fields(path, HEADER):
        entry = entry_of(where, fields, table)
        check_labelled(entry, table)
        distrusted[entry.row, entry.keypoint] = True
    return distrusted


def write_distrust(path: Path, labels: Iterable[tuple[int, str]]) -> None:
    """Write (row, keypoint) pairs.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    write_bytes(path, distrust_bytes(labels))


def distrust_bytes(labels: Iterable[tuple[int, str]]) -> bytes:
    """A whole file of (row, keypoint) pairs."""
    return b"".join(as_csv([HEADER, *labels]))


def named_labels(distrusted: NDArray[np.bool_], table: KeypointTable) -> list[tuple[int, str]]:
    """(row, keypoint) pairs of a mask (n, K), as `write_distrust` takes them."""
    return [(int(row), table.keypoints[k]) for row, k in np.argwhere(distrusted).tolist()]


def entry_of(where: str, fields: Sequence[str], table: KeypointTable) -> Entry:
    """A line's fields as an entry; `DataError` if they name no row or keypoint of the table."""
    row, (name, *rest) = row_number(fields[0], where, table), fields[1:]
    if name not in table.keypoints:
        raise DataError(
            f"{where}: there is no keypoint {shown(name)}; expected one of {listed(table.keypoints)}"
        )
    return Entry(where, row, table.keypoints.index(name), tuple(rest))


def read_fields(
    path: Path, header: tuple[str, ...], optional: str | None = None
) -> Iterator[tuple[str, list[str]]]:
    """The lines of a csv file: where each stands, and its fields; whichever table they belong to.

    Parameters
    ----------
    optional
        A last column that the file may have; its field is empty if it has none.

    Raises
    ------
    DataError
        If there is no such file, or its header differs.
    """
    with reading(path):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise DataError(f"{path}: no such file; expected lines {','.join(HEADER)}") from None
    # Names were decoded like this when the table was read, so that they compare equal.
    text = content.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        found = tuple(name.strip() for name in next(reader, []))
        lacking = [""] if optional is not None and found == header else []
        if found != header and (optional is None or found != (*header, optional)):
            raise DataError(
                f"{path}, line 1: found {shown(','.join(found))}, expected the header {','.join(header)}"
            )
        for fields in reader:
            if not fields:
                continue
            where = place(path, line=reader.line_num)
            if len(fields) != len(found):
                raise DataError(
                    f"{where}: found {counted(len(fields), 'field')}, expected {len(found)}: "
                    f"{','.join(found)}"
                )
            yield where, [*fields, *lacking]
    except csv.Error as error:
        raise DataError(f"{place(path, line=reader.line_num)} is not csv: {error}") from error


def check_labelled(entry: Entry, table: KeypointTable) -> None:
    """Refuse an entry that calls a label wrong where there is none."""
    if not table.observed[entry.row, entry.keypoint].any():
        raise DataError(
            f"{entry.where}: row {entry.row} of {table.path} does not label "
            f"{shown(table.keypoints[entry.keypoint])}; expected a label that the table has. Is the list of "
            "another table?"
        )
