"""Keypoints in other tools' files: read as tables, filled in place, and converted.

Every format has a module that says what a row is, how points are written down, and what happens to the
rest. One promise holds in all of them: what was observed is never altered, and what labelfill does not know
stays.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from labelfill.data.formats.blanks import with_declared_blanks
from labelfill.data.formats.coco import COCO as COCO
from labelfill.data.formats.coco import filled_coco, read_coco
from labelfill.data.formats.deeplabcut import DEEPLABCUT as DEEPLABCUT
from labelfill.data.formats.deeplabcut import LIKELIHOODS_OF_DEEPLABCUT, is_deeplabcut, read_deeplabcut
from labelfill.data.formats.foreign import refuse_foreign
from labelfill.data.formats.label_studio import LABEL_STUDIO as LABEL_STUDIO
from labelfill.data.formats.label_studio import filled_label_studio, read_label_studio
from labelfill.data.formats.likelihoods import check_new_columns, stated_likelihoods
from labelfill.data.formats.parquet import MAGIC, filled_parquet, read_parquet
from labelfill.data.formats.parquet import PARQUET as PARQUET
from labelfill.data.formats.visibility import declared_occluded as declared_occluded
from labelfill.data.formats.visibility import with_boxes
from labelfill.data.reading_options import USUAL, ReadingOptions
from labelfill.data.table import (
    BOM,
    PLAIN,
    FoundPoints,
    ImageSink,
    KeypointTable,
    check_suffix,
    compressed_writer,
    open_decompressed,
    read_header,
    read_table,
    send,
    write_filled,
)
from labelfill.data.units import SHARE_DECIMALS, from_px
from labelfill.errors import UsageError

TABLE = "table"
FORMATS = {
    TABLE: "a table",
    COCO: "COCO keypoints",
    DEEPLABCUT: "DeepLabCut's collected data",
    PARQUET: "Parquet",
    LABEL_STUDIO: "Label Studio's tasks",
}
_SUFFIXES = {COCO: ".json", DEEPLABCUT: ".csv", PARQUET: ".parquet", LABEL_STUDIO: ".json"}
_FILLED = {COCO: filled_coco, LABEL_STUDIO: filled_label_studio}  # both state scores
_HEADER_KINDS = {TABLE: PLAIN, DEEPLABCUT: LIKELIHOODS_OF_DEEPLABCUT}
_IN_PX = (COCO, LABEL_STUDIO)
_TEXT_SUFFIXES = frozenset((".csv", ".tsv", ".txt", ".gz", ".zip"))
_FIRST_BYTES = 4096


def detect(path: Path) -> str:
    """Which of `FORMATS` a file is, by how it begins.

    Raises
    ------
    DataError
        If there is no such file.
    StorageError
        If it cannot be read.
    """
    with open_decompressed(path) as file:
        begin = file.read(_FIRST_BYTES)
    if begin.startswith(MAGIC):
        return PARQUET
    if is_deeplabcut(begin):
        return DEEPLABCUT
    first = begin.removeprefix(BOM).lstrip()[:1]
    if first in (b"{", b"[") and path.suffix.lower() not in _TEXT_SUFFIXES:
        return COCO if first == b"{" else LABEL_STUDIO
    refuse_foreign(path, begin.removeprefix(BOM))
    return TABLE


def read_keypoints(
    path: Path,
    *,
    beside: Path | None = None,
    filled: bool = False,
    image_sink: ImageSink | None = None,
    require_keypoints: bool = True,
    require_images: bool = True,
    reading: ReadingOptions = USUAL,
    show_progress: bool = False,
) -> KeypointTable:
    """Read a file of any known format as a table; see `labelfill.data.table.read_table`.

    Labels are in the unit that the file states them in; points that are declared blank are.

    Parameters
    ----------
    beside
        Another file whose folder images are named from.
    filled
        Whether fills that stand beside the labels, as Label Studio's predictions do, count as well, and
        points of any likelihood.

    Raises
    ------
    DataError
        If it is not as its format wants it; the message names the place.
    StorageError
        If it cannot be read.
    """
    path = Path(path)
    kind = detect(path)
    if kind == COCO:
        table = read_coco(path)
    elif kind == LABEL_STUDIO:
        table = read_label_studio(path, beside=beside, filled=filled, missing_values=reading.missing_values)
    elif kind == DEEPLABCUT:
        table = read_deeplabcut(
            path,
            beside=beside,
            predictions=filled or reading.min_likelihood is not None,
            show_progress=show_progress,
        )
    else:
        read = read_parquet if kind == PARQUET else partial(read_table, show_progress=show_progress)
        table = read(
            path, image_sink=image_sink, require_keypoints=require_keypoints, require_images=require_images,
            image_column=reading.image_column,
        )  # fmt: skip
    if reading.coordinates != "px" and kind in _IN_PX:
        raise UsageError(f"--coordinates {reading.coordinates}: {path} is {FORMATS[kind]}, which states px")
    if filled:  # how likely a fill is right is no reason to take it for a blank
        reading = replace(reading, min_likelihood=None)
    return with_boxes(with_declared_blanks(table, reading))


def has_images(path: Path, image_column: str | None = None) -> bool:
    """Whether a file's rows have images, told by its columns; errors as of `read_keypoints`."""
    kind = detect(path)
    if kind == PARQUET:
        return read_parquet(path, require_images=False, image_column=image_column).image_column is not None
    if kind != TABLE:
        return True
    with open_decompressed(path) as file:
        header, _ = read_header(
            path, file.read, require_keypoints=True, require_images=False, image_column=image_column
        )
    return header.image_column is not None


