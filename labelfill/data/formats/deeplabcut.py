"""DeepLabCut's ``CollectedData_<scorer>.csv``: three header rows, then a line for each image.

::

    scorer,,,Ann,Ann
    bodyparts,,,nose,nose
    coords,,,x,y
    labeled-data,video1,img0001.png,12.5,30.25

Images are named from the project's folder, in one column or, since DeepLabCut 2.2, in three; they lie in
the folder of the csv file. A blank point is not labelled; there is no visibility. Blanks are filled as in
any table, so every other byte stays. A project of several animals has one more row, ``individuals``, behind
the first; it is read if it names one individual.

What a network answered for a video or for images has the same header and a ``likelihood`` for each body part;
its lines begin with an image's name or with the number of a frame.

The format: https://deeplabcut.github.io/DeepLabCut/docs/standardDeepLabCut_UserGuide.html
"""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from labelfill.arrays import Array
from labelfill.data.formats.tables import as_csv, exact_texts
from labelfill.data.formats.visibility import HIDDEN, visibilities
from labelfill.data.table import (
    BOM,
    IMAGE_PATH_COLUMN,
    IMAGE_SUFFIXES,
    LIKELIHOOD,
    Cursor,
    Header,
    HeaderKind,
    KeypointTable,
    fields_behind,
    read_table,
)
from labelfill.errors import DataError, StorageError, counted, listed, place, reading_csv, real_path, shown
from labelfill.schema import AXES

DEEPLABCUT = "deeplabcut"

_INDIVIDUALS, _COORDS = "individuals", "coords"
_HEADER_ROWS = ("scorer", "bodyparts", _COORDS)
_HEADER_ROWS_OF_ANIMALS = ("scorer", _INDIVIDUALS, "bodyparts", _COORDS)
_FRAME = re.compile(r"[0-9]+")
_FRAME_AT_END = re.compile(r"[0-9]+\Z")
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


def read_deeplabcut(
    path: Path,
    *,
    beside: Path | None = None,
    predictions: bool = False,
    show_progress: bool = False,
) -> KeypointTable:
    """Read one such file; each likelihood becomes a column ``<body part>_likelihood``.

    Parameters
    ----------
    beside
        Another file in whose folder, or below or above it, the images are looked for.
    predictions
        Whether likelihoods are used, or tell fills from labels, so that a network's answers may be read.

    Raises
    ------
    DataError
        If its header is another one, of several animals or of predictions, or a field is no coordinate.
    """
    read_header = partial(_read_header, predictions=predictions)
    table = read_table(path, header=read_header, show_progress=show_progress)
    index = table.columns[: table.columns.index(IMAGE_PATH_COLUMN) + 1]
    names = ["/".join(parts) for parts in zip(*(table.extra[name] for name in index), strict=True)]
    folder = real_path(beside or path).parent
    if predictions and all(map(_FRAME.fullmatch, names)):
        found = _images_of_frames(table, folder, [int(name) for name in names])
    else:
        found = _as_they_lie(folder, names)
    extra = {
        IMAGE_PATH_COLUMN: found,
        **{name: texts for name, texts in table.extra.items() if name not in index},
    }
    return replace(table, extra=extra, image_column=IMAGE_PATH_COLUMN, format=DEEPLABCUT)


def refuse_predictions(path: Path) -> None:
    """Refuse a network's answers where no likelihood tells which of them are as good as labels.

    Raises
    ------
    DataError
        Always, naming the option.
    """
    raise DataError(
        f"{path} is a DeepLabCut prediction file, which holds a network's answers and no labels; "
        "--min-likelihood 0.6 takes the points above it as labels"
    )


def _read_header(
    path: Path, read: Callable[[int], bytes], *, predictions: bool = False
) -> tuple[Header, Cursor]:
    buffer = b""
    lines: list[re.Match[bytes]] = []
    most = len(_HEADER_ROWS_OF_ANIMALS) + 1
    while len(lines) < most and len(buffer) < _FIRST_BYTES and (chunk := read(_FIRST_BYTES)):
        buffer += chunk
        lines = [line for line in _LINE.finditer(buffer) if line[2]]
    with reading_csv(path):
        fields = [_fields(line) for line in lines[: most - 1]]
    of_animals = len(fields) > 1 and fields[1][0].strip() == _INDIVIDUALS
    expected = _HEADER_ROWS_OF_ANIMALS if of_animals else _HEADER_ROWS
    rows: dict[str, list[str]] = {}
    for number, name in enumerate(expected):
        where = place(path, line=number + 1)
        if number >= len(lines):
            raise DataError(f"{where}: the file ends in its header; expected rows {', '.join(expected)}")
        row, count = fields[number], len(next(iter(rows.values()), ()))
        if row[0].strip() != name or (rows and len(row) != count):
            raise DataError(
                f"{where}: found {shown(row[0])} and {counted(len(row), 'field')}, expected "
                f"DeepLabCut's row {name!r} with {count if rows else 'one scorer for each column of'} fields"
            )
        rows[name] = row
    header, end = _header(path, rows), lines[len(rows) - 1].end()
    if not predictions and any(kind.strip() == LIKELIHOOD for kind in rows[_COORDS]):
        refuse_predictions(path)
    return header, Cursor(buffer[end:], offset=end, line=len(rows) + 1)


