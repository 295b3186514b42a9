"""Look-up tables: which coordinates of which images are wanted, and in which order.

The format, as Kaggle asks for a submission: a csv with the columns ``RowId``, ``ImageId`` and
``FeatureName`` (a coordinate column, such as ``nose_tip_x``), and one record per wanted number. Kaggle's own
file has a fourth column ``Location`` in its header but not in its records, and ends its lines in CR CR LF.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfill.data.table import DELIMITERS, open_decompressed
from labelfill.errors import DataError, did_you_mean, listed, place, shown

ROW_ID, IMAGE_ID, FEATURE, LOCATION = "RowId", "ImageId", "FeatureName", "Location"
_NEEDED = (ROW_ID, IMAGE_ID, FEATURE)
_LINE_END = re.compile(rb"\r\r\n|\r\n|\r")

Integers = NDArray[np.int64]


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
            raise DataError(
                f"{where} has the {IMAGE_ID} {shown(twice)} twice; each image needs one of its own"
            )
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
                    f"{where}: found {len(record)} fields, expected {len(header)} as in the header"
                )
            for values, position in zip((row_ids, image_ids, features), at, strict=True):
                values.append(record[position].strip())
                if not values[-1]:
                    raise DataError(f"{where}, column {header[position]!r}: the field is blank; fill it in")
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{place(path, line=reader.line_num)}: this is no csv ({error})") from error
    if not lines:
        raise DataError(
            f"{path} has a header but asks for nothing; expected one record per wanted coordinate"
        )
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
                f"{path}: a look-up table needs one column {name!r}, its columns are {listed(header)}"
                f"{did_you_mean(name, header)}"
            )
    return header, delimiter


def _refuse_repeated(path: Path, row_ids: list[str], lines: list[int]) -> None:
    seen: dict[str, int] = {}
    for name, line in zip(row_ids, lines, strict=True):
        if name in seen:
            where = place(path, line=line, column=ROW_ID)
            raise DataError(f"{where}: {shown(name)} stands in line {seen[name]} already; give each its own")
        seen[name] = line
