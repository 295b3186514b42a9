"""Label Studio's JSON: an array of tasks, each with ``data``, ``annotations`` and ``predictions``.

A row is a task. Its labels are the results of type ``keypointlabels`` of its first annotation that was not
cancelled; their places are in percent of the image's width and height. A result with neither x nor y has no
place and labels nothing. Fills go out as one more prediction
with a score for each point, which Label Studio shows beside the annotations; those stay as they are.

The format: https://labelstud.io/guide/task_format and https://labelstud.io/tags/keypointlabels
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.data.formats.foreign import refuse_foreign_json
from labelfill.data.formats.json_files import Entry, is_number, json_bytes, read_json
from labelfill.data.table import IMAGE_PATH_COLUMN, FoundPoints, KeypointTable, refuse_changed
from labelfill.errors import DataError, real_path, shown

LABEL_STUDIO = "label-studio"
_KIND, _MODEL = "keypointlabels", "labelfill"
_TASK_ID = "task_id"
# Names of tags where no label tells what the project calls them, and how large a point is drawn, percent.
_FROM, _TO, _POINT_WIDTH = "keypoints", "image", 0.5
_LOCAL_FILES = "/data/local-files/?d="
# Label Studio puts this in front of the names of uploaded files.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
_IMAGE_SUFFIX = re.compile(r"\.(?:png|jpe?g|gif|bmp|webp|tiff?)(?:$|\?)", re.IGNORECASE)
_SIZE = ("original_width", "original_height")
# Percent and back moves a place by less than this many decimals of a px.
_DECIMALS = 9

_log = logging.getLogger("labelfill")


@dataclass(frozen=True)
class Task(Entry):
    """One task, its keypoints (name to result), and those that are placeholders for a blank."""

    points: dict[str, dict[str, Any]]
    placeholders: set[str]


class Document:
    """A file's tasks; `placeless` names the task of each keypoint that has no place."""

    def __init__(self, path: Path, *, filled: bool = False, missing_values: Sequence[float] = ()) -> None:
        self.json = read_json(path)
        annotated: dict[str, None] = {}
        self.tasks: list[Task] = []
        self.placeless: list[str] = []
        for number, (content, line) in enumerate(zip(self.json.content, self.json.lines(), strict=True)):
            if not isinstance(content, dict) or not isinstance(content.get("data"), dict):
                refuse_foreign_json(path, self.json.content)
                raise DataError(
                    f"{path}, task number {number} (line {line}): expected an object "
                    "with 'data', as Label Studio's JSON export has (not JSON-MIN)"
                )
            task = Task(path, "task", number, line, content, {}, set())
            annotations = _array(task, "annotations")
            kept = next((a for a in annotations if isinstance(a, dict) and not a.get("was_cancelled")), {})
            task.points.update(self._points(task, kept, "annotations"))
            annotated.update(dict.fromkeys(task.points))
            task.placeholders.update(
                name for name, point in task.points.items() if _is_placeholder(point, missing_values)
            )
            for name in task.placeholders:
                del task.points[name]
            if filled:
                ours = [p for p in _array(task, "predictions") if _is_ours(p)]
                fills = self._points(task, ours[-1] if ours else {}, "predictions")
                task.points.update({n: p for n, p in fills.items() if n not in task.points})
            self.tasks.append(task)
        if not self.tasks:
            raise DataError(f"{path} holds no task; export it with annotations, as JSON")
        # In the order in which annotations name them first, with fills and without.
        self.keypoints = tuple(dict.fromkeys([*annotated, *(n for t in self.tasks for n in t.points)]))
        # How the project calls its tags, as any result tells.
        self.example = next((point for task in self.tasks for point in task.points.values()), {})

    def _points(self, task: Task, annotation: dict[str, Any], field: str) -> dict[str, dict[str, Any]]:
        """The keypoints of an annotation or a prediction that have a place, checked: name to result."""
        results = annotation.get("result") or []
        if not isinstance(results, list):
            raise task.bad(field, "expected an array 'result'")
        keypoints = [each for each in results if isinstance(each, dict) and each.get("type") == _KIND]
        placed = [each for each in keypoints if _has_place(each)]
        self.placeless += [task.where] * (len(keypoints) - len(placed))
        return _by_name(task, placed, field)


def _array(task: Task, field: str) -> list[Any]:
    """A field of a task that is an array, or absent."""
    found = task.content.get(field) or []
    if not isinstance(found, list):
        raise task.bad(field, f"found {shown(json.dumps(found))}, expected an array")
    return found


