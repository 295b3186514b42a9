"""Label Studio's JSON: an array of tasks, each with ``data``, ``annotations`` and ``predictions``.

A row is a task. Its labels are the results of type ``keypointlabels`` of its first annotation that was not
cancelled; their places are in percent of the image's width and height. Fills go out as one more prediction
with a score for each point, which Label Studio shows beside the annotations; those stay as they are.

The format: https://labelstud.io/guide/task_format and https://labelstud.io/tags/keypointlabels
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from labelfill.data.formats.json_files import is_number, read_json
from labelfill.data.table import IMAGE_PATH_COLUMN, KeypointTable
from labelfill.errors import DataError, shown

FORMAT = "label-studio"
KIND = "keypointlabels"
TASK_ID = "task_id"

MODEL = "labelfill"
# Label Studio puts this in front of the names of uploaded files.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
_IMAGE_SUFFIX = re.compile(r"\.(?:png|jpe?g|gif|bmp|webp|tiff?)(?:$|\?)", re.IGNORECASE)
# Percent and back moves a place by less than this many decimals of a px.
_DECIMALS = 9


@dataclass(frozen=True)
class Task:
    """One task, the line in which it begins, and its keypoints: name to result."""

    content: dict[str, Any]
    line: int
    number: int
    points: dict[str, dict[str, Any]]

    @property
    def name(self) -> str:
        given = self.content.get("id")
        return f"task {given if given is not None else f'number {self.number}'}"


class Document:
    """A file's tasks."""

    def __init__(self, path: Path, *, filled: bool = False) -> None:
        self.json, self.path, self._filled = read_json(path), path, filled
        self._annotated: dict[str, None] = {}
        self.tasks = [
            self._task(Task(content, line, number, {}))
            for number, (content, line) in enumerate(zip(self.json.content, self.json.lines(), strict=True))
        ]
        if not self.tasks:
            raise DataError(f"{path} holds no task; export it with annotations, as JSON")
        # In the order in which annotations name them first, with fills and without.
        self.keypoints = tuple(dict.fromkeys([*self._annotated, *(n for t in self.tasks for n in t.points)]))
        # How the project calls its tags, as any result tells.
        self.example = next((point for task in self.tasks for point in task.points.values()), {})

    def bad(self, task: Task, field: str, what: str) -> DataError:
        return DataError(f"{self.path}, {task.name} (line {task.line}), field {field!r}: {what}")

    def _task(self, task: Task) -> Task:
        """A task of a known content with its keypoints."""
        content = task.content
        if not isinstance(content, dict) or not isinstance(content.get("data"), dict):
            raise DataError(
                f"{self.path}, task number {task.number} (line {task.line}): expected an object "
                "with 'data', as Label Studio's JSON export has (not JSON-MIN)"
            )
        annotations = content.get("annotations") or []
        kept = next((a for a in annotations if isinstance(a, dict) and not a.get("was_cancelled")), {})
        self._collect(task, kept, "annotations")
        self._annotated.update(dict.fromkeys(task.points))
        if self._filled:
            ours = [p for p in content.get("predictions") or [] if _is_ours(p)]
            fills = replace(task, points={})
            self._collect(fills, ours[-1] if ours else {}, "predictions")
            task.points.update({n: p for n, p in fills.points.items() if n not in task.points})
        return task

    def _collect(self, task: Task, annotation: dict[str, Any], field: str) -> None:
        results = annotation.get("result") or []
        if not isinstance(results, list):
            raise self.bad(task, field, "expected an array 'result'")
        for result in results:
            if not isinstance(result, dict) or result.get("type") != KIND:
                continue
            value = result.get("value")
            labels = value.get(KIND) if isinstance(value, dict) else None
            if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
                raise self.bad(
                    task, field, f"a keypoint has labels {shown(json.dumps(labels))}, expected one"
                )
            if labels[0] in task.points:
                raise self.bad(
                    task, field,
                    f"two keypoints are called {shown(labels[0])}; expected one set of keypoints per image",
                )  # fmt: skip
            self._check(task, field, result, labels[0])
            task.points[labels[0]] = result

    def _check(self, task: Task, field: str, result: dict[str, Any], name: str) -> None:
        numbers = dict(result["value"])
        numbers.update({key: result.get(key) for key in ("original_width", "original_height")})
        for key in ("x", "y", "original_width", "original_height"):
            number = numbers.get(key)
            if not is_number(number):
                raise self.bad(
                    task, field, f"{key} of {shown(name)} is {shown(json.dumps(number))}, expected a number"
                )
        if result.get("image_rotation") not in (None, 0):
            raise self.bad(task, field, f"image_rotation of {shown(name)} is not 0; turn the image itself")


def _is_ours(prediction: Any) -> bool:
    return isinstance(prediction, dict) and str(prediction.get("model_version", "")).startswith(MODEL)


def read_label_studio(path: Path, *, beside: Path | None = None, filled: bool = False) -> KeypointTable:
    """Read a file of tasks.

    Parameters
    ----------
    beside
        Another file in whose folder the images are looked for.
    filled
        Whether points of labelfill's own last prediction stand for labels that are missing.

    Raises
    ------
    DataError
        If it is no such file; names the task and its field.
    """
    document = Document(path, filled=filled)
    rows, count = len(document.tasks), len(document.keypoints)
    labels = np.full((rows, count, 2), np.nan)
    for row, task in enumerate(document.tasks):
        for k, name in enumerate(document.keypoints):
            if name in task.points:
                labels[row, k] = _px(task.points[name])
    folder = (beside or path).resolve().parent
    extra = {
        TASK_ID: [str(task.content.get("id", "")) for task in document.tasks],
        IMAGE_PATH_COLUMN: [_image(document, task, folder) for task in document.tasks],
    }
    further: dict[str, None] = {}
    for task in document.tasks:
        further.update(
            dict.fromkeys(n for n, v in task.content["data"].items() if isinstance(v, str | int | float))
        )
    for name in further:
        if name not in extra and any(name != _image_key(task.content["data"]) for task in document.tasks):
            extra[name] = [_plain(task.content["data"].get(name)) for task in document.tasks]
    return KeypointTable(
        path=path,
        content_sha256=document.json.sha256,
        content_length=document.json.length,
        keypoints=document.keypoints,
        labels=labels,
        field_spans=np.zeros((rows, count, 2, 2), np.int64),
        lines=np.array([task.line for task in document.tasks], np.int64),
        extra=extra,
        image_column=IMAGE_PATH_COLUMN,
        format=FORMAT,
    )


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


def _image(document: Document, task: Task, folder: Path) -> str:
    """The image's file as seen from `folder`, if it lies there in part of its path."""
    key = _image_key(task.content["data"])
    if key is None:
        raise document.bad(task, "data", "names no image; expected its address under 'image'")
    address = urlsplit(task.content["data"][key])
    query = parse_qs(address.query)
    name = query["d"][0] if "d" in query else unquote(address.path)
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part != "/"]
    if not parts:
        raise document.bad(task, "data", f"names no image: found {shown(task.content['data'][key])}")
    ways = [parts[left:] for left in range(len(parts))] + [[_UPLOADED.sub("", parts[-1])]]
    for way in ways:
        if (folder / "/".join(way)).is_file():
            return "/".join(way)
    return "/".join(parts)
