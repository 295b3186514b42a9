"""COCO keypoints written: a file with its blanks filled and all else as it was, or a table as a new file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelfill.arrays import Array
from labelfill.data.formats.coco import ANNOTATION_ID, IMAGE_ID, Document
from labelfill.data.formats.json_files import Entry, json_bytes
from labelfill.data.formats.points import FoundPoints, refuse_changed
from labelfill.data.formats.visibility import (
    BOX_COLUMN,
    HIDDEN,
    NOT_LABELLED,
    box_of,
    visibilities,
    visibility_columns,
)
from labelfill.data.table import IMAGE_PATH_COLUMN, KeypointTable

SCORES = "keypoint_scores"


def filled_coco(table: KeypointTable, found: FoundPoints) -> tuple[bytes, int]:
    """The file with filled points, their visibility and scores, and how many coordinates are new."""
    document = Document(table.path)
    refuse_changed(table, document.json.sha256)
    order = [table.keypoints.index(name) for name in document.keypoints]
    new, xy, score = found.new(table)[:, order], found.xy[:, order], found.score[:, order]
    for row in np.flatnonzero(new.any(axis=(1, 2))).tolist():
        _fill(document.annotations[row], new[row], xy[row], score[row])
    return document.json.rewritten(), int(new.sum())


def _fill(annotation: Entry, new: Any, xy: Array, score: Array) -> None:
    """Write an annotation's filled points into its content."""
    content = annotation.content
    values = content["keypoints"]
    points = np.flatnonzero(new.all(axis=1)).tolist()
    for k in points:
        # Four decimals, as in a table; never -0.
        values[3 * k], values[3 * k + 1] = (float(f"{value:.4f}") + 0.0 for value in xy[k])
        if values[3 * k + 2] == NOT_LABELLED:
            values[3 * k + 2] = HIDDEN  # it has a place, and nobody saw it
    placed = [int(seen != NOT_LABELLED) for seen in values[2::3]]
    if "num_keypoints" in content:
        content["num_keypoints"] = sum(placed)
    scores: Any = placed if content.get(SCORES) is None else content[SCORES]
    if not isinstance(scores, list) or len(scores) != len(new):
        raise annotation.bad(SCORES, f"expected {len(new)} numbers, one for each keypoint")
    for k in points:
        scores[k] = float(f"{score[k]:.4g}")
    content[SCORES] = scores


def table_as_coco(table: KeypointTable, names: Sequence[str], sizes: Array, path: Path) -> list[bytes]:
    """A whole table as a new file at `path`.

    Parameters
    ----------
    names, sizes
        Of each row's image: its file, and (n, 2) height and width in px.
    """
    images: dict[str, dict[str, Any]] = {}
    taken = _ids(table, IMAGE_ID)
    for row, name in enumerate(names):
        if name not in images:
            images[name] = {
                "id": len(images) + 1 if taken is None else taken[row],
                "file_name": name, "height": int(sizes[row, 0]), "width": int(sizes[row, 1]),
            }  # fmt: skip
    ids = _ids(table, ANNOTATION_ID)
    if ids is None or len(set(ids)) < len(ids):
        ids = list(range(1, table.rows + 1))
    seen = visibilities(table)
    reserved = {
        IMAGE_PATH_COLUMN, IMAGE_ID, ANNOTATION_ID, BOX_COLUMN, *visibility_columns(table.keypoints),
    }  # fmt: skip
    further = [column for column in table.extra if column not in reserved]
    annotations = []
    for row, name in enumerate(names):
        box: Sequence[float] = (0, 0, int(sizes[row, 1]), int(sizes[row, 0]))
        if table.boxes is not None and np.isfinite(table.boxes[row]).all():
            box = [round(edge, 6) for edge in box_of(table.boxes[row])]
        annotation: dict[str, Any] = {
            "id": ids[row], "image_id": images[name]["id"], "category_id": 1,
            "keypoints": _flat(table.labels[row], seen[row]),
            "num_keypoints": int((seen[row] != NOT_LABELLED).sum()),
            "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0,
        }  # fmt: skip
        if further:
            annotation["attributes"] = {column: table.extra[column][row] for column in further}
        annotations.append(annotation)
    category = {"id": 1, "name": "object", "keypoints": list(table.keypoints), "skeleton": []}
    content = {"images": list(images.values()), "annotations": annotations, "categories": [category]}
    return [json_bytes(content)]


def _ids(table: KeypointTable, column: str) -> list[int] | None:
    """A column of ids as whole numbers; None if it is not there or holds anything else."""
    texts = table.extra.get(column, [""])
    return [int(text) for text in texts] if all(text.strip().isdecimal() for text in texts) else None


def _flat(labels: Array, seen: Any) -> list[Any]:
    """x, y and visibility of every keypoint of a row; half a point is none."""
    flat: list[Any] = []
    for (x, y), v in zip(labels.tolist(), seen.tolist(), strict=True):
        flat += [_short(x), _short(y), v] if math.isfinite(x) and math.isfinite(y) else [0, 0, v]
    return flat


def _short(value: float) -> int | float:
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
