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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelfill.arrays import Array
from labelfill.data.formats.json_files import is_number, read_json
from labelfill.data.formats.visibility import (
    HIDDEN,
    NOT_LABELLED,
    VISIBLE,
    looked_at,
    visibility_columns,
)
from labelfill.data.table import IMAGE_PATH_COLUMN, KeypointTable
from labelfill.errors import DataError, listed, shown

FORMAT = "coco"
ANNOTATION_ID, IMAGE_ID = "annotation_id", "image_id"
_PLAIN = (str, int, float, bool)

_log = logging.getLogger("labelfill")


@dataclass(frozen=True)
class Annotation:
    """One annotation and the line in which it begins."""

    content: dict[str, Any]
    line: int
    number: int

    @property
    def name(self) -> str:
        given = self.content.get("id")
        return f"annotation {given if given is not None else f'number {self.number}'}"


class Document:
    """A file's images, keypoint names and annotations with keypoints."""

    def __init__(self, path: Path) -> None:
        self.json = read_json(path)
        self.path = path
        self._parts: dict[str, Any] = self.json.content
        for part in ("images", "annotations", "categories"):
            if not isinstance(self._parts.get(part), list):
                raise DataError(
                    f"{path}: no array {part!r}; expected COCO's images, annotations and categories"
                )
        self.keypoints: tuple[str, ...]
        self._categories: dict[Any, str]
        self.keypoints, self._categories = self._named_keypoints()
        self.annotations = [entry for entry in self._annotations() if self._is_row(entry.content)]
        if not self.annotations:
            raise DataError(f"{path}: no annotation has keypoints; expected at least one that is no crowd")

    def _annotations(self) -> Iterator[Annotation]:
        lines = self.json.lines("annotations")
        for number, content in enumerate(self._parts["annotations"]):
            if not isinstance(content, dict):
                raise DataError(
                    f"{self.path}, annotation number {number}: found {shown(str(content))}, "
                    "expected an object"
                )
            yield Annotation(content, lines[number], number)

    def _named_keypoints(self) -> tuple[tuple[str, ...], dict[Any, str]]:
        with_keypoints = [c for c in self._parts["categories"] if isinstance(c, dict) and c.get("keypoints")]
        if not with_keypoints:
            raise DataError(
                f"{self.path}: no category names keypoints; expected a field 'keypoints' in one of them"
            )
        names = with_keypoints[0]["keypoints"]
        usable = isinstance(names, list) and all(isinstance(n, str) and n for n in names)
        if not usable or len(set(names)) < len(names):
            raise DataError(
                f"{self.path}, category {with_keypoints[0].get('id')}, field 'keypoints': "
                "expected different names of keypoints"
            )
        for other in with_keypoints[1:]:
            if other["keypoints"] != names:
                raise DataError(
                    f"{self.path}: categories {shown(str(with_keypoints[0].get('name')))} and "
                    f"{shown(str(other.get('name')))} have different keypoints; split the file by category"
                )
        return tuple(names), {c.get("id"): str(c.get("name", c.get("id"))) for c in with_keypoints}

    def _is_row(self, annotation: dict[str, Any]) -> bool:
        return (
            "keypoints" in annotation
            and annotation.get("category_id") in self._categories
            and annotation.get("iscrowd") in (None, 0, False)
        )

    def category(self, annotation: Annotation) -> str:
        return self._categories[annotation.content["category_id"]]

    def image_names(self) -> dict[Any, str]:
        """File name of each image by its id."""
        found: dict[Any, str] = {}
        for number, image in enumerate(self._parts["images"]):
            name = image.get("file_name") if isinstance(image, dict) else None
            if not isinstance(name, str) or not name.strip() or "id" not in image:
                raise DataError(
                    f"{self.path}, image number {number}: expected an object with 'id' and a 'file_name'"
                )
            found[image["id"]] = name
        return found

    def image_sizes(self) -> dict[Any, tuple[Any, Any]]:
        """Width and height of each image by its id, as far as they are stated."""
        images = [image for image in self._parts["images"] if isinstance(image, dict)]
        return {image.get("id"): (image.get("width"), image.get("height")) for image in images}

    def bad(self, annotation: Annotation, field: str, what: str) -> DataError:
        return DataError(f"{self.path}, {annotation.name} (line {annotation.line}), field {field!r}: {what}")


