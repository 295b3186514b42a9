"""Several animals or people in a frame: a row for each, with the part of the image where it is looked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.data.formats.visibility import looked_at
from labelfill.data.table import IMAGE_PATH_COLUMN, KeypointTable
from labelfill.errors import DataError

# Of the instances of a file, as large a share is no larger than what is looked at of one.
_TYPICAL = 0.9


@dataclass(frozen=True)
class PoseRow:
    """One instance of a frame.

    Attributes
    ----------
    image
        The name of its image.
    points
        (K, 2) in px; NaN where a node is missing or invisible.
    fills
        (K, 2) in px: what stands where `points` are blank, if fills are to count; None if they are not. What
        is looked at of an image is told by labels alone, so that it is the same before filling and after.
    box
        (left, top, width, height) in px, if the file states one.
    size
        Height and width of its image in px, if the file states them.
    line
        Where it begins in its file, 1-based; None: its number.
    extra
        Further columns.
    """

    image: str
    points: Array
    fills: Array | None = None
    box: tuple[float, float, float, float] | None = None
    size: tuple[int, int] | None = None
    line: int | None = None
    extra: dict[str, str] = field(default_factory=dict)


def table_of_rows(
    path: Path,
    kind: str,
    sha256: str,
    keypoints: Sequence[str],
    rows: Sequence[PoseRow],
    *,
    length: int = 0,
    whole_images: bool = False,
) -> KeypointTable:
    """A table of the instances of a file of a format.

    Where no row states a box and a frame shows several instances, each is looked for around its own points,
    unless whole images are asked for.

    Raises
    ------
    DataError
        If there are no rows, or two keypoints have one name.
    """
    if not rows:
        raise DataError(f"{path} labels no instance; expected at least one that a person labelled")
    if len(set(keypoints)) < len(keypoints) or not all(keypoints):
        raise DataError(f"{path}: expected different names of keypoints, found {', '.join(keypoints)}")
    labels = np.array([row.points for row in rows], np.float64).reshape(len(rows), -1, 2)
    extra = {IMAGE_PATH_COLUMN: [row.image for row in rows]}
    for name in dict.fromkeys(name for row in rows for name in row.extra):
        extra[name] = [row.extra.get(name, "") for row in rows]
    if any(row.box is not None for row in rows):
        boxes: Array | None = np.full((len(rows), 4), np.nan)
        for number, row in enumerate(rows):
            if row.box is not None:
                boxes[number] = looked_at(row.box)  # type: ignore[index]  # it is there
    else:
        boxes = None if whole_images else boxes_around(labels, extra[IMAGE_PATH_COLUMN])
    fills = np.array([row.points if row.fills is None else row.fills for row in rows], np.float64)
    labels = np.where(np.isnan(labels), fills.reshape(labels.shape), labels)
    sizes = np.array([row.size or (np.nan, np.nan) for row in rows], np.float64)
    return KeypointTable(
        path=path,
        content_sha256=sha256,
        content_length=length,
        keypoints=tuple(keypoints),
        labels=labels,
        field_spans=np.zeros((*labels.shape, 2), np.int64),
        lines=np.array([row.line or number for number, row in enumerate(rows, 1)], np.int64),
        extra=extra,
        image_column=IMAGE_PATH_COLUMN,
        boxes=boxes,
        stated_sizes=None if np.isnan(sizes).all() else sizes,
        format=kind,
    )


def boxes_around(labels: Array, images: Sequence[str]) -> Array | None:
    """(n, 4), px: edges of what is looked at of each row's image, NaN for all of it; None for whole images.

    A square around the labelled points (n, K, 2), as large as instances usually are, and the larger the more
    points are missing: the less is labelled, the less is known of where the rest lies. A row without labels
    is looked for in all of its image, and so are all rows if no image shows two.
    """
    if max(Counter(images).values()) < 2 or not np.isfinite(labels).any():
        return None
    labelled: Mask = np.all(np.isfinite(labels), axis=2)
    some: Mask = np.any(labelled, axis=1)
    low, high = np.full((len(labels), 2), np.nan), np.full((len(labels), 2), np.nan)
    low[some], high[some] = np.nanmin(labels[some], axis=1), np.nanmax(labels[some], axis=1)
    extents = (high - low).max(axis=1)
    usual = float(np.nanquantile(extents, _TYPICAL))
    missing = 1 - labelled.mean(axis=1)
    sides = np.maximum(np.maximum(extents, usual) * (1 + missing), 1.0)
    boxes = np.full((len(labels), 4), np.nan)
    for row in np.flatnonzero(some).tolist():
        left, top = ((low[row] + high[row] - sides[row]) / 2).tolist()
        boxes[row] = looked_at((left, top, float(sides[row]), float(sides[row])))
    return boxes
