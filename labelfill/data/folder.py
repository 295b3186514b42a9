"""A folder of image files as a table without keypoints."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np

from labelfill.data.table import IMAGE_PATH_COLUMN, IMAGE_SUFFIXES, KeypointTable
from labelfill.errors import DataError, StorageError

_log = logging.getLogger("labelfill")


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
        columns=(IMAGE_PATH_COLUMN,),
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