def read_coco(path: Path) -> KeypointTable:
    """Read a file of COCO keypoints.

    Raises
    ------
    DataError
        If it is no such file; names the annotation and its field.
    """
    document = Document(path)
    k = len(document.keypoints)
    triples = np.array([_triples(document, one) for one in document.annotations]).reshape(-1, k, 3)
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
    rows = len(labels)
    return KeypointTable(
        path=path,
        content_sha256=document.json.sha256,
        content_length=document.json.length,
        keypoints=document.keypoints,
        labels=labels,
        field_spans=np.zeros((rows, k, 2, 2), np.int64),
        lines=np.array([one.line for one in document.annotations], np.int64),
        extra=_extra_columns(document, seen),
        image_column=IMAGE_PATH_COLUMN,
        boxes=_boxes(document),
        format=FORMAT,
    )


def _triples(document: Document, annotation: Annotation) -> list[float]:
    """x, y and visibility of each keypoint, checked."""
    values, count = annotation.content["keypoints"], 3 * len(document.keypoints)
    if not isinstance(values, list) or len(values) != count:
        found = f"{len(values)} values" if isinstance(values, list) else shown(json.dumps(values))
        raise document.bad(
            annotation, "keypoints",
            f"found {found}, expected {count}: x, y and visibility of {len(document.keypoints)} keypoints",
        )  # fmt: skip
    for i, value in enumerate(values):
        name = document.keypoints[i // 3]
        if i % 3 == 2 and (not is_number(value) or value not in (NOT_LABELLED, HIDDEN, VISIBLE)):
            raise document.bad(
                annotation, "keypoints",
                f"visibility of {shown(name)} is {shown(json.dumps(value))}, expected 0 (not labelled), "
                "1 (hidden) or 2 (visible)",
            )  # fmt: skip
        if i % 3 < 2 and not is_number(value) and values[i // 3 * 3 + 2] != NOT_LABELLED:
            raise document.bad(
                annotation, "keypoints",
                f"{'xy'[i % 3]} of {shown(name)} is {shown(json.dumps(value))}, expected a finite number",
            )  # fmt: skip
    return [value if is_number(value) else math.nan for value in values]


def _boxes(document: Document) -> Array | None:
    sizes = document.image_sizes()
    boxes = np.full((len(document.annotations), 4), np.nan)
    for row, annotation in enumerate(document.annotations):
        box = annotation.content.get("bbox")
        if box is None or box == []:
            continue
        if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
            raise document.bad(
                annotation,
                "bbox",
                f"found {shown(json.dumps(box))}, expected left, top, width and height in px",
            )
        whole = [0, 0, *sizes.get(annotation.content.get("image_id"), ())]
        if box[2] > 0 and box[3] > 0 and box != whole:  # others enclose nothing, or all
            boxes[row] = looked_at((box[0], box[1], box[2], box[3]))
    return None if np.isnan(boxes).all() else boxes


def _extra_columns(document: Document, seen: Array) -> dict[str, list[str]]:
    names = document.image_names()
    columns: dict[str, list[str]] = {ANNOTATION_ID: [], IMAGE_ID: [], IMAGE_PATH_COLUMN: [], "category": []}
    for annotation in document.annotations:
        image = annotation.content.get("image_id")
        if not isinstance(image, int | str) or image not in names:
            raise document.bad(
                annotation, "image_id",
                f"found {shown(json.dumps(image))}, expected the id of one of the file's images "
                f"({listed([str(i) for i in names], 3)})",
            )  # fmt: skip
        columns[ANNOTATION_ID].append(str(annotation.content.get("id", "")))
        columns[IMAGE_ID].append(str(image))
        columns[IMAGE_PATH_COLUMN].append(names[image])
        columns["category"].append(document.category(annotation))
    for column, values in zip(visibility_columns(document.keypoints), seen.T, strict=True):
        columns[column] = [f"{value:.0f}" for value in values]
    further: dict[str, None] = {}
    attributes = [annotation.content.get("attributes") or {} for annotation in document.annotations]
    for own in attributes:
        if isinstance(own, dict):
            further.update(
                dict.fromkeys(n for n, v in own.items() if isinstance(v, _PLAIN) and n not in columns)
            )
    for name in further:
        columns[name] = [_plain(own.get(name)) if isinstance(own, dict) else "" for own in attributes]
    return columns


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)
