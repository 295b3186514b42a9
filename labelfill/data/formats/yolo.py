"""Ultralytics' YOLO pose: a ``data.yaml``, folders of images, and a text file of labels for each image.

A row is a line of a label file: class, box (centre, width, height), then x and y of each keypoint, and its
visibility where ``kpt_shape`` has three numbers: 0 not labelled, 1 labelled but hidden, 2 visible, as in
COCO. All are shares of the image. With two numbers a negative coordinate stands for a blank. The label file
of ``images/train/a.jpg`` is ``labels/train/a.txt``. Filled, the set is a zip of its labels and its
``data.yaml``.

The format: https://docs.ultralytics.com/datasets/pose/
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.data.formats.instances import PoseRow, table_of_rows
from labelfill.data.formats.kinds import Asked, Held, Kind
from labelfill.data.formats.text_sets import number, packed, packed_names, read_text, spliced
from labelfill.data.formats.visibility import (
    HIDDEN,
    NOT_LABELLED,
    VISIBLE,
    box_of,
    visibilities,
    visibility_columns,
)
from labelfill.data.formats.yolo_sets import BEFORE, TITLE, YAML, images_of, inside, is_yaml, label_of, opened
from labelfill.data.images.files import ImageFiles, folder_of
from labelfill.data.table import IMAGE_PATH_COLUMN, FoundPoints, KeypointTable, refuse_changed
from labelfill.data.units import SHARE_DECIMALS
from labelfill.errors import DataError, counted
from labelfill.schema import mirror_partners

YOLO = "yolo"
_KPT_SHAPE = re.compile(rb"^kpt_shape\s*:", re.MULTILINE)

_log = logging.getLogger("labelfill")


def read_yolo(path: Path, asked: Asked) -> KeypointTable:
    """Read a data set; all its images have to be there, as their sizes say what shares are of.

    Raises
    ------
    DataError
        If a line is not as it should be; names the label file and the line.
    UsageError
        If the extra is not installed.
    """
    data, config = opened(path)
    splits = images_of(path, config, folder_of(asked.beside or path))
    labels = data.labels(splits)
    images = {label_of(image): image for image in splits}
    found = [(n, line, words) for n, content in labels.items() for line, words in data.lines(n, content)]
    names = [images[name] for name, _, _ in found]
    files = ImageFiles(
        path, names, [line for _, line, _ in found], asked.beside, allow_outside=True,
        exif_turn=asked.reading.exif_turn,
    )  # fmt: skip
    rows, placed = [], 0
    sizes = files.sizes(show_progress=asked.show_progress).tolist()
    for image, (name, line, words), (height, width) in zip(names, found, sizes, strict=True):
        where = f"{path}, {name}, line {line}"
        values = [number(labels[name][begin:end], where, "a number") for begin, end in words]
        numbers = np.array(values[BEFORE:]).reshape(len(data.keypoints), data.numbers)
        blank, seen = _blanks(numbers, where)
        placed += int((blank & (numbers[:, :2] != 0).any(axis=1)).sum()) if data.numbers > 2 else 0
        points = np.where(blank[:, None], np.nan, numbers[:, :2] * (width, height))
        extra = {"split": splits[image], "category": data.classes.get(int(values[0]), f"{values[0]:g}")}
        if data.numbers > 2:
            texts = [f"{value:.0f}" for value in seen]
            extra |= zip(visibility_columns(data.keypoints), texts, strict=True)
        box = _box(values[1:BEFORE], height, width)
        rows.append(PoseRow(image, points, None, box, (int(height), int(width)), line, extra))
    if placed:
        _log.warning(
            "%s: %s visibility 0 and yet a place: they count as not labelled and are filled",
            path, counted(placed, "point") + (" has" if placed == 1 else " have"),
        )  # fmt: skip
    return table_of_rows(path, YOLO, data.sha256(labels), data.keypoints, rows)


def _box(shares: Sequence[float], height: float, width: float) -> tuple[float, float, float, float] | None:
    """Left, top, width and height in px of a box in shares; None if it holds all of the image, or nothing."""
    x, y, w, h = shares
    if [x, y, w, h] == [0.5, 0.5, 1, 1] or not (w > 0 and h > 0):
        return None
    return (x - w / 2) * width, (y - h / 2) * height, w * width, h * height


def _blanks(numbers: Array, where: str) -> tuple[Mask, Array]:
    """(K,): which points are blanks, and their visibilities."""
    if numbers.shape[1] == 2:  # as Ultralytics' loader has it
        blank: Mask = np.any(numbers < 0, axis=1)
        return blank, np.where(blank, NOT_LABELLED, VISIBLE).astype(np.float64)
    seen = numbers[:, 2]
    odd = ~np.isin(seen, (NOT_LABELLED, HIDDEN, VISIBLE))
    if odd.any():
        raise DataError(
            f"{where}: a visibility is {seen[odd][0]:g}, expected 0, 1 or 2; a model's answers, which state "
            "how sure they are, are no labels"
        )
    return (seen == NOT_LABELLED) | ((seen == HIDDEN) & (numbers[:, :2] == 0).all(axis=1)), seen


def table_as_yolo(table: KeypointTable, names: Sequence[str], sizes: Array, path: Path) -> list[bytes]:
    """A whole table as a new set at `path`, to be unpacked in the folder from which it names images.

    It holds ``data.yaml``, a list of all images, ``train.txt``, and label files as seen from there. A row
    without a box gets that of the whole image.
    """
    seen = visibilities(table)
    lines: dict[str, list[str]] = {}
    beyond = 0
    for row, name in enumerate(names):
        extent = sizes[row, ::-1]
        box: Sequence[float] = (0, 0, *extent.tolist())
        if table.boxes is not None and np.isfinite(table.boxes[row]).all():
            box = box_of(table.boxes[row])
        left, top, width, height = np.array(box) / np.tile(extent, 2)
        words = ["0", *(f"{share:.8g}" for share in (left + width / 2, top + height / 2, width, height))]
        for xy, v in zip(table.labels[row] / extent, seen[row].tolist(), strict=True):
            on_image = bool(((xy >= 0) & (xy <= 1)).all())
            beyond += bool(np.isfinite(xy).all()) and not on_image
            nowhere = ["0", "0", str(HIDDEN if v == HIDDEN else NOT_LABELLED)]
            words += [*(f"{share:.10g}" for share in xy), str(v)] if on_image else nowhere
        lines.setdefault(name, []).append(" ".join(words) + "\n")
    if beyond:
        _log.warning(
            "%s: %d points lie beyond their image and are left out: Ultralytics would pass over the image",
            table.path, beyond,
        )  # fmt: skip
    about = [
        "train: train.txt", "val: train.txt", "names:", "  0: object",
        f"kpt_shape: [{len(table.keypoints)}, 3]",
        f"flip_idx: {[k if p < 0 else p for k, p in enumerate(mirror_partners(table.keypoints))]}",
        f"node_names: {json.dumps(list(table.keypoints), ensure_ascii=False)}", "",
    ]  # fmt: skip
    members = {
        "data.yaml": "\n".join(about).encode(),
        "train.txt": "".join(f"./{n}\n" for n in lines).encode(),
    }
    members |= {inside(label_of(name)): "".join(found).encode() for name, found in lines.items()}
    return [packed(members)]


def filled_yolo(table: KeypointTable, found: FoundPoints) -> list[bytes]:
    """A zip of ``data.yaml`` and the label files: fills with visibility 1, other bytes as they were."""
    data, _ = opened(table.path)
    labels = data.labels(table.extra[IMAGE_PATH_COLUMN])
    refuse_changed(table, data.sha256(labels))
    order = [table.keypoints.index(name) for name in data.keypoints]
    new: Mask = np.all(found.new(table), axis=2)[:, order]
    shares = found.xy[:, order] / _extents(table)
    beyond = int((new & ((shares < 0) | (shares > 1)).any(axis=2)).sum())
    if beyond:
        _log.warning(
            "%s: %s beyond the image, for which Ultralytics would pass over the whole image: written on its "
            "edge; the sidecar holds the place",
            table.path, "1 fill lies" if beyond == 1 else f"{beyond:,} fills lie",
        )  # fmt: skip
    filled, row = {data.name: data.description}, 0
    for name, content in labels.items():
        places: list[tuple[int, int]] = []
        texts: list[bytes] = []
        for _, words in data.lines(name, content):
            for k in np.flatnonzero(new[row]).tolist():
                first = BEFORE + data.numbers * k
                places += words[first : first + data.numbers]
                x, y = (b"%.*f" % (SHARE_DECIMALS, share) for share in shares[row, k].clip(0, 1).tolist())
                texts += [x, y, b"%d" % HIDDEN][: data.numbers]  # it has a place, and nobody saw it
            row += 1
        filled[inside(name)] = spliced(content, places, texts)
    return [packed(filled)]


def _extents(table: KeypointTable) -> Array:
    """(n, 1, 2), px: what x and y are shares of."""
    assert table.stated_sizes is not None  # the reader has measured all images
    return table.stated_sizes[:, None, ::-1]


def _held(table: KeypointTable) -> Held:
    extents = _extents(table)
    return lambda row, xy: np.clip(xy, 0, extents[row, 0])


def _begins(path: Path, begin: bytes) -> bool:
    if not begin:
        return any(map(is_yaml, packed_names(path)))
    if path.suffix.lower() not in YAML:
        return False
    return _KPT_SHAPE.search(begin) is not None or _KPT_SHAPE.search(read_text(path)) is not None


def _files(path: Path) -> list[Path]:
    """The description and every label file; all text files of ``labels`` where images are elsewhere."""
    if path.suffix.lower() not in YAML:
        return [path]
    folder = folder_of(path)
    try:
        images = images_of(path, opened(path)[1], folder)
        labels = [folder / name for name in dict.fromkeys(map(label_of, images))]
    except DataError:
        labels = sorted((folder / "labels").rglob("*.txt"))
    return [path, *(file for file in labels if file.is_file())]


YOLO_KIND = Kind(
    title=TITLE,
    suffix=".zip",
    read=read_yolo,
    begins=_begins,
    fill=filled_yolo,
    lacks="has no place for scores",
    in_px=True,
    held=_held,
    files=_files,
)
