"""A folder of ``.pts`` files, one for each image, as 300-W and AFW have them.

``version: 1``, ``n_points: 68``, and between braces a line of x and y for each point, counted from 1: the
centre of the top left pixel is (1, 1). ``nan nan`` is a blank. The image is the file of the same name. Files
have no names for points: 68 of them get those of the usual scheme, others numbers.

The format: https://ibug.doc.ic.ac.uk/resources/300-W/
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.data.formats.instances import PoseRow, table_of_rows
from labelfill.data.formats.kinds import Asked, Kind
from labelfill.data.formats.text_sets import (
    number,
    packed,
    packed_names,
    read_text,
    sha256_of,
    spliced,
    unpacked,
)
from labelfill.data.images.files import folder_of
from labelfill.data.table import IMAGE_SUFFIXES, FoundPoints, KeypointTable, refuse_changed
from labelfill.errors import DataError, shown

PTS = "pts"
# The first pixel is 1 in these files, and 0 here.
_FIRST = 1.0
_POINTS_OF_300_W = 68
_HEAD = re.compile(rb"\s*version:\s*\d+\s+n_points:\s*(\d+)\s*\{")
_WORD = re.compile(rb"[^\s{}]+")


def _names(count: int) -> list[str]:
    return _names_of_68() if count == _POINTS_OF_300_W else [f"point_{k + 1}" for k in range(count)]


def _names_of_68() -> list[str]:
    """The points of 300-W in their order, named so that mirror partners are found; sides are the person's."""

    def numbered(part: str, count: int, *, backwards: bool = False) -> list[str]:
        numbers = range(count, 0, -1) if backwards else range(1, count + 1)
        return [f"{part}_{n}" for n in numbers]

    return [
        *numbered("right_jaw", 8), "chin", *numbered("left_jaw", 8, backwards=True),
        *numbered("right_brow", 5), *numbered("left_brow", 5, backwards=True),
        *numbered("nose_bridge", 4),
        *numbered("right_nostril", 2), "nose_base", *numbered("left_nostril", 2, backwards=True),
        "right_eye_outer", "right_eye_top_1", "right_eye_top_2", "right_eye_inner", "right_eye_bottom_2",
        "right_eye_bottom_1",
        "left_eye_inner", "left_eye_top_2", "left_eye_top_1", "left_eye_outer", "left_eye_bottom_1",
        "left_eye_bottom_2",
        "right_mouth_corner", *numbered("right_lip_top", 2), "lip_top",
        *numbered("left_lip_top", 2, backwards=True),
        "left_mouth_corner", *numbered("left_lip_bottom", 2), "lip_bottom",
        *numbered("right_lip_bottom", 2, backwards=True),
        "right_mouth_inner", "right_inner_lip_top", "inner_lip_top", "left_inner_lip_top",
        "left_mouth_inner", "left_inner_lip_bottom", "inner_lip_bottom", "right_inner_lip_bottom",
    ]  # fmt: skip


def read_pts(path: Path, asked: Asked) -> KeypointTable:
    """Read a folder of ``.pts`` files, or a zip of them.

    Raises
    ------
    DataError
        If one of them is none; names it and the line.
    """
    members = _members(path)
    folder = folder_of(asked.beside or path)
    rows: list[PoseRow] = []
    counts: dict[int, str] = {}
    for name, content in members.items():
        points = [
            [number(content[begin:end], f"{path}, {name}", "a coordinate") - _FIRST for begin, end in place]
            for place in _places(path, name, content)
        ]
        counts.setdefault(len(points), name)
        image = _image_of(folder, name)
        rows.append(PoseRow(image, np.array(points, np.float64).reshape(-1, 2), line=1, extra={"file": name}))
        if len(counts) > 1:
            (first, one), (other, another) = counts.items()
            raise DataError(
                f"{path}: {shown(one)} has {first} points and {shown(another)} has {other}; put files of "
                "different points in different folders"
            )
    return table_of_rows(path, PTS, sha256_of(members), _names(*counts), rows)


def _members(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        files = _files(path)
        return {file.relative_to(path).as_posix(): read_text(file) for file in files}
    return {name: content for name, content in sorted(unpacked(path).items()) if _is_pts(name)}


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if _is_pts(file.name) and file.is_file())


def _is_pts(name: str) -> bool:
    return name.lower().endswith(".pts")


def _places(path: Path, name: str, content: bytes) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Begin and end of x and of y of each point of a file."""
    head = _HEAD.match(content)
    if head is None:
        raise DataError(
            f"{path}, {name}: expected version, n_points and an opening brace, as 300-W's files have"
        )
    end = content.find(b"}", head.end())
    words = [m.span() for m in _WORD.finditer(content, head.end(), len(content) if end < 0 else end)]
    count = int(head[1]) if len(head[1]) < 7 else -1  # more than any set has
    if end < 0 or count < 1 or len(words) != 2 * count:
        raise DataError(
            f"{path}, {name}: found {len(words)} numbers{'' if end >= 0 else ' and no closing brace'}, "
            f"expected x and y of {shown(head[1])} points between braces"
        )
    return zip(words[::2], words[1::2], strict=True)


def _image_of(folder: Path, name: str) -> str:
    stem = name[: -len(".pts")]
    ways = [f"{stem}{suffix}" for end in sorted(IMAGE_SUFFIXES) for suffix in (end, end.upper())]
    return next((way for way in ways if (folder / way).is_file()), f"{stem}.jpg")


def filled_pts(table: KeypointTable, found: FoundPoints) -> list[bytes]:
    """A zip of all files, with coordinates in the place of blanks; every other byte stays."""
    members = _members(table.path)
    refuse_changed(table, sha256_of(members))
    order = [table.keypoints.index(name) for name in _names(len(table.keypoints))]
    new, xy = found.new(table)[:, order], found.xy[:, order] + _FIRST
    filled: Mapping[str, bytes] = {
        name: _filled(table.path, name, content, new[row], xy[row], found)
        for row, (name, content) in enumerate(members.items())
    }
    return [packed(filled)]


def _filled(path: Path, name: str, content: bytes, new: Mask, xy: Array, found: FoundPoints) -> bytes:
    places = [span for pair in _places(path, name, content) for span in pair]
    where = np.flatnonzero(new.ravel()).tolist()
    return spliced(content, [places[i] for i in where], [found.text(xy.ravel()[i]) for i in where])


def _begins(path: Path, begin: bytes) -> bool:
    """Whether a folder or a zip holds such files; one of them alone is a file of one image."""
    if os.path.isdir(path):  # never an error, as of a folder that may not be entered
        return next((True for file in path.rglob("*") if _is_pts(file.name)), False)
    return not begin and any(map(_is_pts, packed_names(path)))


PTS_KIND = Kind(
    title="a set of .pts files",
    suffix=".zip",
    read=read_pts,
    begins=_begins,
    fill=filled_pts,
    lacks="has no place for scores",
    in_px=True,
    files=_files,
)
