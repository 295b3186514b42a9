"""Label Studio's JSON written: fills as predictions beside the annotations, or a table as new tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.data.formats.json_files import json_bytes
from labelfill.data.formats.label_studio import KIND, MODEL, TASK_ID, Document
from labelfill.data.formats.points import FoundPoints, refuse_changed, send
from labelfill.data.table import IMAGE_PATH_COLUMN, KeypointTable, WrittenTable

# Names of tags where no label tells what the project calls them, and how large a point is drawn, percent.
_FROM, _TO, _POINT_WIDTH = "keypoints", "image", 0.5
_LOCAL_FILES = "/data/local-files/?d="


def write_filled_label_studio(table: KeypointTable, found: FoundPoints, out: BinaryIO) -> WrittenTable:
    """The file with one more prediction in each task in which something was found."""
    document = Document(table.path)
    refuse_changed(table, document.json.sha256)
    new: NDArray[np.bool_] = np.all(found.new(table), axis=2)
    for row in np.flatnonzero(np.any(new, axis=1)).tolist():
        task = document.tasks[row]
        predictions = task.content.get("predictions") or []
        if not isinstance(predictions, list):
            raise document.bad(task, "predictions", "expected an array")
        prediction = _prediction(document, row, table.keypoints, new[row], found)
        task.content["predictions"] = [*predictions, prediction]
    return send([document.json.rewritten()], 2 * int(new.sum()), out)


def _prediction(
    document: Document, row: int, names: Sequence[str], new: Any, found: FoundPoints
) -> dict[str, Any]:
    """The prediction of what was found in a row, in the words of the project's own results."""
    task = document.tasks[row]
    example = next(iter(task.points.values()), document.example)
    height, width = (int(side) for side in found.sizes[row])
    results = []
    for k in np.flatnonzero(new).tolist():
        x, y = (float(f"{value:.4f}") for value in found.xy[row, k])
        result = _result(example, f"labelfill-{row}-{k}", names[k], (x, y), (height, width))
        results.append({**result, "score": _score(found.score[row, k])})
    return {
        "model_version": f"{MODEL} {found.model}",
        "score": _score(float(np.mean([one["score"] for one in results]))),
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
        "type": KIND,
        "original_width": size[1],
        "original_height": size[0],
        "image_rotation": 0,
        "value": {
            "x": xy[0] * 100 / size[1],
            "y": xy[1] * 100 / size[0],
            "width": example.get("value", {}).get("width", _POINT_WIDTH),
            KIND: [name],
        },
    }


def _label(table: KeypointTable, row: int, k: int, size: tuple[int, int]) -> dict[str, Any]:
    x, y = table.labels[row, k].tolist()
    return _result({}, f"{row}-{k}", table.keypoints[k], (x, y), size)


def _score(value: float) -> float:
    return round(float(value), 4)


def write_label_studio(
    table: KeypointTable, names: Sequence[str], sizes: Array, out: BinaryIO, path: Path
) -> WrittenTable:
    """A whole table as new tasks; images as local storage serves those of the file's folder."""
    return send([json_bytes(_tasks(table, names, sizes))], int(table.observed.sum()), out)


def _tasks(table: KeypointTable, names: Sequence[str], sizes: Array) -> list[dict[str, Any]]:
    further = [column for column in table.extra if column not in (IMAGE_PATH_COLUMN, TASK_ID, "image")]
    ids = table.extra.get(TASK_ID, [])
    usable = len(set(ids)) == table.rows and all(text.isdecimal() for text in ids)
    tasks: list[dict[str, Any]] = []
    for row, name in enumerate(names):
        size = int(sizes[row, 0]), int(sizes[row, 1])
        points = np.flatnonzero(table.labelled[row]).tolist()
        data = {
            "image": _LOCAL_FILES + quote(name),
            **{column: table.extra[column][row] for column in further},
        }
        annotation = {"result": [_label(table, row, k, size) for k in points]}
        tasks.append({"id": int(ids[row]) if usable else row + 1, "data": data, "annotations": [annotation]})
    return tasks
