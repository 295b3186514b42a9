"""Labels and images that are arrays already, as if they had been read from a table."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Images
from labelfill.data.table import IMAGE_PATH_COLUMN, KeypointTable
from labelfill.errors import DataError, StorageError
from labelfill.schema import ImageSize, KeypointSchema

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)
_log = logging.getLogger("labelfill")


def array_table(
    labels: NDArray[np.float64], keypoints: Sequence[str], size: ImageSize, images: Images | None, name: str
) -> tuple[KeypointTable, KeypointSchema]:
    """A table of labels (n, K, 2) in px, NaN where blank, of images (n, H, W) of a size, and its schema.

    Parameters
    ----------
    name
        What error messages call it; no file of that name is read or written.
    """
    schema = KeypointSchema(tuple(keypoints), size)
    shape = None if images is None else images.shape
    content = hashlib.sha256(repr((schema.columns, labels.shape, shape)).encode())
    content.update(np.ascontiguousarray(labels).tobytes())
    if images is not None:
        content.update(np.ascontiguousarray(images).data)
    rows = len(labels)
    table = KeypointTable(
        path=Path(name),
        content_sha256=content.hexdigest(),
        content_length=0,
        columns=schema.columns,
        delimiter=",",
        keypoints=schema.keypoints,
        labels=labels,
        field_spans=np.zeros((rows, schema.count, 2, 2), np.int64),
        lines=np.arange(1, rows + 1),
        extra={},
        image_column=None,
    )
    return table, schema


def checked_images(images: Any, name: str) -> NDArray[np.uint8]:
    """An array of grey images (n, H, W) of 0..255.

    Raises
    ------
    DataError
        If they have another shape, or values that are not whole numbers in 0..255.
    """
    array = np.asarray(images)
    if array.ndim != 3 or not array.size:
        shape = "x".join(map(str, array.shape)) or "a single value"
        raise DataError(f"{name} is {shape}; expected grey images as an array (n, height, width)")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name} holds {array.dtype}; expected grey values 0..255")
    if not ((array >= 0) & (array <= 255) & (array == np.floor(array))).all():
        raise DataError(
            f"{name} holds values from {array.min():g} to {array.max():g}; expected whole grey values 0..255 "
            "(for 0..1 multiply by 255 and round)"
        )
    return array.astype(np.uint8)


def folder_table(folder: Path) -> KeypointTable:
    """The image files of a folder and of the folders in it, in the order in which people count: 2 before 10.

    Hidden files are passed over, others that are no images by their suffix are counted in the log.

    Raises
    ------
    DataError
        If it holds no image.
    StorageError
        If it cannot be listed.
    """
    try:
        files = [
            file.relative_to(folder)
            for file in folder.rglob("*")
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        ]
    except OSError as error:
        raise StorageError(f"{folder} cannot be listed: {error.strerror}") from error
    names = sorted((f.as_posix() for f in files if f.suffix.lower() in IMAGE_SUFFIXES), key=_counting)
    if not names:
        raise DataError(
            f"{folder} holds no image; expected files named {', '.join(sorted(IMAGE_SUFFIXES))}, "
            "or give a table of images"
        )
    if len(names) < len(files):
        _log.info("%s: %d files that are no images were passed over", folder, len(files) - len(names))
    rows = len(names)
    return KeypointTable(
        path=folder,
        content_sha256="",
        content_length=0,
        columns=(IMAGE_PATH_COLUMN,),
        delimiter=",",
        keypoints=(),
        labels=np.full((rows, 0, 2), np.nan),
        field_spans=np.zeros((rows, 0, 2, 2), np.int64),
        lines=np.arange(1, rows + 1),
        extra={IMAGE_PATH_COLUMN: names},
        image_column=IMAGE_PATH_COLUMN,
    )


def _counting(name: str) -> list[tuple[int, str]]:
    """Runs of digits by their value, all else by its letters."""
    parts = enumerate(re.split(r"([0-9]+)", name))  # text and digits by turns
    return [(int(part), "") if number % 2 else (-1, part) for number, part in parts]
