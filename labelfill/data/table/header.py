"""The header of a table: its delimiter, its columns, and which of them are coordinates or images."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from labelfill.data.table.faults import too_many_blank_lines
from labelfill.data.table.tidy import refuse_tidy
from labelfill.data.table.tokenizer import (
    MAX_BLANK_BYTES,
    MAX_RECORD_BYTES,
    Cursor,
    field_pattern,
    line_ends,
)
from labelfill.errors import DataError, did_you_mean, listed, place, shown
from labelfill.schema import coordinate_columns, keypoints_in_header

_log = logging.getLogger("labelfill")

DELIMITERS = (",", ";", "\t")
IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)
IMAGE_COLUMN, IMAGE_PATH_COLUMN = "Image", "image_path"

# The stated bound on columns: those of an image of 512x512 px, one for each, and of many labels beside.
MAX_COLUMNS = 300_000
_FIRST_BYTES = 1 << 16
BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BLANK_LINES = re.compile(rb"(?:[ \t]*+(?:\r\n?|\n))*+")
_GREY_VALUES = re.compile(rb'"?[ \t]*\d{1,3}(?:[ \t]+\d{1,3}){2}')
_LIKELY_NAMES = frozenset((
    "image", "images", "img", "pixels", "path", "image_name", "imagename", "image_file", "image_id",
    "file", "filename", "file_name", "filepath", "file_path", "frame",
))  # fmt: skip
_LINE = re.compile(rb"[^\r\n]*")
_LINE_END = re.compile(rb"\r?\r\n|[\r\n]|\Z")


class NoImagesError(DataError):
    """A table that needs images has no column of them."""


@dataclass(frozen=True)
class Header:
    """What the first record says about all others; column names are stripped of spaces and quotes."""

    delimiter: str
    columns: tuple[str, ...]
    keypoints: tuple[str, ...]
    image_column: str | None

    @property
    def coordinate_columns(self) -> list[int]:
        """Positions of ``a_x, a_y, b_x, ...`` among the columns, in keypoint order."""
        index = {column: c for c, column in enumerate(self.columns)}
        return [index[column] for column in coordinate_columns(self.keypoints)]

    @property
    def extra_columns(self) -> list[int]:
        """Positions of all other columns except ``Image``."""
        taken = set(self.coordinate_columns)
        if self.image_column == IMAGE_COLUMN:
            taken.add(self.columns.index(IMAGE_COLUMN))
        return [c for c in range(len(self.columns)) if c not in taken]


def read_header(
    path: Path,
    read: Callable[[int], bytes],
    *,
    require_keypoints: bool,
    require_images: bool,
    image_column: str | None = None,
) -> tuple[Header, Cursor]:
    """Read the first record and check its columns; the cursor stands behind it.

    Parameters
    ----------
    image_column
        The column that holds the images or the names of their files, if it has another name than usual; it
        gets the usual one.

    Raises
    ------
    DataError
        If the table is empty or UTF-16, or a column is missing, incomplete or there twice.
    """
    buffer, at_end = b"", False
    while True:
        chunk = read(max(_FIRST_BYTES, len(buffer)))
        at_end = not chunk
        buffer += chunk
        begin = _first_byte(path, buffer)
        if begin == len(buffer) and at_end:
            raise DataError(f"{path} is empty; expected a header with columns such as nose_x,nose_y,Image")
        if begin > MAX_BLANK_BYTES:
            raise too_many_blank_lines(place(path), MAX_BLANK_BYTES)
        candidates = {d: _first_record(buffer, begin, d, at_end=at_end) for d in DELIMITERS}
        if at_end or all(candidates.values()):
            break
        if len(buffer) > MAX_RECORD_BYTES:
            bound = MAX_RECORD_BYTES >> 20
            raise DataError(
                f"{place(path, line=1)}: the header does not end within {bound} MB; is this a table?"
            )
    most = max((len(fields) for fields, _ in filter(None, candidates.values())), default=0)
    if most > MAX_COLUMNS:
        raise DataError(
            f"{place(path, line=1)}: the header has {most:,} columns, and a table may have {MAX_COLUMNS:,}; "
            "leave out those that are neither labels nor images"
        )
    # The first of equals wins: comma before semicolon before tab.
    delimiter = max(DELIMITERS, key=lambda d: _likeness(candidates[d]))
    record = candidates[delimiter]
    # A quote that is never closed hides the columns from the delimiter that is the right one.
    if record is None or (None in candidates.values() and not any(_likeness(record)[:2])):
        raise DataError(
            f"{place(path, line=1)}: a quote in the header is never closed; close it, or take it away"
        )
    fields, end = record
    columns, first = tuple(map(_name, fields)), _first_values(buffer, end, delimiter)
    _refuse_duplicates(place(path), columns)
    if image_column is not None:
        columns = _with_usual_name(path, columns, first, image_column)
    header = _checked(path, delimiter, columns, first, require_keypoints, require_images)
    return header, Cursor(buffer[end:], offset=end, line=1 + len(line_ends(buffer[:end])))


def _first_byte(path: Path, buffer: bytes) -> int:
    """Where the header begins: behind a byte order mark and blank lines."""
    if buffer.startswith(_UTF16):
        raise DataError(f"{path} is UTF-16 text; save it as UTF-8 (in Excel: CSV UTF-8)")
    match = _BLANK_LINES.match(buffer, len(BOM) if buffer.startswith(BOM) else 0)
    assert match is not None  # the pattern matches nothing as well
    return match.end() if buffer[match.end() :].strip(b" \t") else len(buffer)


def _first_record(
    buffer: bytes, begin: int, delimiter: str, *, at_end: bool
) -> tuple[list[bytes], int] | None:
    """The fields of the record at `begin` and where the next one begins; None if the buffer ends before."""
    line = _LINE.match(buffer, begin)
    assert line is not None  # the pattern matches an empty line as well
    if b'"' in line[0]:
        cut = _fields_with_quotes(buffer, begin, delimiter)
        if cut is None:
            return None
        fields, end = cut
    else:
        fields, end = line[0].split(delimiter.encode()), line.end()
    # Two more bytes tell a CR from the begin of a CR CR LF.
    if end + 2 >= len(buffer) and not at_end:
        return None
    line_end = _LINE_END.match(buffer, end)
    assert line_end is not None  # a field ends at a delimiter, a line end or the end
    return fields, line_end.end()


def _fields_with_quotes(buffer: bytes, begin: int, delimiter: str) -> tuple[list[bytes], int] | None:
    pattern, fields = field_pattern(delimiter), []
    while match := pattern.match(buffer, begin):
        fields.append(match[0])
        if buffer[match.end() : match.end() + 1] != delimiter.encode():
            return fields, match.end()
        begin = match.end() + 1
    return None


def _name(field: bytes) -> str:
    text = field.strip()
    if text[:1] == b'"' and text[-1:] == b'"' and len(text) > 1:
        text = text[1:-1].replace(b'""', b'"').strip()
    return text.decode("utf-8", "surrogateescape")


def _likeness(record: tuple[list[bytes], int] | None) -> tuple[int, bool, int]:
    """How much a header cut by some delimiter looks like one: coordinate names first."""
    if record is None:
        return -1, False, 0
    names = [_name(field) for field in record[0]]
    coordinates = sum(name[-2:] in ("_x", "_y") for name in names)
    return coordinates, IMAGE_COLUMN in names or IMAGE_PATH_COLUMN in names, len(names)


def _first_values(buffer: bytes, begin: int, delimiter: str) -> list[bytes]:
    """The first row's fields as far as they stand in the buffer, the last of them perhaps not whole."""
    start = _BLANK_LINES.match(buffer, begin)
    assert start is not None  # the pattern matches nothing as well
    record = _first_record(buffer, start.end(), delimiter, at_end=True)
    return record[0] if record is not None else []