def suffix_of(path: Path) -> str:
    """The suffix of a filled copy of a file."""
    return _SUFFIXES.get(detect(path), ".csv")


def check_out(table: KeypointTable, out: Path, *, likelihood: bool = False) -> None:
    """Refuse a name by which a filled copy of `table` would not be known for what it is.

    Parameters
    ----------
    likelihood
        Whether the copy is to state how sure it is of each fill, so that it has to have room for that.

    Raises
    ------
    UsageError
        Naming the suffix that fits.
    DataError
        If a column of likelihoods cannot be added.
    """
    if likelihood and table.format not in _FILLED:
        check_new_columns(table)
    if table.format == TABLE:
        check_suffix(out.name)
        return
    suffix = _SUFFIXES[table.format]
    if out.suffix.lower() != suffix:
        raise UsageError(
            f"{out}: {table.path} is {FORMATS[table.format]} and is filled as such; choose a name that ends "
            f"in {suffix} (`labelfill convert` makes another format of it)"
        )


def write_found(
    table: KeypointTable, found: FoundPoints, out: BinaryIO, name: str, *, likelihood: bool = False
) -> str:
    """Write a copy of a table's file with found points in its blanks, in its own format; its SHA-256.

    Parameters
    ----------
    name
        Of the file that is written: of a table, its suffix decides the compression.
    likelihood
        Whether columns ``<keypoint>_likelihood`` state the score of each fill; JSON formats always do.

    Raises
    ------
    DataError
        If the file is not the one that was read.
    StorageError
        If `out` cannot be written.
    """
    found = in_unit_of(table, found)
    if table.format in _FILLED:
        return send([_FILLED[table.format](table, found)], out)
    if table.format == PARQUET:
        return send([filled_parquet(table, found, likelihood=likelihood)], out)
    kind = _HEADER_KINDS[table.format]
    with compressed_writer(out, name) as plain:
        further = stated_likelihoods(table, found, kind) if likelihood else ()
        return write_filled(table, found.xy, plain, decimals=found.decimals, further=further)


def in_unit_of(table: KeypointTable, found: FoundPoints) -> FoundPoints:
    """Found points in the unit of a table's file."""
    if table.coordinates == "px":
        return found
    assert table.stated_sizes is not None  # of what the shares are
    xy = from_px(found.xy, table.coordinates, table.stated_sizes)
    return replace(found, xy=xy, decimals=SHARE_DECIMALS)
