"""DeepLabCut's ``CollectedData_<scorer>.csv``: three header rows, then a line for each image.

::

    scorer,,,Ann,Ann
    bodyparts,,,nose,nose
    coords,,,x,y
    labeled-data,video1,img0001.png,12.5,30.25

Images are named from the project's folder, in one column or, since DeepLabCut 2.2, in three; they lie in
the folder of the csv file. A blank point is not labelled; there is no visibility. Blanks are filled as in
any table, so every other byte stays.

The format: https://deeplabcut.github.io/DeepLabCut/docs/standardDeepLabCut_UserGuide.html
"""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath

from labelfill.arrays import Array
from labelfill.data.formats.tables import as_csv, exact_texts
from labelfill.data.formats.visibility import HIDDEN, visibilities
from labelfill.data.table import BOM, IMAGE_PATH_COLUMN, Cursor, Header, KeypointTable, read_table
from labelfill.errors import DataError, listed, place, real_path, shown
from labelfill.schema import AXES

DEEPLABCUT = "deeplabcut"

_HEADER_ROWS = ("scorer", "bodyparts", "coords")
# The last alternative matches where no line end follows: else the search would begin anew at every byte.
_LINE = re.compile(rb"([^\r\n]*+)(\r?\r\n|[\r\n]|\Z)")
_FIRST_BYTES = 1 << 20
# The folders of a project above that of the csv file: labeled-data, and the project itself.
_MOST_ABOVE = 3

_log = logging.getLogger("labelfill")


def is_deeplabcut(begin: bytes) -> bool:
    """Whether a file that begins so is one of these."""
    lines = islice(_LINE.finditer(begin.removeprefix(BOM)), 2)
    firsts = [line[1].split(b",", 1)[0].strip(b'" ') for line in lines]
    return len(firsts) == 2 and firsts[0] == b"scorer" and firsts[1] in (b"bodyparts", b"individuals")


def read_deeplabcut(path: Path, *, beside: Path | None = None, show_progress: bool = False) -> KeypointTable:
    """Read one such file.

    Parameters
    ----------
    beside
        Another file in whose folder, or below or above it, the images are looked for.

    Raises
    ------
    DataError
        If its header is another one, or a field is no coordinate.
    """
    table = read_table(path, header=_read_header, show_progress=show_progress)
    index = table.columns[: table.columns.index(IMAGE_PATH_COLUMN) + 1]
    names = ["/".join(parts) for parts in zip(*(table.extra[name] for name in index), strict=True)]
    extra = {
        IMAGE_PATH_COLUMN: _as_they_lie(real_path(beside or path).parent, names),
        **{name: texts for name, texts in table.extra.items() if name not in index},
    }
    return replace(table, extra=extra, image_column=IMAGE_PATH_COLUMN, format=DEEPLABCUT)


def _read_header(path: Path, read: Callable[[int], bytes]) -> tuple[Header, Cursor]:
    buffer = b""
    lines: list[re.Match[bytes]] = []
    while len(lines) < len(_HEADER_ROWS) + 1 and len(buffer) < _FIRST_BYTES and (chunk := read(_FIRST_BYTES)):
        buffer += chunk
        lines = [line for line in _LINE.finditer(buffer) if line[2]]
    rows: list[list[str]] = []
    for number, name in enumerate(_HEADER_ROWS):
        where = place(path, line=number + 1)
        if number >= len(lines):
            raise DataError(f"{where}: the file ends in its header; expected rows {', '.join(_HEADER_ROWS)}")
        text = lines[number][1].removeprefix(BOM).decode("utf-8", "surrogateescape")
        row = next(csv.reader([text]))
        if row[0].strip() == "individuals":
            raise DataError(
                f"{where}: the file is of several animals (a row 'individuals'); labelfill reads one set of "
                "keypoints per image: split it by individual"
            )
        if row[0].strip() != name or len(row) != len(rows[0] if rows else row):
            raise DataError(
                f"{where}: found {shown(row[0])} and {len(row)} fields, expected DeepLabCut's row {name!r} "
                f"with {len(rows[0]) if rows else 'one scorer for each column of'} fields"
            )
        rows.append(row)
    return _header(path, rows), Cursor(buffer[lines[2].end() :], offset=lines[2].end(), line=4)


def _header(path: Path, rows: Sequence[Sequence[str]]) -> Header:
    _, parts, kinds = rows
    first = next((c for c, kind in enumerate(kinds) if c > 0 and kind.strip()), len(kinds))
    keypoints: dict[str, set[str]] = {}
    columns = [IMAGE_PATH_COLUMN if c == first - 1 else f"index {c}" for c in range(first)]
    for c in range(first, len(kinds)):
        part, kind = parts[c].strip(), kinds[c].strip()
        known = keypoints.setdefault(part, set())
        if not part or kind in known or kind not in (*AXES, "likelihood"):
            raise DataError(
                f"{place(path, line=3)}, field {c + 1}: found {shown(kind)} of {shown(part)}, expected x and "
                "y of each body part once"
            )
        known.add(kind)
        columns.append(f"{part}_{kind}")
    lacking = [part for part, kinds in keypoints.items() if not kinds.issuperset(AXES)]
    if lacking or not keypoints:
        raise DataError(f"{place(path, line=3)}: no x and y of {listed(lacking) or 'any body part'}")
    return Header(",", tuple(columns), tuple(keypoints), IMAGE_PATH_COLUMN)


def _as_they_lie(folder: Path, names: Sequence[str]) -> list[str]:
    """Names from the project's folder as names from `folder`; those that are nowhere stay as they are."""
    found: list[str] = []
    way: tuple[int, int] | None = None
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if way is None or not (folder / _on(way, parts)).is_file():
            ways = [(up, left) for up in range(_MOST_ABOVE + 1) for left in range(len(parts))]
            way = next((guess for guess in ways if (folder / _on(guess, parts)).is_file()), None)
        found.append(name if way is None else _on(way, parts))
    return found


def _on(way: tuple[int, int], parts: Sequence[str]) -> str:
    """The name less its first `left` folders, looked for `up` folders higher."""
    up, left = way
    return "/".join([*[".."] * up, *parts[min(left, len(parts) - 1) :]])


def table_as_deeplabcut(
    table: KeypointTable, names: Sequence[str], sizes: Array, path: Path
) -> Iterator[bytes]:
    """A whole table as a new file at `path`, whose name tells the scorer; `names` are from its folder."""
    hidden = int((visibilities(table) == HIDDEN).sum())
    if hidden:
        _log.warning("%s: DeepLabCut knows no visibility: %d hidden points lose theirs", path, hidden)
    scorer = path.stem.removeprefix("CollectedData_").removeprefix("CollectedData") or "labelfill"
    folder = ("labeled-data", real_path(path).parent.name)

    def lines() -> Iterator[list[str]]:
        each = [(keypoint, axis) for keypoint in table.keypoints for axis in AXES]
        yield ["scorer", "", "", *[scorer] * len(each)]
        yield ["bodyparts", "", "", *(keypoint for keypoint, _ in each)]
        yield ["coords", "", "", *(axis for _, axis in each)]
        for name, labels in zip(names, table.labels, strict=True):
            yield [*folder, name.replace(os.sep, "/"), *exact_texts(labels)]

    yield from as_csv(lines())
