"""A file of one format made into a file of another."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from labelfill.arrays import Array, Images
from labelfill.data.dataset_reading import image_files
from labelfill.data.formats import (
    COCO,
    DEEPLABCUT,
    FORMATS,
    LABEL_STUDIO,
    PARQUET,
    SLEAP,
    TABLE,
    YOLO,
    read_keypoints,
)
from labelfill.data.formats.coco import table_as_coco
from labelfill.data.formats.deeplabcut import table_as_deeplabcut
from labelfill.data.formats.label_studio import table_as_label_studio
from labelfill.data.formats.parquet import require_pyarrow, table_as_parquet
from labelfill.data.formats.sleap import table_as_sleap
from labelfill.data.formats.tables import further_columns, table_as_csv
from labelfill.data.formats.yolo import table_as_yolo
from labelfill.data.images.decoding import UnusableError
from labelfill.data.images.files import ImageFiles, folder_of
from labelfill.data.images.pixel_text import PixelText
from labelfill.data.images.storage import MemoryStore
from labelfill.data.label_checks import in_px, refuse_placeholders
from labelfill.data.reading_options import ReadingOptions
from labelfill.data.table import (
    IMAGE_COLUMN,
    IMAGE_PATH_COLUMN,
    ImageTexts,
    KeypointTable,
    compressed_writer,
    send,
)
from labelfill.errors import DataError, UsageError, real_path
from labelfill.runs import atomic_write, make_folder
from labelfill.settings import TableSettings

_log = logging.getLogger("labelfill")

# Formats that know an image by its file's name, and some its size.
_WITH_IMAGES: dict[str, Callable[[KeypointTable, Sequence[str], Array, Path], Iterable[bytes]]] = {
    COCO: table_as_coco,
    DEEPLABCUT: table_as_deeplabcut,
    LABEL_STUDIO: table_as_label_studio,
    SLEAP: table_as_sleap,
    YOLO: table_as_yolo,
}
WRITTEN = (TABLE, PARQUET, *_WITH_IMAGES)
"""The formats that `convert` writes."""
_BY_SUFFIX = {".csv": TABLE, ".gz": TABLE, ".zip": TABLE, ".json": COCO, ".parquet": PARQUET, ".slp": SLEAP}
# They have no word for half a point.
_WHOLE_POINTS = (COCO, LABEL_STUDIO, SLEAP, YOLO)


@dataclass(frozen=True)
class Converted:
    """What `convert` wrote."""

    out: str
    format: str
    rows: int
    keypoints: int
    observed: int
    images_written: int = 0


def format_of_name(out: Path) -> str:
    """The format that a file's name asks for.

    Raises
    ------
    UsageError
        If it tells none.
    """
    found = _BY_SUFFIX.get(out.suffix.lower())
    if found == TABLE and out.name.startswith("CollectedData"):
        found = DEEPLABCUT
    if found is None:
        raise UsageError(
            f"{out}: its name tells no format; end it in {', '.join(_BY_SUFFIX)}, or say --to "
            f"{'|'.join(WRITTEN)}"
        )
    return found


def convert(
    source: Path,
    out: Path,
    to: str | None = None,
    *,
    settings: TableSettings | None = None,
    force: bool = False,
    show_progress: bool = False,
) -> Converted:
    """Write the labels of `source` as `out`; observed values, visibilities and image names go with them.

    Parameters
    ----------
    to
        One of `WRITTEN`; None: by the name of `out`.
    settings
        The folder that images are named from, and the size of those that are grey values in the table; these
        become PNG files in a folder beside `out`.

    Raises
    ------
    UsageError
        If `out` exists, or is `source`.
    DataError
        If `source` is not as its format wants it, or an image is missing whose size has to be known.
    """
    to = to or format_of_name(out)
    if real_path(out) == real_path(source):
        raise UsageError(f"{out} is the file that is read; give another one, it is never changed")
    if out.exists() and not force:
        raise UsageError(f"{out} exists already: use --force to overwrite it, or write to another file")
    settings = settings or TableSettings()
    images_beside, reading = settings.images_beside, ReadingOptions.of(settings)
    pixels = PixelText(source, settings.image_size, MemoryStore())
    texts: list[str] = []

    def keep(block: ImageTexts) -> None:
        spans = zip(block.starts.tolist(), block.ends.tolist(), strict=True)
        texts.extend(block.buffer[start:end].decode("utf-8", "surrogateescape") for start, end in spans)

    table = read_keypoints(
        source, beside=images_beside, image_sink=pixels.add if to in _WITH_IMAGES else keep,
        require_images=to in _WITH_IMAGES, reading=reading, show_progress=show_progress,
    )  # fmt: skip
    refuse_placeholders(table)
    _refuse_losses(table, to)
    written, files, frames = 0, None, {}
    if table.image_column == IMAGE_PATH_COLUMN:
        files = image_files(
            table, beside=images_beside, allow_outside=settings.allow_outside, reading=reading
        )
        frames = _written_frames(files, out, needed=to in _WITH_IMAGES, force=force)
        written = len(frames)
    if to not in _WITH_IMAGES:
        if IMAGE_PATH_COLUMN in table.extra:
            names = _names_from(table, images_beside, out, frames)
            table = replace(table, extra={**table.extra, IMAGE_PATH_COLUMN: names})
        grey = texts if table.image_column == IMAGE_COLUMN else None
        if to == PARQUET:
            require_pyarrow(out)
            pieces: Iterable[bytes] = [table_as_parquet(table, further_columns(table), grey)]
        else:
            pieces = table_as_csv(table, grey)
    elif table.image_column == IMAGE_COLUMN:
        images = pixels.finish()
        table = in_px(table, images.shape[1:], reading)
        table = _with_image_files(table, images, out, force=force)
        written, sizes = len(images), np.tile(np.array(images.shape[1:], np.float64), (len(images), 1))
        pieces = _WITH_IMAGES[to](table, table.extra[IMAGE_PATH_COLUMN], sizes, out)
    else:
        assert files is not None  # as images are required
        names, sizes = (
            _names_from(table, images_beside, out, frames),
            files.sizes(show_progress=show_progress),
        )
        table = in_px(table, sizes, reading)
        pieces = _WITH_IMAGES[to](table, names, sizes, out)
    with ExitStack() as stack:
        file = stack.enter_context(atomic_write(out))
        packed = stack.enter_context(compressed_writer(file, out.name)) if to == TABLE else file
        send(pieces, packed)
    return Converted(str(out), to, table.rows, len(table.keypoints), int(table.observed.sum()), written)


def _refuse_losses(table: KeypointTable, to: str) -> None:
    """Refuse half a point where the format has no word for it."""
    half = table.observed.any(axis=2) & ~table.labelled
    if to in _WHOLE_POINTS and half.any():
        row, k = np.argwhere(half)[0]
        raise DataError(
            f"{table.path}: of {int(half.sum())} points only x or only y is known, first of "
            f"{table.keypoints[k]!r} in row {row} (line {table.lines[row]}); {FORMATS[to]} cannot say that: "
            "complete them (`labelfill impute` does), or remove the half"
        )


def _names_from(table: KeypointTable, beside: Path | None, out: Path, frames: Mapping[str, str]) -> list[str]:
    """Image names as seen from the folder of `out`; unchanged if that would lead out of it.

    Parameters
    ----------
    frames
        The files of frames that were written beside `out`.
    """
    names = table.extra.get(IMAGE_PATH_COLUMN, [])
    folder = folder_of(beside or table.path)
    if folder == real_path(out.parent):
        return [frames.get(name, name) for name in names]
    way = os.path.relpath(folder, real_path(out.parent))
    if way.startswith(".."):
        if not frames.keys() >= set(names):
            _log.warning(
                "%s names images as seen from %s: say --image-folder %s when you use it", out, folder, folder
            )
        return [frames.get(name, name) for name in names]
    return [frames.get(name, (Path(way) / name).as_posix()) for name in names]


def _written_frames(files: ImageFiles, out: Path, *, needed: bool, force: bool) -> dict[str, str]:
    """Frames that are no files of their own, written as ``<out>_images/<name>.png``: the file of each.

    Parameters
    ----------
    needed
        Whether it is an error if they are not to be had.
    """
    from skimage.io import imsave

    source, names = files.frames, list(dict.fromkeys(files.names))
    if source is None:
        return {}
    try:
        found = [name for name in names if source.file(name) is not None]
    except DataError as error:
        if needed:
            raise
        _log.warning("%s; the labels are written without images", error)
        return {}
    if not found:
        return {}
    folder, written = _new_folder(out, force=force), {}
    for name in found:
        written[name] = f"{folder.name}/{name.replace('#', '_')}.png"
        try:
            imsave(out.parent / written[name], np.squeeze(source.read(name)), check_contrast=False)
        except UnusableError as error:
            raise DataError(f"{files.table_path}: {name} {error}") from error
    return written


def _new_folder(out: Path, *, force: bool) -> Path:
    """The folder of the images of `out`, made."""
    folder = out.with_name(f"{out.stem}_images")
    if folder.exists() and not force:
        raise UsageError(f"{folder} exists already: use --force to write images there, or choose another OUT")
    make_folder(folder)
    return folder


def _with_image_files(table: KeypointTable, images: Images, out: Path, *, force: bool) -> KeypointTable:
    """The table with its grey values written as ``<out>_images/<row>.png``."""
    from skimage.io import imsave

    folder = _new_folder(out, force=force)
    digits = len(str(len(images)))
    names = [f"{folder.name}/{row:0{digits}d}.png" for row in range(len(images))]
    for name, image in zip(names, images, strict=True):
        imsave(out.parent / name, image, check_contrast=False)
    return replace(table, extra={IMAGE_PATH_COLUMN: names, **table.extra}, image_column=IMAGE_PATH_COLUMN)
