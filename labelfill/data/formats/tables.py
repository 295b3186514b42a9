"""A table of any format written as a new csv file: its other columns, then the coordinates."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence

from labelfill.arrays import Array
from labelfill.data.formats.visibility import BOX_COLUMN, box_of
from labelfill.data.table import IMAGE_COLUMN, KeypointTable
from labelfill.schema import coordinate_columns

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


def table_as_csv(table: KeypointTable, images: Sequence[str] | None) -> Iterator[bytes]:
    """A header, and a line for each row; coordinates keep every digit that they need.

    Parameters
    ----------
    images
        Each row's grey values as text, if the table holds them.
    """
    columns = further_columns(table)
    last = {} if images is None else {IMAGE_COLUMN: images}

    def lines() -> Iterator[list[str]]:
        yield [*columns, *coordinate_columns(table.keypoints), *last]
        for row, labels in enumerate(table.labels):
            further, grey = ([texts[row] for texts in part.values()] for part in (columns, last))
            yield [*further, *exact_texts(labels), *grey]

    return as_csv(lines())


def exact_texts(labels: Array) -> list[str]:
    """A row's labels (K, 2) with every digit that they need, nothing for a blank."""
    return ["" if math.isnan(value) else repr(value) for value in labels.ravel().tolist()]


def as_csv(lines: Iterable[Sequence[object]]) -> Iterator[bytes]:
    """Lines of fields as the bytes of a csv file, many at once."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for number, fields in enumerate(lines):
        writer.writerow(fields)
        if number % _ROWS_AT_ONCE == 1:
            yield text.getvalue().encode("utf-8", "surrogateescape")
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode("utf-8", "surrogateescape")


def _plain(value: float) -> str:
    """At most six decimals, none that says nothing."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
