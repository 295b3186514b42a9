"""COCO keypoints: ``{"images": [...], "annotations": [...], "categories": [...]}``.

A row is an annotation, in the file's order, whose category has keypoints and which lists its own; crowds
(``iscrowd`` 1) and annotations without ``keypoints`` are no rows and stay as they are. ``keypoints`` holds
x, y and visibility of each: 0 not labelled, 1 labelled but hidden, 2 visible. ``bbox`` says where to look.
Visibility 1 at (0, 0) declares a hidden point whose place nobody stated.

The format: https://cocodataset.org/#format-data. Positions there are in px as here, those of boxes from the
image's edge.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelfill.arrays import Array
from labelfill.data.formats.foreign import refuse_foreign_json
from labelfill.data.formats.json_files import Entry, is_number, json_bytes, read_json, shown_id
from labelfill.data.formats.visibility import (
    BOX_COLUMN,
    HIDDEN,
    NOT_LABELLED,
    VISIBLE,
    box_of,
    looked_at,
    visibilities,
    visibility_columns,
)
from labelfill.data.table import IMAGE_PATH_COLUMN, FoundPoints, KeypointTable, refuse_changed
from labelfill.errors import DataError, listed, shown

COCO = "coco"
_SCORES = "keypoint_scores"
_ANNOTATION_ID, _IMAGE_ID = "annotation_id", "image_id"
_PLAIN = (str, int, float, bool)

_log = logging.getLogger("labelfill")


class Document:
    """A file's images, keypoint names and annotations with keypoints."""

    def __init__(self, path: Path) -> None:
        self.json = read_json(path)
        self.path = path
        self._parts: dict[str, Any] = self.json.content
        for part in ("images", "annotations", "categories"):
            if not isinstance(self._parts.get(part), list):
                refuse_foreign_json(path, self.json.content)
                raise DataError(
                    f"{path}: no array {part!r}; expected COCO's images, annotations and categories"
                )
        self.keypoints, self.categories = self._named_keypoints()
        ids = [c.get("id") for c in self._parts["categories"] if isinstance(c, dict)]
        self._listed = dict.fromkeys(i for i in ids if _is_id(i))
        self.annotations: list[Entry] = []
        lines = self.json.lines("annotations")
        for number, content in enumerate(self._parts["annotations"]):
            if not isinstance(content, dict):
                raise DataError(
                    f"{path}, annotation number {number}: found {shown(str(content))}, expected an object"
                )
            entry = Entry(path, "annotation", number, lines[number], content)
            if self._labels_a_category(entry) and content.get("iscrowd") in (None, 0, False):
                self.annotations.append(entry)
        if not self.annotations:
            raise DataError(f"{path}: no annotation has keypoints; expected at least one that is no crowd")

    def _labels_a_category(self, annotation: Entry) -> bool:
        """Whether it lists keypoints, and its category names some."""
        category = annotation.content.get("category_id")
        if "keypoints" not in annotation.content:
            return False
        if not _is_id(category) or category not in self._listed:
            raise annotation.bad(
                "category_id",
                f"found {shown(json.dumps(category))}, expected the id of one of the file's categories "
                f"({listed([str(i) for i in self._listed], 3)})",
            )
        return category in self.categories

    def _named_keypoints(self) -> tuple[tuple[str, ...], dict[Any, str]]:
        with_keypoints = [c for c in self._parts["categories"] if isinstance(c, dict) and c.get("keypoints")]
        if not with_keypoints:
            raise DataError(
                f"{self.path}: no category names keypoints; expected a field 'keypoints' in one of them"
            )
        for category in with_keypoints:
            if not _is_id(category.get("id")):
                raise DataError(
                    f"{self.path}: a category with keypoints has the id "
                    f"{shown(json.dumps(category.get('id')))}, expected a number or a text"
                )
        names = with_keypoints[0]["keypoints"]
        usable = isinstance(names, list) and all(isinstance(n, str) and n for n in names)
        if not usable or len(set(names)) < len(names):
            raise DataError(
                f"{self.path}, category {shown_id(with_keypoints[0]['id'])}, field 'keypoints': "
                "expected different names of keypoints"
            )
        for other in with_keypoints[1:]:
            if other["keypoints"] != names:
                raise DataError(
                    f"{self.path}: categories {shown(str(with_keypoints[0].get('name')))} and "
                    f"{shown(str(other.get('name')))} have different keypoints; split the file by category"
                )
        return tuple(names), {c["id"]: str(c.get("name", c["id"])) for c in with_keypoints}

    def images(self) -> dict[Any, dict[str, Any]]:
        """Each image, which has a file's name, by its id."""
        found: dict[Any, dict[str, Any]] = {}
        for number, image in enumerate(self._parts["images"]):
            name = image.get("file_name") if isinstance(image, dict) else None
            if not isinstance(name, str) or not name.strip() or not _is_id(image.get("id")):
                raise DataError(
                    f"{self.path}, image number {number}: expected an object with 'id' and a 'file_name'"
                )
            found[image["id"]] = image
        return found