def _new_names(table: KeypointTable, header: bytes, keypoints: Sequence[str]) -> list[tuple[int, bytes]]:
    """In each row of the header what it says of a keypoint's x; in the last one what the column states."""
    of_x = [table.columns.index(f"{keypoint}_{AXES[0]}") for keypoint in keypoints]
    names = []
    for line in _LINE.finditer(header):
        if line[2]:
            row = _fields(line)
            of_columns = row[0].strip() == _COORDS
            further = [LIKELIHOOD if of_columns else row[c] for c in of_x]
            names.append((line.end(1), fields_behind(table.delimiter, further)))
    return names


LIKELIHOODS_OF_DEEPLABCUT = HeaderKind(partial(_read_header, predictions=True), _new_names)


def _fields(line: re.Match[bytes]) -> list[str]:
    text = line[1].removeprefix(BOM).decode("utf-8", "surrogateescape")
    return next(csv.reader([text]), []) or [""]  # of an empty line the reader makes no field at all


def _header(path: Path, rows: Mapping[str, Sequence[str]]) -> Header:
    parts, kinds = rows["bodyparts"], rows[_COORDS]
    where = place(path, line=len(rows))
    first = next((c for c, kind in enumerate(kinds) if c > 0 and kind.strip()), len(kinds))
    individuals = list(dict.fromkeys(name.strip() for name in rows.get(_INDIVIDUALS, ())[first:]))
    if len(individuals) > 1:
        raise DataError(
            f"{place(path, line=2)}: the file is of {len(individuals)} individuals ({listed(individuals)}), "
            "and labelfill reads one set of keypoints per image; give a file for each of them"
        )
    keypoints: dict[str, set[str]] = {}
    columns = [IMAGE_PATH_COLUMN if c == first - 1 else f"index {c}" for c in range(first)]
    for c in range(first, len(kinds)):
        part, kind = parts[c].strip(), kinds[c].strip()
        known = keypoints.setdefault(part, set())
        if not part or kind in known or kind not in (*AXES, LIKELIHOOD):
            raise DataError(
                f"{where}, field {c + 1}: found {shown(kind)} of {shown(part)}, expected x and "
                "y of each body part once"
            )
        known.add(kind)
        columns.append(f"{part}_{kind}")
    lacking = [part for part, kinds in keypoints.items() if not kinds.issuperset(AXES)]
    if lacking or not keypoints:
        raise DataError(f"{where}: no x and y of {listed(lacking) or 'any body part'}")
    return Header(",", tuple(columns), tuple(keypoints), IMAGE_PATH_COLUMN)


def _images_of_frames(table: KeypointTable, folder: Path, frames: Sequence[int]) -> list[str]:
    """The image in `folder` for each frame of a video: the one whose name ends in its number."""
    images: dict[int, list[str]] = {}
    try:
        names = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as error:
        raise StorageError(f"{folder} cannot be listed: {error.strerror}") from error
    for name in names:
        if number := _FRAME_AT_END.search(Path(name).stem):
            images.setdefault(int(number[0]), []).append(name)
    missing = [frame for frame in frames if frame not in images]
    if missing:
        raise DataError(
            f"{table.path} names frames of a video by number, and {folder} has no image whose name ends in "
            f"that of {len(missing)} of them, the first {missing[0]}; export the frames as images, such as "
            f"frame{missing[0]}.png, and name their folder by --image-folder"
        )
    for row, frame in enumerate(frames):
        if len(images[frame]) > 1:
            raise DataError(
                f"{place(table.path, row=row, line=int(table.lines[row]))}: frame {frame} may be any of "
                f"{listed(images[frame])} in {folder}; leave one image of each frame in that folder"
            )
    return [images[frame][0] for frame in frames]


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