def named_image_column(path: Path, columns: Sequence[str], asked: str | None) -> str | None:
    """The column of images or names of their files: the one asked for, else of a usual name, else None.

    Raises
    ------
    DataError
        If one is asked for that is not there, and none has a usual name.
    """
    usual = next((name for name in (IMAGE_COLUMN, IMAGE_PATH_COLUMN) if name in columns), None)
    if asked is None or asked in columns:
        return asked or usual
    if usual is None:
        raise DataError(
            f"{path} has no column {shown(asked)} for --image-column ({_found(columns)})"
            f"{did_you_mean(asked, columns)}"
        )
    # A table for a run that was begun with another.
    _log.info("%s has no column %s: %s holds the images", path, shown(asked), usual)
    return usual


def is_grey_text(value: bytes) -> bool:
    """Whether a value looks like grey values as text, not like a file's name."""
    return _GREY_VALUES.match(value) is not None


def _with_usual_name(
    path: Path, columns: tuple[str, ...], first: Sequence[bytes], image_column: str
) -> tuple[str, ...]:
    """The columns, the one that holds images or names of files called as usual."""
    named = named_image_column(path, columns, image_column)
    assert named is not None  # else it would have been refused
    at = columns.index(named)
    usual = IMAGE_COLUMN if at < len(first) and is_grey_text(first[at]) else IMAGE_PATH_COLUMN
    if named in (IMAGE_COLUMN, IMAGE_PATH_COLUMN):
        return columns
    if usual in columns:
        raise DataError(
            f"{path} has a column {usual!r} beside {shown(named)}, which --image-column names; rename or "
            "remove one of them"
        )
    return (*columns[:at], usual, *columns[at + 1 :])