def _is_id(value: Any) -> bool:
    """Whether a value can be an image's or a category's id; `true` would equal 1."""
    return isinstance(value, int | str) and not isinstance(value, bool)


def read_coco(path: Path) -> KeypointTable:
    """Read a file of COCO keypoints.

    Raises
    ------
    DataError
        If it is no such file; names the annotation and its field.
    """
    document = Document(path)
    rows = [_triples(document.keypoints, annotation) for annotation in document.annotations]
    triples = np.array(rows).reshape(len(rows), -1, 3)
    seen = triples[..., 2]
    nowhere = (seen == NOT_LABELLED) | ((seen == HIDDEN) & (triples[..., :2] == 0).all(axis=2))
    placed = (seen == NOT_LABELLED) & np.any(np.nan_to_num(triples[..., :2]) != 0, axis=2)
    if placed.any():
        _log.warning(
            "%s: %d points have visibility 0 and yet a place: they count as not labelled and are filled; "
            "give them visibility 1 or 2 if they are labels",
            path, placed.sum(),
        )  # fmt: skip
    labels = np.where(nowhere[..., None], np.nan, triples[..., :2])
    images = document.images()
    return KeypointTable(
        path=path,
        content_sha256=document.json.sha256,
        content_length=document.json.length,
        keypoints=document.keypoints,
        labels=labels,
        field_spans=np.zeros((*labels.shape, 2), np.int64),
        lines=np.array([entry.line for entry in document.annotations], np.int64),
        extra=_extra_columns(document, images, seen),
        image_column=IMAGE_PATH_COLUMN,
        boxes=_boxes(document.annotations, images),
        stated_sizes=_stated_sizes(document.annotations, images),
        format=COCO,
    )