def _has_place(result: dict[str, Any]) -> bool:
    """Whether x or y is stated; what states only one of them is refused later, by name."""
    value = result.get("value")
    return not isinstance(value, dict) or value.get("x") is not None or value.get("y") is not None


def _by_name(task: Task, results: Sequence[dict[str, Any]], field: str) -> dict[str, dict[str, Any]]:
    points: dict[str, dict[str, Any]] = {}
    for result in results:
        value = result.get("value")
        labels = value.get(_KIND) if isinstance(value, dict) else None
        if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
            raise task.bad(field, f"a keypoint has labels {shown(json.dumps(labels))}, expected one")
        name = labels[0]
        if name in points:
            raise task.bad(
                field, f"two keypoints are called {shown(name)}; expected one set of keypoints per image"
            )
        numbers = {**result["value"], **{key: result.get(key) for key in _SIZE}}
        for key in ("x", "y", *_SIZE):
            if not is_number(numbers.get(key)):
                found = shown(json.dumps(numbers.get(key)))
                raise task.bad(field, f"{key} of {shown(name)} is {found}, expected a number")
        for key in _SIZE:
            if result[key] <= 0:
                raise task.bad(field, f"{key} of {shown(name)} is {result[key]}, expected a number above 0")
        if result.get("image_rotation") not in (None, 0):
            raise task.bad(field, f"image_rotation of {shown(name)} is not 0; turn the image itself")
        points[name] = result
    return points


def _is_placeholder(result: dict[str, Any], missing_values: Sequence[float]) -> bool:
    return any(xy == (value, value) for value in missing_values for xy in (_percent(result), _px(result)))


def _percent(result: dict[str, Any]) -> tuple[float, float]:
    return result["value"]["x"], result["value"]["y"]


def _is_ours(prediction: Any) -> bool:
    return isinstance(prediction, dict) and str(prediction.get("model_version", "")).startswith(_MODEL)


def read_label_studio(
    path: Path,
    *,
    beside: Path | None = None,
    filled: bool = False,
    missing_values: Sequence[float] = (),
) -> KeypointTable:
    """Read a file of tasks.

    Parameters
    ----------
    missing_values
        Numbers, in percent or px, that stand in both coordinates of a point that is not labelled.
    beside
        Another file in whose folder the images are looked for.
    filled
        Whether points of labelfill's own last prediction stand for labels that are missing.

    Raises
    ------
    DataError
        If it is no such file; names the task and its field.
    """
    document = Document(path, filled=filled, missing_values=missing_values)
    if document.placeless:
        count = len(document.placeless)
        _log.warning(
            "%s: %d keypoint%s neither x nor y (the first in %s) and count%s as not labelled",
            path, count, " has" if count == 1 else "s have", document.placeless[0], "s" if count == 1 else "",
        )  # fmt: skip
    labels = np.full((len(document.tasks), len(document.keypoints), 2), np.nan)
    for row, task in enumerate(document.tasks):
        for k, name in enumerate(document.keypoints):
            if name in task.points:
                labels[row, k] = _px(task.points[name])
    blank = np.array([[n in task.placeholders for n in document.keypoints] for task in document.tasks], bool)
    folder = real_path(beside or path).parent
    extra = {
        _TASK_ID: [str(task.content.get("id", "")) for task in document.tasks],
        IMAGE_PATH_COLUMN: [_image(task, folder) for task in document.tasks],
    }
    data = [task.content["data"] for task in document.tasks]
    further = {n: None for each in data for n, v in each.items() if isinstance(v, str | int | float)}
    for name in further:
        if name not in extra and any(name != _image_key(each) for each in data):
            extra[name] = [_plain(each.get(name)) for each in data]
    return KeypointTable(
        path=path,
        content_sha256=document.json.sha256,
        content_length=document.json.length,
        keypoints=document.keypoints,
        labels=labels,
        field_spans=np.zeros((*labels.shape, 2), np.int64),
        lines=np.array([task.line for task in document.tasks], np.int64),
        extra=extra,
        image_column=IMAGE_PATH_COLUMN,
        declared_blank=blank if blank.any() else None,
        stated_sizes=_stated_sizes(document.tasks),
        format=LABEL_STUDIO,
    )


def _stated_sizes(tasks: Sequence[Task]) -> Array:
    """(n, 2): height and width of the image of each task that its first keypoint states, NaN without any."""
    sizes = np.full((len(tasks), 2), np.nan)
    for row, task in enumerate(tasks):
        for point in task.points.values():
            sizes[row] = point["original_height"], point["original_width"]
            break
    return sizes


