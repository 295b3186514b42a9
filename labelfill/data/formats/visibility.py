"""What a table says of points besides their place: whether they can be seen, and where to look for them.

``<keypoint>_visibility`` is 0 (or blank) for not labelled, 1 for hidden, 2 for visible, as in COCO;
``image_box`` is ``left top width height`` in px, counted from the image's top left corner, also as in COCO.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from labelfill.data.table import IMAGE_PATH_COLUMN, KeypointTable
from labelfill.errors import DataError, place, shown

NOT_LABELLED, HIDDEN, VISIBLE = 0, 1, 2
BOX_COLUMN = "image_box"

# A box is drawn tight around an object, whose surroundings tell where its outermost points lie.
_MARGIN = 0.1


def visibility_columns(keypoints: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that may declare whether keypoints can be seen."""
    return tuple(f"{keypoint}_visibility" for keypoint in keypoints)


def visibilities(table: KeypointTable) -> NDArray[np.int8]:
    """(n, K): as the table declares it; where it does not, labelled points are visible.

    Values other than 0, 1 and 2 declare nothing. A point that has a place though it is declared not labelled
    was filled: it counts as hidden, since nobody saw it.
    """
    found = np.where(table.labelled, VISIBLE, NOT_LABELLED).astype(np.int8)
    for k, column in enumerate(visibility_columns(table.keypoints)):
        for row, text in enumerate(table.extra.get(column, [])):
            word = text.strip().removesuffix(".0")
            if word == "1" or (word == "0" and found[row, k] == VISIBLE):
                found[row, k] = HIDDEN
    return found


def declared_occluded(table: KeypointTable) -> NDArray[np.bool_] | None:
    """(n, K): points declared hidden of which no place is stated; None if the table declares nothing."""
    if table.extra.keys().isdisjoint(visibility_columns(table.keypoints)):
        return None
    hidden: NDArray[np.bool_] = (visibilities(table) == HIDDEN) & ~table.observed.any(axis=2)
    return hidden


def looked_at(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Edges (left, top, right, bottom), px, of what is looked at for a box of left, top, width and height."""
    left, top, width, height = box
    aside, above = _MARGIN * width, _MARGIN * height
    return left - 0.5 - aside, top - 0.5 - above, left + width - 0.5 + aside, top + height - 0.5 + above


def box_of(edges: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """The box (left, top, width, height) of edges that `looked_at` gave."""
    left, top, right, bottom = edges.tolist()
    width, height = ((b - a) / (1 + 2 * _MARGIN) for a, b in ((left, right), (top, bottom)))
    return left + 0.5 + _MARGIN * width, top + 0.5 + _MARGIN * height, width, height


def with_boxes(table: KeypointTable) -> KeypointTable:
    """A table whose column ``image_box``, if it has one beside ``image_path``, says where to look.

    Raises
    ------
    DataError
        If a box is not four numbers, or has no extent.
    """
    if BOX_COLUMN not in table.extra or table.image_column != IMAGE_PATH_COLUMN:
        return table
    boxes = np.full((table.rows, 4), np.nan)
    for row, text in enumerate(table.extra[BOX_COLUMN]):
        if not text.strip():
            continue
        try:
            left, top, width, height = (float(word) for word in text.split())
            usable = np.isfinite([left, top]).all() and 0 < width < np.inf and 0 < height < np.inf
        except ValueError:
            usable = False
        if not usable:
            where = place(table.path, row=row, line=int(table.lines[row]), column=BOX_COLUMN)
            raise DataError(
                f"{where}: found {shown(text)}, expected left, top, width and height in px, separated by "
                "spaces, or nothing for the whole image"
            )
        boxes[row] = looked_at((left, top, width, height))
    return replace(table, boxes=boxes)