def _triples(keypoints: Sequence[str], annotation: Entry) -> list[float]:
    """x, y and visibility of each keypoint, checked."""
    values, count = annotation.content["keypoints"], 3 * len(keypoints)
    if not isinstance(values, list) or len(values) != count:
        found = f"{len(values)} values" if isinstance(values, list) else shown(json.dumps(values))
        raise annotation.bad(
            "keypoints",
            f"found {found}, expected {count}: x, y and visibility of {len(keypoints)} keypoints",
        )  # fmt: skip
    for i, value in enumerate(values):
        name = keypoints[i // 3]
        if i % 3 == 2 and (not is_number(value) or value not in (NOT_LABELLED, HIDDEN, VISIBLE)):
            raise annotation.bad(
                "keypoints",
                f"visibility of {shown(name)} is {shown(json.dumps(value))}, expected 0 (not labelled), "
                "1 (hidden) or 2 (visible)",
            )  # fmt: skip
        if i % 3 < 2 and not is_number(value) and values[i // 3 * 3 + 2] != NOT_LABELLED:
            raise annotation.bad(
                "keypoints",
                f"{'xy'[i % 3]} of {shown(name)} is {shown(json.dumps(value))}, expected a finite number",
            )  # fmt: skip
    return [value if is_number(value) else math.nan for value in values]


def _boxes(annotations: Sequence[Entry], images: Mapping[Any, dict[str, Any]]) -> Array | None:
    boxes = np.full((len(annotations), 4), np.nan)
    for row, annotation in enumerate(annotations):
        box = annotation.content.get("bbox")
        if box is None or box == []:
            continue
        if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
            found = shown(json.dumps(box))
            raise annotation.bad("bbox", f"found {found}, expected left, top, width and height in px")
        image = images[annotation.content["image_id"]]
        whole = [0, 0, image.get("width"), image.get("height")]
        if box[2] > 0 and box[3] > 0 and box != whole:  # others enclose nothing, or all
            boxes[row] = looked_at((box[0], box[1], box[2], box[3]))
    return None if np.isnan(boxes).all() else boxes


def _stated_sizes(annotations: Sequence[Entry], images: Mapping[Any, dict[str, Any]]) -> Array | None:
    """(n, 2): height and width of each annotation's image, NaN where the file does not tell both."""
    sizes = np.full((len(annotations), 2), np.nan)
    for row, annotation in enumerate(annotations):
        image = images[annotation.content["image_id"]]
        stated: list[Any] = [image.get("height"), image.get("width")]
        if all(is_number(side) and side > 0 for side in stated):
            sizes[row] = stated
    return None if np.isnan(sizes).all() else sizes


def _extra_columns(
    document: Document, images: Mapping[Any, dict[str, Any]], seen: Array
) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {_ANNOTATION_ID: [], _IMAGE_ID: [], IMAGE_PATH_COLUMN: [], "category": []}
    for annotation in document.annotations:
        image = annotation.content.get("image_id")
        if not isinstance(image, int | str) or image not in images:
            raise annotation.bad(
                "image_id",
                f"found {shown(json.dumps(image))}, expected the id of one of the file's images "
                f"({listed([str(i) for i in images], 3)})",
            )
        columns[_ANNOTATION_ID].append(str(annotation.content.get("id", "")))
        columns[_IMAGE_ID].append(str(image))
        columns[IMAGE_PATH_COLUMN].append(images[image]["file_name"])
        columns["category"].append(document.categories[annotation.content["category_id"]])
    for column, values in zip(visibility_columns(document.keypoints), seen.T, strict=True):
        columns[column] = [f"{value:.0f}" for value in values]
    found = [annotation.content.get("attributes") for annotation in document.annotations]
    attributes = [each if isinstance(each, dict) else {} for each in found]
    further = {n: None for each in attributes for n, v in each.items() if isinstance(v, _PLAIN)}
    for name in further:
        if name not in columns:
            columns[name] = [_plain(each.get(name)) for each in attributes]
    return columns


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def filled_coco(table: KeypointTable, found: FoundPoints) -> bytes:
    """The file with filled points, their visibility and scores; every other value as it was."""
    document = Document(table.path)
    refuse_changed(table, document.json.sha256)
    order = [table.keypoints.index(name) for name in document.keypoints]
    new, xy, score = found.new(table)[:, order], found.xy[:, order], found.score[:, order]
    for row in np.flatnonzero(new.any(axis=(1, 2))).tolist():
        _fill(document.annotations[row], new[row], xy[row], score[row])
    return document.json.rewritten()


def _fill(annotation: Entry, new: Any, xy: Array, score: Array) -> None:
    """Write an annotation's filled points into its content."""
    content = annotation.content
    values = content["keypoints"]
    points = np.flatnonzero(new.all(axis=1)).tolist()
    for k in points:
        # Four decimals, as in a table; never -0.
        values[3 * k], values[3 * k + 1] = (float(f"{value:.4f}") + 0.0 for value in xy[k])
        values[3 * k + 2] = HIDDEN  # it has a place, and nobody saw it, whatever a placeholder says
    placed = [int(seen != NOT_LABELLED) for seen in values[2::3]]
    if "num_keypoints" in content:
        content["num_keypoints"] = sum(placed)
    scores: Any = placed if content.get(_SCORES) is None else content[_SCORES]
    if not isinstance(scores, list) or len(scores) != len(new):
        raise annotation.bad(_SCORES, f"expected {len(new)} numbers, one for each keypoint")
    for k in points:
        scores[k] = float(f"{score[k]:.4g}")
    content[_SCORES] = scores


def table_as_coco(table: KeypointTable, names: Sequence[str], sizes: Array, path: Path) -> list[bytes]:
    """A whole table as a new file at `path`.

    Parameters
    ----------
    names, sizes
        Of each row's image: its file, and (n, 2) height and width in px.
    """
    images: dict[str, dict[str, Any]] = {}
    taken = _ids(table, _IMAGE_ID)
    for row, name in enumerate(names):
        if name not in images:
            images[name] = {
                "id": len(images) + 1 if taken is None else taken[row],
                "file_name": name, "height": int(sizes[row, 0]), "width": int(sizes[row, 1]),
            }  # fmt: skip
    ids = _ids(table, _ANNOTATION_ID)
    if ids is None or len(set(ids)) < len(ids):
        ids = list(range(1, table.rows + 1))
    seen = visibilities(table)
    reserved = {
        IMAGE_PATH_COLUMN, _IMAGE_ID, _ANNOTATION_ID, BOX_COLUMN, *visibility_columns(table.keypoints),
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
