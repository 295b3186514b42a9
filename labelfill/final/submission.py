"""What the final network's answers are written to: a table of coordinates, a submission.

Both take the answers batch by batch, in row order, so no more than a batch needs to be in memory but for the
coordinates that a submission asks for in another order.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labelfill.data.dataset import Dataset
from labelfill.data.table import KeypointTable, compressed_writer, coordinate_text
from labelfill.final.lookup import LOCATION, ROW_ID, Lookup
from labelfill.runs import atomic_write
from labelfill.schema import KeypointSchema

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class AnswerWriter(Protocol):
    """Takes the answers for some rows after the other."""

    def add(self, rows: slice, xy: Array, radius: Array) -> None:
        """Coordinates (m, K, 2) and error radii (m, K) of those rows, px."""


@contextmanager
def prediction_table(out: Path, table: KeypointTable, schema: KeypointSchema) -> Iterator[AnswerWriter]:
    """A table of all columns but keypoints and pixels, the coordinates, and ``<keypoint>_radius``.

    It appears when the block ends well, packed as its name says.
    """
    new = [*schema.columns, *(f"{keypoint}_radius" for keypoint in schema.keypoints)]
    kept = [column for column in table.extra if column not in new]
    with atomic_write(out) as file, compressed_writer(file, out.name) as plain:
        text = io.TextIOWrapper(
            plain, encoding="utf-8", newline="", errors="surrogateescape", write_through=True
        )
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*kept, *new])
        yield _TableWriter(writer.writerow, [table.extra[column] for column in kept])
        text.flush()
        text.detach()


class _TableWriter:
    def __init__(self, write: Callable[[list[str]], object], kept: list[list[str]]) -> None:
        self._write, self._kept = write, kept

    def add(self, rows: slice, xy: Array, radius: Array) -> None:
        own = zip(*(column[rows] for column in self._kept), strict=True) if self._kept else [()] * len(xy)
        numbers = np.hstack([xy.reshape(len(xy), -1), radius])
        for fields, values in zip(own, numbers.tolist(), strict=True):
            self._write([*fields, *map(_text, values)])


def _text(value: float) -> str:
    return "" if np.isnan(value) else coordinate_text(value).decode()


class Submission:
    """The wanted coordinates (m,) of a look-up table, in its order, moved onto the image.

    Parameters
    ----------
    cells
        (m,) row of the table of images and (m,) coordinate column of each.
    """

    def __init__(self, lookup: Lookup, cells: tuple[Integers, Integers], dataset: Dataset) -> None:
        self._lookup, self._dataset = lookup, dataset
        self._rows, self._columns = cells
        self._locations = np.full(len(self._rows), np.nan)
        self._order = np.argsort(self._rows, kind="stable")
        self._sorted = self._rows[self._order]
        self.clipped = 0

    def add(self, rows: slice, xy: Array, radius: Array) -> None:
        begin, end = np.searchsorted(self._sorted, [rows.start, rows.start + len(xy)])
        mine = self._order[begin:end]
        at = (self._rows[mine] - rows.start, self._columns[mine])
        found, onto = xy.reshape(len(xy), -1)[at], self._dataset.onto_image(xy, rows).reshape(len(xy), -1)[at]
        self.clipped += int((found != onto).sum())
        self._locations[mine] = onto

    def write(self, out: Path) -> None:
        """``RowId,Location``, one line per wanted coordinate, with 4 decimals."""
        assert np.isfinite(self._locations).all(), "every row of the table of images was answered"
        with atomic_write(out) as file, compressed_writer(file, out.name) as plain:
            plain.write(f"{ROW_ID},{LOCATION}\n".encode())
            for name, value in zip(self._lookup.row_ids, self._locations.tolist(), strict=True):
                plain.write(name.encode("utf-8", "surrogateescape") + b"," + coordinate_text(value) + b"\n")
