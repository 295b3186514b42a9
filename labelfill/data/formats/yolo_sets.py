"""What a YOLO pose data set says of itself in its ``data.yaml``: keypoints, classes, images, label files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from labelfill.data.formats.pose_library import asking
from labelfill.data.formats.text_sets import read_text, sha256_of, unpacked
from labelfill.data.images.files import folder_of
from labelfill.data.table import IMAGE_SUFFIXES
from labelfill.errors import DataError, shown

TITLE = "a YOLO pose data set"
YAML = (".yaml", ".yml")
# Class and box stand before the keypoints.
BEFORE = 5
_SPLITS = ("train", "val", "test")
_WORD = re.compile(rb"\S+")
_MOST_KEYPOINTS = 100_000


@dataclass(frozen=True)
class DataSet:
    """What a data set says of itself.

    Attributes
    ----------
    path
        Its ``data.yaml``, or a zip that holds it.
    name, description
        What ``data.yaml`` is called, and its bytes.
    packed
        The files of a zip by their names; None: they lie in the folder of `path`.
    numbers
        How many numbers a keypoint has, two or three.
    """

    path: Path
    name: str
    description: bytes
    packed: Mapping[str, bytes] | None
    keypoints: tuple[str, ...]
    classes: Mapping[int, str]
    numbers: int

    def labels(self, images: Iterable[str]) -> dict[str, bytes]:
        """The label files of images that have one in which something stands, by their names."""
        found: dict[str, bytes] = {}
        for label in dict.fromkeys(map(label_of, images)):
            file = folder_of(self.path) / label
            if self.packed is not None:
                content = self.packed.get(inside(label), b"")
            else:
                content = read_text(file) if file.is_file() else b""
            if content.strip():
                found[label] = content
        return found

    def sha256(self, labels: Mapping[str, bytes]) -> str:
        return sha256_of({self.name: self.description, **{inside(name): labels[name] for name in labels}})

    def lines(self, label: str, content: bytes) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """The number and the places of the words of each line of a label file."""
        expected, begin = BEFORE + self.numbers * len(self.keypoints), 0
        for line, text in enumerate(content.split(b"\n"), 1):
            words = [(begin + m.start(), begin + m.end()) for m in _WORD.finditer(text)]
            begin += len(text) + 1
            if words and len(words) != expected:
                raise DataError(
                    f"{self.path}, {label}, line {line}: found {len(words)} numbers, expected {expected}: "
                    f"class, box, and {self.numbers} for each of {len(self.keypoints)} keypoints"
                )
            if words:
                yield line, words


def opened(path: Path) -> tuple[DataSet, dict[str, Any]]:
    """A data set and what its ``data.yaml`` holds."""
    members = None if path.suffix.lower() in YAML else unpacked(path)
    name = path.name if members is None else next(name for name in members if is_yaml(name))
    content = read_text(path) if members is None else members[name]
    config = _config(path, content)
    keypoints, numbers = _keypoints(path, config)
    names = config.get("names")
    by_number = dict(enumerate(names)) if isinstance(names, list) else names
    classes = {n: str(v) for n, v in by_number.items()} if isinstance(by_number, dict) else {}
    return DataSet(path, name, content, members, keypoints, classes, numbers), config


def inside(name: str) -> str:
    """A name in a zip, which leads nowhere else."""
    return "/".join(part for part in PurePosixPath(name).parts if part not in ("..", "/"))


def _config(path: Path, content: bytes) -> dict[str, Any]:
    with asking(path, TITLE):
        import yaml

        config = yaml.safe_load(content)
    if not isinstance(config, dict) or "kpt_shape" not in config:
        raise DataError(f"{path}: no field kpt_shape; expected the data.yaml of a YOLO pose data set")
    return config


def _keypoints(path: Path, config: Mapping[str, Any]) -> tuple[tuple[str, ...], int]:
    """Names of the keypoints, and how many numbers each has."""
    shape = config["kpt_shape"]
    usable = isinstance(shape, list) and len(shape) == 2 and all(type(side) is int for side in shape)
    if not usable or not 0 < shape[0] < _MOST_KEYPOINTS or shape[1] not in (2, 3):
        raise DataError(f"{path}: kpt_shape is {shown(str(shape))}, expected [number of keypoints, 2 or 3]")
    names = config.get("node_names") or config.get("kpt_names")
    if isinstance(names, dict) and names:
        names = next(iter(names.values()))
    if not isinstance(names, list):
        return tuple(f"keypoint_{k}" for k in range(shape[0])), shape[1]
    if len(names) != shape[0]:
        raise DataError(f"{path}: names {len(names)} keypoints, and kpt_shape says {shape[0]}; correct one")
    return tuple(map(str, names)), shape[1]


def images_of(path: Path, config: Mapping[str, Any], base: Path) -> dict[str, str]:
    """The split of every image, by its name as seen from `base`."""
    root = base / str(config["path"]) if config.get("path") else base
    root = root if root.is_dir() else base
    found: dict[str, str] = {}
    for split in _SPLITS:
        entries = config.get(split)
        for entry in entries if isinstance(entries, list) else [entries] if entries else []:
            way = root / str(entry)
            if way.is_dir():
                files = sorted(f for f in way.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
            elif way.suffix.lower() == ".txt" and way.is_file():
                texts = read_text(way).decode("utf-8", "replace").splitlines()
                files = [way.parent / text.strip() for text in texts if text.strip()]
            else:
                raise DataError(
                    f"{path}: {split} is {shown(str(entry))}, and there is no such folder or list in {root}; "
                    "name the folder of the data set by --image-folder, or correct it"
                )
            found |= {Path(os.path.relpath(file, base)).as_posix(): split for file in files}
    return found


def label_of(image: str) -> str:
    """The label file of an image: the last folder ``images`` is ``labels``, and the suffix ``.txt``."""
    first, last = "/" + image, None
    if "/images/" in first:
        before, last = first.rsplit("/images/", 1)
        first = f"{before}/labels/{last}"
    return PurePosixPath(first[1:]).with_suffix(".txt").as_posix()


def is_yaml(name: str) -> bool:
    return name.lower().endswith(YAML) and "/" not in name
