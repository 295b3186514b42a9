"""A table of any format written as a new csv file: its other columns, then the coordinates."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from labelfill.data.formats.points import send
from labelfill.data.formats.visibility import BOX_COLUMN, box_of
from labelfill.data.table import IMAGE_COLUMN, KeypointTable, WrittenTable
from labelfill.schema import x_column, y_column

_ROWS_AT_ONCE = 1000


def further_columns(table: KeypointTable) -> dict[str, list[str]]:
    """Every column but coordinates and grey values, as text; the box of each row among them."""
    columns = dict(table.extra)
    if table.boxes is not None and BOX_COLUMN not in columns:
        columns[BOX_COLUMN] = [
            "" if math.isnan(edges[0]) else " ".join(_plain(edge) for edge in box_of(edges))
            for edges in table.boxes
        ]
    return columns


def write_table(table: KeypointTable, images: Sequence[str] | None, out: BinaryIO) -> WrittenTable:
    """A header, and a line for each row; coordinates keep every digit that they need.

    Parameters
    ----------
    images
        Each row's grey values as text, if the table holds them.
    """
    return send(_lines(table, images), int(table.observed.sum()), out)


def _lines(table: KeypointTable, images: Sequence[str] | None) -> Iterator[bytes]:
    further = further_columns(table)
    coordinates = [name(k) for k in table.keypoints for name in (x_column, y_column)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*further, *coordinates, *([] if images is None else [IMAGE_COLUMN])])
    for row in range(table.rows):
        values = ["" if math.isnan(v) else repr(v) for v in table.labels[row].reshape(-1).tolist()]
        grey = [] if images is None else [images[row]]
        writer.writerow([*(texts[row] for texts in further.values()), *values, *grey])
        if row % _ROWS_AT_ONCE == 0:
            yield text.getvalue().encode("utf-8", "surrogateescape")
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode("utf-8", "surrogateescape")


def _plain(value: float) -> str:
    """At most six decimals, none that says nothing."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