def _px(result: dict[str, Any]) -> tuple[float, float]:
    value = result["value"]
    x, y = value["x"] * result["original_width"] / 100, value["y"] * result["original_height"] / 100
    return round(x, _DECIMALS), round(y, _DECIMALS)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, int | float) else ""


def _image_key(data: dict[str, Any]) -> str | None:
    texts = [name for name, value in data.items() if isinstance(value, str)]
    likely = [name for name in texts if _IMAGE_SUFFIX.search(data[name])]
    return next((name for name in ("image", "img", *likely) if name in texts), None)


def _image(task: Task, folder: Path) -> str:
    """The image's file as seen from `folder`, if it lies there in part of its path."""
    key = _image_key(task.content["data"])
    if key is None:
        raise task.bad("data", "names no image; expected its address under 'image'")
    try:
        address = urlsplit(task.content["data"][key])
    except ValueError as error:
        found = shown(task.content["data"][key])
        raise task.bad("data", f"found {found}, which is no address: {error}") from None
    query = parse_qs(address.query)
    name = query["d"][0] if "d" in query else unquote(address.path)
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part != "/"]
    if not parts:
        raise task.bad("data", f"names no image: found {shown(task.content['data'][key])}")
    ways = [parts[left:] for left in range(len(parts))] + [[_UPLOADED.sub("", parts[-1])]]
    for way in ways:
        if os.path.isfile(folder / "/".join(way)):  # of a Path it fails where a name is too long
            return "/".join(way)
    return "/".join(parts)


def filled_label_studio(table: KeypointTable, found: FoundPoints) -> bytes:
    """The file with one more prediction in each task in which something was found."""
    document = Document(table.path)
    refuse_changed(table, document.json.sha256)
    new: Mask = np.all(found.new(table), axis=2)
    for row in np.flatnonzero(np.any(new, axis=1)).tolist():
        task = document.tasks[row]
        predictions = _array(task, "predictions")
        example = next(iter(task.points.values()), document.example)
        points = {table.keypoints[k]: k for k in np.flatnonzero(new[row]).tolist()}
        task.content["predictions"] = [*predictions, _prediction(row, points, example, found)]
    return document.json.rewritten()


def _prediction(
    row: int, points: dict[str, int], example: dict[str, Any], found: FoundPoints
) -> dict[str, Any]:
    """The prediction of the points found in a row, in the words of the project's own results."""
    height, width = (int(side) for side in found.sizes[row])
    results = []
    for name, k in points.items():
        x, y = (float(f"{value:.4f}") for value in found.xy[row, k])
        result = _result(example, f"labelfill-{row}-{k}", name, (x, y), (height, width))
        results.append({**result, "score": round(float(found.score[row, k]), 4)})
    return {
        "model_version": f"{_MODEL} {found.model}",
        "score": round(float(np.mean([result["score"] for result in results])), 4),
        "result": results,
    }


def _result(
    example: dict[str, Any], identity: str, name: str, xy: tuple[float, float], size: tuple[int, int]
) -> dict[str, Any]:
    """One keypoint at x and y in px on an image of a height and width."""
    return {
        "id": identity,
        "from_name": example.get("from_name", _FROM),
        "to_name": example.get("to_name", _TO),
        "type": _KIND,
        "original_width": size[1],
        "original_height": size[0],
        "image_rotation": 0,
        "value": {
            "x": xy[0] * 100 / size[1],
            "y": xy[1] * 100 / size[0],
            "width": example.get("value", {}).get("width", _POINT_WIDTH),
            _KIND: [name],
        },
    }


def table_as_label_studio(
    table: KeypointTable, names: Sequence[str], sizes: Array, path: Path
) -> list[bytes]:
    """A whole table as new tasks; images as local storage serves those of the file's folder."""
    further = [column for column in table.extra if column not in (IMAGE_PATH_COLUMN, _TASK_ID, "image")]
    ids = table.extra.get(_TASK_ID, [])
    usable = len(set(ids)) == table.rows and all(text.isdecimal() for text in ids)
    tasks: list[dict[str, Any]] = []
    for row, name in enumerate(names):
        size = int(sizes[row, 0]), int(sizes[row, 1])
        results = []
        for k in np.flatnonzero(table.labelled[row]).tolist():
            x, y = table.labels[row, k].tolist()
            results.append(_result({}, f"{row}-{k}", table.keypoints[k], (x, y), size))
        data = {
            "image": _LOCAL_FILES + quote(name),
            **{column: table.extra[column][row] for column in further},
        }
        identity = int(ids[row]) if usable else row + 1
        tasks.append({"id": identity, "data": data, "annotations": [{"result": results}]})
    return [json_bytes(tasks)]
