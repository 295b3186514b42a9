"""Tidy tables, a row for each point: how they are told, and the line of pandas that makes tables of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labelfill.errors import DataError

# In any case; the first that a table has is taken.
_KEYPOINT = (
    "keypoint",
    "bodypart",
    "body_part",
    "landmark",
    "point",
    "part",
    "joint",
    "node",
    "label",
    "name",
)
_IMAGE = (
    "image_path", "image", "image_name", "filename", "file_name", "file", "path", "img", "frame", "image_id",
)  # fmt: skip


def refuse_tidy(path: Path, columns: Sequence[str], delimiter: str) -> None:
    """Refuse a table whose rows are points: columns x and y, one of keypoints' names and one of images.

    Raises
    ------
    DataError
        With the line of Python that makes a table of it.
    """
    by_name = {column.strip().lower(): column for column in reversed(columns)}
    x, y = by_name.get("x"), by_name.get("y")
    keypoint, image = (
        next((by_name[n] for n in names if n in by_name), None) for names in (_KEYPOINT, _IMAGE)
    )
    if x is None or y is None or keypoint is None or image is None:
        return
    raise DataError(
        f"{path} has a row for each point, expected one for each image with columns like nose_x and nose_y; "
        f"this line of Python makes one of it: {pivoting(path, (image, keypoint, x, y), delimiter)}"
    )


def pivoting(path: Path, columns: tuple[str, str, str, str], delimiter: str) -> str:
    """The line of pandas for the columns of image, keypoint, x and y; texts stay as they are."""
    image, keypoint, x, y = map(ascii, columns)
    out = path.with_name(f"{path.name.split('.')[0]}_wide.csv")
    separator = "" if delimiter == "," else f", sep={delimiter!r}"
    return (
        f"import pandas as pd; t = pd.read_csv({str(path)!a}, dtype=str{separator}).rename(columns=str.strip)"
        f".pivot(index={image}, columns={keypoint}, values=[{x}, {y}]); "
        f"t.columns = [f'{{name}}_{{axis.lower()}}' for axis, name in t.columns]; "
        f"t.rename_axis('image_path').to_csv({str(out)!a}, mode='x')"
    )
