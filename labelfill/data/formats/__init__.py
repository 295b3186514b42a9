"""Keypoints in other tools' files: read as tables, filled in place, and converted.

Every format has a module that says what a row is, how points are written down, and what happens to the
rest, and a line in `KINDS`. One promise holds in all of them: what was observed is never altered, and what
labelfill does not know stays.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from labelfill.data.formats.blanks import with_declared_blanks
from labelfill.data.formats.celeba import CELEBA as CELEBA
from labelfill.data.formats.celeba import CELEBA_KIND
from labelfill.data.formats.coco import COCO as COCO
from labelfill.data.formats.coco import filled_coco, read_coco
from labelfill.data.formats.deeplabcut import DEEPLABCUT as DEEPLABCUT
from labelfill.data.formats.deeplabcut import LIKELIHOODS_OF_DEEPLABCUT, is_deeplabcut, read_deeplabcut
from labelfill.data.formats.foreign import refuse_foreign
from labelfill.data.formats.jabs import JABS as JABS
from labelfill.data.formats.jabs import JABS_KIND
from labelfill.data.formats.kinds import Asked, Kind
from labelfill.data.formats.label_studio import LABEL_STUDIO as LABEL_STUDIO
from labelfill.data.formats.label_studio import filled_label_studio, read_label_studio
from labelfill.data.formats.likelihoods import check_new_columns, stated_likelihoods
from labelfill.data.formats.nwb import NWB as NWB
from labelfill.data.formats.nwb import NWB_KIND
from labelfill.data.formats.parquet import MAGIC, filled_parquet, read_parquet
from labelfill.data.formats.parquet import PARQUET as PARQUET
from labelfill.data.formats.pts import PTS as PTS
from labelfill.data.formats.pts import PTS_KIND
from labelfill.data.formats.sleap import SLEAP as SLEAP
from labelfill.data.formats.sleap import SLEAP_KIND
from labelfill.data.formats.visibility import declared_occluded as declared_occluded
from labelfill.data.formats.visibility import with_boxes
from labelfill.data.formats.yolo import YOLO as YOLO
from labelfill.data.formats.yolo import YOLO_KIND
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
_HEADER_KINDS = {TABLE: PLAIN, DEEPLABCUT: LIKELIHOODS_OF_DEEPLABCUT}
_TEXT_SUFFIXES = frozenset((".csv", ".tsv", ".txt", ".gz", ".zip"))
_FIRST_BYTES = 4096


def _read_table(path: Path, asked: Asked) -> KeypointTable:
    return read_table(
        path, image_sink=asked.image_sink, require_keypoints=asked.require_keypoints,
        require_images=asked.require_images, image_column=asked.reading.image_column,
        show_progress=asked.show_progress,
    )  # fmt: skip


def _read_parquet(path: Path, asked: Asked) -> KeypointTable:
    return read_parquet(
        path, image_sink=asked.image_sink, require_keypoints=asked.require_keypoints,
        require_images=asked.require_images, image_column=asked.reading.image_column,
    )  # fmt: skip


def _read_deeplabcut(path: Path, asked: Asked) -> KeypointTable:
    predictions = asked.filled or asked.reading.min_likelihood is not None
    return read_deeplabcut(
        path, beside=asked.beside, predictions=predictions, show_progress=asked.show_progress
    )


def _read_label_studio(path: Path, asked: Asked) -> KeypointTable:
    return read_label_studio(
        path, beside=asked.beside, filled=asked.filled, missing_values=asked.reading.missing_values
    )


def _is_json(path: Path, begin: bytes, bracket: bytes) -> bool:
    return begin.lstrip()[:1] == bracket and path.suffix.lower() not in _TEXT_SUFFIXES


# In the order in which a file is asked whether it is one; what is none of the others is a table.
KINDS = {
    PARQUET: Kind("Parquet", ".parquet", _read_parquet, lambda _, begin: begin.startswith(MAGIC)),
    DEEPLABCUT: Kind(
        "DeepLabCut's collected data", ".csv", _read_deeplabcut, lambda _, begin: is_deeplabcut(begin)
    ),
    COCO: Kind(
        "COCO keypoints", ".json", lambda path, _: read_coco(path),
        lambda path, begin: _is_json(path, begin, b"{"), lambda table, found: [filled_coco(table, found)],
        states_scores=True, in_px=True, lines_stay=False,
    ),
    LABEL_STUDIO: Kind(
        "Label Studio's tasks", ".json", _read_label_studio, lambda path, begin: _is_json(path, begin, b"["),
        lambda table, found: [filled_label_studio(table, found)],
        states_scores=True, in_px=True, lines_stay=False,
    ),
    SLEAP: SLEAP_KIND,
    NWB: NWB_KIND,
    JABS: JABS_KIND,
    YOLO: YOLO_KIND,
    CELEBA: CELEBA_KIND,
    PTS: PTS_KIND,
    TABLE: Kind("a table", None, _read_table, lambda path, begin: True),
}  # fmt: skip
FORMATS = {name: kind.title for name, kind in KINDS.items()}
# Folders, and what `impute` writes of them, are no file that has a begin.
_OF_SEVERAL_FILES = (PTS, YOLO)


def detect(path: Path) -> str:
    """Which of `FORMATS` a file is, by how it begins.

    Raises
    ------
    DataError
        If there is no such file.
    StorageError
        If it cannot be read.
    """
    found = next((name for name in _OF_SEVERAL_FILES if KINDS[name].begins(path, b"")), None)
    if found is not None:
        return found
    with open_decompressed(path) as file:
        begin = file.read(_FIRST_BYTES).removeprefix(BOM)
    found = next(name for name, kind in KINDS.items() if kind.begins(path, begin))
    if found == TABLE:
        refuse_foreign(path, begin)
    return found


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
    kind = KINDS[detect(path)]
    asked = Asked(beside, filled, image_sink, require_keypoints, require_images, reading, show_progress)
    table = kind.read(path, asked)
    if reading.coordinates != "px" and kind.in_px:
        raise UsageError(f"--coordinates {reading.coordinates}: {path} is {kind.title}, which states px")
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
    return KINDS[detect(path)].suffix or ".csv"


def is_keypoint_folder(path: Path) -> bool:
    """Whether a folder holds files of keypoints that are read as one table."""
    return os.path.isdir(path) and any(KINDS[name].begins(path, b"") for name in _OF_SEVERAL_FILES)


def files_of(path: Path) -> Sequence[Path]:
    """Every file that is read of a table, besides images; a folder of images itself."""
    if os.path.isdir(path) and not is_keypoint_folder(path):
        return (path,)
    return KINDS[detect(path)].files(path)


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
    kind = KINDS[table.format]
    if likelihood and kind.lacks:
        raise UsageError(
            f"--likelihood: {table.path} is {kind.title}, which {kind.lacks}; the sidecar states how sure "
            "each fill is"
        )
    if likelihood and not kind.states_scores:
        check_new_columns(table)
    if kind.suffix is None:
        check_suffix(out.name)
        return
    if out.suffix.lower() != kind.suffix:
        raise UsageError(
            f"{out}: {table.path} is {kind.title} and is filled as such; choose a name that ends "
            f"in {kind.suffix} (`labelfill convert` makes another format of it)"
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
    fill = KINDS[table.format].fill
    if fill is not None:
        return send(fill(table, found), out)
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
