"""Small files in the formats of other tools, mutated ones, and what has to hold of any of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from labelfill.data.formats import read_keypoints, write_found
from labelfill.data.table import FoundPoints
from labelfill.errors import LabelfillError

_IMAGES: list[Any] = [
    {"id": 1, "file_name": "0.png", "height": 20, "width": 30},
    {"id": "b", "file_name": "1.png"},
]
_COCO: dict[str, Any] = {
    "images": _IMAGES,
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [3, 4.5, 2, 0, 0, 0], "num_keypoints": 1,
         "bbox": [1, 2, 10, 12], "iscrowd": 0, "attributes": {"subject": "s", "age": 3}},
        {"id": 2, "image_id": "b", "category_id": 1, "keypoints": [1, 2, 1, 0, 0, 1],
         "keypoint_scores": [1, 0]},
        {"id": 3, "image_id": 1, "category_id": 2, "segmentation": {"counts": "a"}, "iscrowd": 1},
    ],
    "categories": [
        {"id": 1, "name": "face", "keypoints": ["nose", "left eye"], "skeleton": [[1, 2]]},
        {"id": 2, "name": "crowd"},
    ],
}  # fmt: skip


def _result(name: str, x: float, y: float) -> dict[str, Any]:
    return {
        "id": name, "type": "keypointlabels", "from_name": "kp", "to_name": "pic", "original_width": 30,
        "original_height": 20, "image_rotation": 0,
        "value": {"x": x, "y": y, "width": 0.75, "keypointlabels": [name]},
    }  # fmt: skip


_LABEL_STUDIO: list[Any] = [
    {"id": 3, "data": {"img": "http://host/data/upload/7/0a1b2c3d-0.png", "subject": "s"},
     "annotations": [
         {"id": 1, "was_cancelled": True, "result": []},
         {"id": 2, "result": [_result("nose", 50.0, 10.0), _result("left eye", 12.5, 1e1),
                              {"id": "c", "type": "choices", "value": {"choices": ["x"]}}]}],
     "predictions": [{"model_version": "labelfill", "result": [_result("nose", 1, 2)]}]},
    {"id": 4, "data": {"img": "/data/local-files/?d=a/1.png"}, "predictions": None,
     "annotations": [{"result": [_result("nose", 5, 95)]}]},
]  # fmt: skip
_DEEPLABCUT = (
    b"scorer,,,A,A,A,A\nbodyparts,,,nose,nose,tail,tail\ncoords,,,x,y,x,y\n"
    b"labeled-data,vid,0.png,1.5,2,,\nlabeled-data,vid,1.png,,,3,\n",
    b"scorer,A,A\r\nindividuals,m,m\r\nbodyparts,nose,nose\r\ncoords,x,y\r\nlabeled-data/vid/0.png,1.50,2\r\n",
    b"scorer,A,A\nbodyparts,nose,nose\ncoords,x,y\na/0.png,1.5,\na/1.png,,\n",
)


def _as_json(content: Any) -> tuple[bytes, ...]:
    return json.dumps(content).encode(), json.dumps(content, indent=1, ensure_ascii=False).encode()


# The readers' names: the suffix of their files, and some that they accept.
SEEDS: dict[str, tuple[str, tuple[bytes, ...]]] = {
    "coco": (".json", _as_json(_COCO)),
    "label-studio": (".json", _as_json(_LABEL_STUDIO)),
    "deeplabcut": (".csv", _DEEPLABCUT),
}
_ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, 10**400, 2**63, "", " ", "0", "nose",
    "é\x00\u202e", "\ud800", "../x", [], {}, [[]], [None], {"a": {}}, [1, 2], ["nose", "nose"],
    {"id": 1}, "2.png?d=%00",
)  # fmt: skip


def mutated(content: bytes, random: Random) -> bytes:
    """A JSON file with one to three of its values replaced, copied elsewhere, doubled or taken away."""
    whole = [json.loads(content)]
    for _ in range(random.randint(1, 3)):
        nodes = list(_nodes(whole))
        container, key = random.choice(nodes)
        other, another = random.choice(nodes)
        what = random.randrange(5)
        if what == 0:
            container[key] = copy.deepcopy(other[another])
        elif what == 1 and container is not whole:
            del container[key]
        elif what == 2 and isinstance(container, list) and container is not whole:
            container.insert(random.randrange(len(container) + 1), copy.deepcopy(container[key]))
        else:
            container[key] = copy.deepcopy(random.choice(_ODD))
    return json.dumps(whole[0], indent=random.choice((None, 1))).encode()


def _nodes(container: Any) -> Iterator[tuple[Any, Any]]:
    """Every value inside a container, as where it is: the list or object, and the index or name."""
    for key, value in enumerate(container) if isinstance(container, list) else container.items():
        yield container, key
        if isinstance(value, list | dict):
            yield from _nodes(value)


def check_refused_or_kept(path: Path) -> str:
    """Whatever bytes lie at `path`: one of our own errors, or a file whose labels survive a fill.

    The error's sentence, or nothing if the file was read and filled.
    """
    try:
        read_keypoints(path, filled=True, require_images=False)
        table = read_keypoints(path, require_images=False)
        found = FoundPoints(
            np.full(table.labels.shape, 1.5), np.full(table.labels.shape[:2], 0.5),
            np.full((table.rows, 2), 40.0), "m",
        )  # fmt: skip
        written = path.with_name(f"filled{path.suffix}")
        with open(written, "wb") as out:
            write_found(table, found, out, written.name)
    except LabelfillError as error:
        assert str(error).isprintable(), str(error)
        return str(error)
    again = read_keypoints(written, filled=True, require_images=False)
    # Label Studio's predictions of earlier fills may name further keypoints.
    assert again.keypoints[: len(table.keypoints)] == table.keypoints
    labels = again.labels[:, : len(table.keypoints)]
    assert not np.isnan(labels).any()
    np.testing.assert_array_equal(labels[table.observed], table.labels[table.observed])
    return ""
