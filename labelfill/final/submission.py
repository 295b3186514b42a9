"""What the final network's answers are written to: a table of coordinates, a submission.

Both take the answers batch by batch, in row order, so no more than a batch needs to be in memory but for the
coordinates that a submission asks for in another order.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from labelfill.arrays import Array, Integers, Mask
from labelfill.data.dataset import Dataset
from labelfill.data.formats.tables import as_csv
from labelfill.data.table import (
    DELIMITERS,
    KeypointTable,
    compressed_writer,
    coordinate_text,
    open_decompressed,
)
from labelfill.errors import DataError, counted, did_you_mean, listed, place, shown
from labelfill.runs import atomic_write
from labelfill.schema import KeypointSchema

ROW_ID, IMAGE_ID, FEATURE, LOCATION = "RowId", "ImageId", "FeatureName", "Location"
_NEEDED = (ROW_ID, IMAGE_ID, FEATURE)
_LINE_END = re.compile(rb"\r\r\n|\r\n|\r")


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
        plain.writelines(as_csv([[*kept, *new]]))
        yield _TableWriter(plain, [table.extra[column] for column in kept])


class _TableWriter:
    def __init__(self, out: BinaryIO, kept: list[list[str]]) -> None:
        self._out, self._kept = out, kept

    def add(self, rows: slice, xy: Array, radius: Array) -> None:
        kept = zip(*(column[rows] for column in self._kept), strict=True) if self._kept else [()] * len(xy)
        numbers = np.hstack([xy.reshape(len(xy), -1), radius]).tolist()
        lines = zip(kept, numbers, strict=True)
        self._out.writelines(as_csv([*fields, *map(_text, values)] for fields, values in lines))


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
        self._clipped = 0

    def asked_for(self, keypoints: int) -> Mask:
        """(n, keypoints): of which keypoints of each image anything is asked for."""
        asked = np.zeros((self._dataset.table.rows, keypoints), bool)
        asked[self._rows, self._columns // 2] = True
        return asked

    @property
    def counts(self) -> dict[str, int]:
        """Figures of what is asked for, and of what was moved onto its image."""
        images = len(np.unique(self._rows))
        return {"locations": len(self._rows), "images asked for": images, "clipped": self._clipped}

    def add(self, rows: slice, xy: Array, radius: Array) -> None:
        begin, end = np.searchsorted(self._sorted, [rows.start, rows.start + len(xy)])
        mine = self._order[begin:end]
        at = (self._rows[mine] - rows.start, self._columns[mine])
        found, onto = xy.reshape(len(xy), -1)[at], self._dataset.onto_image(xy, rows).reshape(len(xy), -1)[at]
        self._clipped += int((found != onto).sum())
        self._locations[mine] = onto

    def write(self, out: Path) -> None:
        """``RowId,Location``, one line per wanted coordinate, with 4 decimals."""
        assert np.isfinite(self._locations).all(), "every row of the table of images was answered"
        with atomic_write(out) as file, compressed_writer(file, out.name) as plain:
            plain.write(f"{ROW_ID},{LOCATION}\n".encode())
            for name, value in zip(self._lookup.row_ids, self._locations.tolist(), strict=True):
                plain.write(name.encode("utf-8", "surrogateescape") + b"," + coordinate_text(value) + b"\n")


@dataclass(frozen=True)
class Lookup:
    """Wanted coordinates, in the order of the file; all lists are of one length.

    Attributes
    ----------
    lines
        1-based line of each record, for error messages.
    """

    path: Path
    row_ids: list[str]
    image_ids: list[str]
    features: list[str]
    lines: list[int]

    def cells(self, images: Sequence[str], columns: Sequence[str], where: str) -> tuple[Integers, Integers]:
        """For each wanted coordinate its image (a position in `images`) and column (in `columns`).

        Parameters
        ----------
        images
            The image id of each row of the table of images.
        where
            That table, for error messages.

        Raises
        ------
        DataError
            If an image or a coordinate is not there, or an id of an image stands twice.
        """
        image_of = {name: i for i, name in enumerate(images)}
        if len(image_of) < len(images):
            twice = next(name for i, name in enumerate(images) if image_of[name] != i)
            raise DataError(f"{where} has the {IMAGE_ID} {shown(twice)} twice; it must be unique")
        column_of = {name: c for c, name in enumerate(columns)}
        wanted_images = self._positions(
            self.image_ids, image_of, IMAGE_ID, f"{where} has no image of that id"
        )
        wanted_columns = self._positions(
            self.features, column_of, FEATURE, f"the network answers for {listed(list(columns))}"
        )
        return wanted_images, wanted_columns

    def _positions(self, names: list[str], known: dict[str, int], column: str, otherwise: str) -> Integers:
        for name, line in zip(names, self.lines, strict=True):
            if name not in known:
                where = place(self.path, line=line, column=column)
                raise DataError(f"{where}: found {shown(name)}, but {otherwise}{did_you_mean(name, known)}")
        return np.array([known[name] for name in names], np.int64)


def read_lookup(path: Path) -> Lookup:
    """Read a look-up table: ``.csv``, ``.csv.gz`` or a ``.zip`` that holds one.

    Raises
    ------
    DataError
        If it lacks a column, a record has a field too few or too many or a blank one, or a ``RowId`` stands
        twice.
    """
    with open_decompressed(path) as packed:
        text = _LINE_END.sub(b"\n", packed.read()).decode("utf-8-sig", "surrogateescape")
    header, delimiter = _header(path, text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    at = [header.index(name) for name in _NEEDED]
    # Kaggle's records have no field for the column that is to be found out.
    fewest = len(header) - (header[-1] == LOCATION)
    row_ids: list[str] = []
    image_ids: list[str] = []
    features: list[str] = []
    lines: list[int] = []
    try:
        for record in reader:
            if not any(field.strip() for field in record):
                continue
            if not lines and [field.strip() for field in record] == header:
                continue
            where = place(path, line=reader.line_num)
            if not fewest <= len(record) <= len(header):
                raise DataError(
                    f"{where}: found {counted(len(record), 'field')}, expected {len(header)} as in the header"
                )
            for values, position in zip((row_ids, image_ids, features), at, strict=True):
                values.append(record[position].strip())
                if not values[-1]:
                    raise DataError(f"{where}, column {header[position]!r}: the field is blank")
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{place(path, line=reader.line_num)}: not valid CSV ({error})") from error
    if not lines:
        raise DataError(f"{path} has a header but no rows; expected one row per requested coordinate")
    _refuse_repeated(path, row_ids, lines)
    return Lookup(path, row_ids, image_ids, features, lines)


def _header(path: Path, text: str) -> tuple[list[str], str]:
    first = next((line for line in text.split("\n") if line.strip()), "")
    cut = {d: [name.strip().strip('"') for name in first.split(d)] for d in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda d: len(set(_NEEDED) & set(cut[d])))
    header = cut[delimiter]
    for name in _NEEDED:
        if header.count(name) != 1:
            raise DataError(
                f"{path}: a look-up table needs a column {name!r}; its columns are {listed(header)}"
                f"{did_you_mean(name, header)}"
            )
    return header, delimiter


def _refuse_repeated(path: Path, row_ids: list[str], lines: list[int]) -> None:
    seen: dict[str, int] = {}
    for name, line in zip(row_ids, lines, strict=True):
        if name in seen:
            where = place(path, line=line, column=ROW_ID)
            raise DataError(f"{where}: {shown(name)} is already used in line {seen[name]}; it must be unique")
        seen[name] = line