def image_question(columns: Sequence[str], first: Sequence[str]) -> str | None:
    """Whether a column of a likely name holds the images, if the first row names an image file in it."""
    for name, value in zip(columns, first, strict=False):
        suffix = PurePath(value.strip().strip('"')).suffix.lower()
        if name.lower() in _LIKELY_NAMES and suffix in IMAGE_SUFFIXES:
            return f"is {shown(name)} the image? then pass --image-column {name}"
    return None


def _checked(
    path: Path,
    delimiter: str,
    columns: tuple[str, ...],
    first: Sequence[bytes],
    require_keypoints: bool,
    require_images: bool,
) -> Header:
    where = place(path)
    try:
        keypoints = keypoints_in_header(columns if require_keypoints else _with_partner(columns))
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    if require_keypoints and not keypoints:
        refuse_tidy(path, columns, delimiter)
        raise DataError(
            f"{where}: no keypoint columns ({_found(columns)}), expected pairs named like nose_x and nose_y; "
            "name the coordinate columns so, in a header on the first line"
        )
    image_column = named_image_column(path, columns, None)
    if require_images and image_column is None:
        values = [value.decode("utf-8", "replace") for value in first]
        raise NoImagesError(without_images(path, columns, values))
    return Header(delimiter, columns, keypoints, image_column)


def without_images(path: Path, columns: Sequence[str], first: Sequence[str] = ()) -> str:
    """What a table without images lacks, where they are needed, and what to do.

    Parameters
    ----------
    first
        The first row's values, if they are known.
    """
    alike = [name for name in columns if name.lower() in _LIKELY_NAMES]
    hint = image_question(columns, first) or (
        f"if column {shown(alike[0])} holds them, pass --image-column {alike[0]}"
        if alike
        else "add one of the two"
    )
    return (
        f"{place(path)}: no column {IMAGE_COLUMN!r} (grey values) or {IMAGE_PATH_COLUMN!r} (file names) "
        f"({_found(columns)}); {hint}"
    )


def _found(columns: Sequence[str]) -> str:
    return f"found {len(columns)} column{'s' * (len(columns) != 1)}: {listed(columns)}"


def _refuse_duplicates(where: str, columns: tuple[str, ...]) -> None:
    first: dict[str, int] = {}
    for position, name in enumerate(columns, 1):
        if name in first:
            what = f"column {shown(name)} is there twice" if name else "two columns have no name"
            raise DataError(
                f"{where}: {what} (fields {first[name]} and {position} of the header); "
                "rename or remove one of them"
            )
        first[name] = position


def _with_partner(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Without coordinates whose partner is missing: where no keypoints are needed, those are extra."""
    present = set(columns)
    partner = {"_x": "_y", "_y": "_x"}
    return tuple(c for c in columns if c[-2:] not in partner or c[:-2] + partner[c[-2:]] in present)
