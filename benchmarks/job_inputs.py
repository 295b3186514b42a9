"""The tables, images and lists that the small jobs of ``same_results`` read; made once for both checkouts.

All come from the drawn sample of one checkout's ``demo-data``. The rest is written by this module alone, so
that it does not change with the code that is compared.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from skimage import io

FOUR = ("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip")
SEVEN = (*FOUR, "mouth_left_corner", "mouth_right_corner", "mouth_center_top_lip")
SAMPLE_ROWS = 140
SMALL_ROWS = 44

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Faces:
    """Drawn faces.

    Attributes
    ----------
    labels
        (n, K, 2) in px, NaN where there is none.
    images
        (n, H, W) of uint8.
    ids
        What a column of another table names them by; empty without one.
    """

    keypoints: tuple[str, ...]
    labels: Array
    images: Array
    ids: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        return [f"{name}_{axis}" for name in self.keypoints for axis in "xy"]

    def rows(self, chosen: Array) -> Faces:
        return replace(self, labels=self.labels[chosen], images=self.images[chosen])

    def of(self, keypoints: Sequence[str]) -> Faces:
        places = [self.keypoints.index(name) for name in keypoints]
        return replace(self, keypoints=tuple(keypoints), labels=self.labels[:, places])

    def smaller(self, factor: int) -> Faces:
        """Means of squares of pixels, and labels where they are then."""
        n, height, width = self.images.shape
        blocks = self.images.reshape(n, height // factor, factor, width // factor, factor)
        return replace(
            self,
            labels=(self.labels + 0.5) / factor - 0.5,
            images=blocks.mean(axis=(2, 4)).round().astype(np.uint8),
        )

    def with_gaps(self, share: float, seed: int) -> Faces:
        """Points blank at random, at most two of a row, and in each of the first two rows half of one."""
        labels = self.labels.copy()
        drawn = np.random.default_rng(seed).random(labels.shape[:2])
        drawn[0] = drawn[1] = 1
        labels[(drawn < share) & (np.argsort(np.argsort(drawn)) < 2)] = np.nan
        labels[0, 1], labels[1, 2] = (np.nan, self.labels[0, 1, 1]), (self.labels[1, 2, 0], np.nan)
        return replace(self, labels=labels)


def read_faces(table: Path) -> Faces:
    """A table of the sample, as ``demo-data`` writes it."""
    with open(table, newline="") as file:
        lines = list(csv.DictReader(file))
    columns = [name for name in lines[0] if name.endswith(("_x", "_y"))]
    labels = np.array([[float(line[name] or "nan") for name in columns] for line in lines])
    pixels = [np.array(line.get("Image", "0").split(), dtype=np.uint8) for line in lines]
    side = round(len(pixels[0]) ** 0.5)
    return Faces(
        tuple(name[:-2] for name in columns[::2]),
        labels.reshape(len(lines), -1, 2),
        np.array(pixels).reshape(len(lines), side, side),
        tuple(line.get("ImageId", "") for line in lines),
    )


def text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


def write_lines(path: Path, lines: Iterable[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def write_table(path: Path, faces: Faces, further: dict[str, Sequence[str]] | None = None) -> None:
    """A table with grey values as text, and further columns before them."""
    columns = further or {}
    lines = [[*columns, *faces.columns, "Image"]]
    for i, image in enumerate(faces.images):
        own = [values[i] for values in columns.values()]
        lines.append([*own, *map(text, faces.labels[i].ravel()), " ".join(map(str, image.ravel()))])
    write_lines(path, lines)


def write_images(folder: Path, images: Iterable[Array]) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for i, image in enumerate(images):
        names.append(f"{i}.png")
        io.imsave(folder / names[-1], image, check_contrast=False)
    return names


def write_inputs(folder: Path) -> None:
    """Everything beside ``folder/sample``, which has to be there."""
    sample = read_faces(folder / "sample" / "training.csv")
    truth, test = (read_faces(folder / "sample" / name) for name in ("truth.csv", "test.csv"))
    _write_two_sources(folder / "two", sample, truth.labels, test)
    complete = sample.rows(np.flatnonzero(np.isfinite(sample.of(FOUR).labels).all(axis=(1, 2)))).of(FOUR)
    small = complete.smaller(4).rows(np.arange(SMALL_ROWS)).with_gaps(0.15, 5)
    _write_small(folder / "small", small)
    _write_other_formats(folder / "files", small.rows(np.arange(40)))
    _write_mixed_sizes(folder / "mixed", complete.rows(np.arange(45)).with_gaps(0.15, 6))
    _write_refused(folder / "refused")


def _write_two_sources(folder: Path, sample: Faces, truth: Array, test: Faces) -> None:
    """Two sources of 48x48 images: the table, its truth, new images, and what is asked for of those."""
    with open(folder.parent / "sample" / "truth.csv", newline="") as file:
        named = np.array([line["source"] for line in csv.DictReader(file)])
    # Sources are found where thirty rows or more label the same keypoints.
    chosen = np.sort(np.concatenate([np.flatnonzero(named == "1")[:40], np.flatnonzero(named == "2")[:48]]))
    sources = named[chosen].tolist()
    two = sample.of(SEVEN).smaller(2).rows(chosen)
    write_table(folder / "training.csv", two)
    known = replace(sample, labels=truth).of(SEVEN).smaller(2).rows(chosen)
    write_table(folder / "named.csv", two, {"site": [f"site {name}" for name in sources]})
    lines = [[str(i), sources[i], *map(text, labels.ravel())] for i, labels in enumerate(known.labels)]
    write_lines(folder / "truth.csv", [["row", "source", *known.columns], *lines])
    new = replace(test, labels=np.empty((len(test.images), 0, 2)), keypoints=()).smaller(2).rows(np.arange(9))
    write_table(folder / "test.csv", new, {"ImageId": test.ids})
    write_images(folder / "new", new.images)
    asked = [(test.ids[0], two.columns), (test.ids[1], two.columns[:8]), (test.ids[2], two.columns[::-1])]
    pairs = [(image, name) for image, columns in asked for name in columns]
    lines = [[str(3 * i + 1), *pair, ""] for i, pair in enumerate(pairs)]
    write_lines(folder / "lookup.csv", [["RowId", "ImageId", "FeatureName", "Location"], *lines])


def _write_small(folder: Path, small: Faces) -> None:
    """Four keypoints on 24x24 images, in several dresses, with the lists that name its points."""
    write_table(folder / "t.csv", small)
    write_table(folder / "points.csv", small.rows(np.arange(2, 12)))
    people = [f"p{i // 3}" for i in range(len(small.labels))]
    write_table(folder / "people.csv", small, {"subject": people})
    bare = replace(small, labels=small.labels.copy())
    bare.labels[20:24] = np.nan
    bare.labels[24:28, 1:] = np.nan
    write_table(folder / "bare.csv", bare)
    for part, rows in enumerate((np.arange(12), np.arange(12, 30), np.arange(30, SMALL_ROWS))):
        write_table(folder / "parts" / f"p{part}.csv", small.rows(rows))
    blank, labelled = (
        [
            (row, k)
            for row, k in np.argwhere(np.isnan(small.labels).all(axis=2) == is_blank).tolist()
            if np.isnan(small.labels[row, k]).all() == is_blank and row > 1
        ]
        for is_blank in (True, False)
    )
    named = [[str(row), small.keypoints[k]] for row, k in labelled[:40:8]]
    write_lines(folder / "distrust.csv", [["row", "keypoint"], *named])
    verdicts = [
        [str(row), small.keypoints[k], action, *place]
        for (row, k), action, place in zip(
            blank,
            ("accepted", "moved", "rejected", "moved"),
            (("10.5", "9.25"), ("11", "12"), ("", ""), ("8", "14.5")),
            strict=False,
        )
    ]
    verdicts.append([str(labelled[0][0]), small.keypoints[labelled[0][1]], "wrong", "", ""])
    write_lines(folder / "corrections.csv", [["row", "keypoint", "action", "x", "y"], *verdicts])


def _write_other_formats(folder: Path, faces: Faces) -> None:
    """The same faces in image files: COCO, DeepLabCut, Label Studio, Parquet."""
    faces = replace(faces, labels=faces.labels.copy())
    faces.labels[np.isnan(faces.labels).any(axis=2)] = np.nan  # half a point has no place in COCO
    names = write_images(folder, faces.images)
    height, width = faces.images.shape[1:]
    labels = [list(zip(faces.keypoints, points.tolist(), strict=True)) for points in faces.labels.round(4)]
    annotations = []
    for i, points in enumerate(labels):
        places = [[0, 0, 0] if np.isnan(x) else [x, y, 2] for _, (x, y) in points]
        if i == 3:
            places[0] = [0, 0, 1]  # declared hidden, without a place
        annotations.append({
            "id": 100 + i, "image_id": i, "category_id": 1, "iscrowd": 0,
            "keypoints": [number for place in places for number in place],
            "num_keypoints": sum(place[2] > 0 for place in places), "bbox": [0, 0, width, height],
            "area": width * height, "attributes": {"subject": f"p{i // 2}"},
        })  # fmt: skip
    coco = {
        "info": {"year": 2020, "unknown": [1, 2.50]},
        "images": [
            {"id": i, "file_name": name, "height": height, "width": width} for i, name in enumerate(names)
        ],
        "categories": [{"id": 1, "name": "face", "keypoints": list(faces.keypoints), "skeleton": []}],
        "annotations": annotations,
    }
    (folder / "coco.json").write_text(json.dumps(coco, indent=1))
    head = [["scorer", *["Ann"] * 2 * len(faces.keypoints)],
            ["bodyparts", *[name for name in faces.keypoints for _ in "xy"]],
            ["coords", *["x", "y"] * len(faces.keypoints)]]  # fmt: skip
    lines = [[name, *map(text, points.ravel())] for name, points in zip(names, faces.labels, strict=True)]
    write_lines(folder / "CollectedData_Ann.csv", [*head, *lines])
    tasks = []
    for i, points in enumerate(labels):
        result = [
            {
                "id": f"{i}-{name}", "type": "keypointlabels", "from_name": "keypoints", "to_name": "image",
                "original_width": width, "original_height": height, "image_rotation": 0,
                "value": {"x": 100 * x / width, "y": 100 * y / height, "width": 0.75,
                          "keypointlabels": [name]},
            }
            for name, (x, y) in points if not np.isnan(x)
        ]  # fmt: skip
        tasks.append({"id": i, "data": {"image": names[i]}, "annotations": [{"id": i, "result": result}]})
    (folder / "tasks.json").write_text(json.dumps(tasks, indent=1))
    _write_parquet(folder / "table.parquet", names, faces)


def _write_parquet(path: Path, names: list[str], faces: Faces) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"image_path": names, "note": [f"n{i}" for i in range(len(names))]}
    flat = faces.labels.reshape(len(names), -1).T
    columns |= {
        name: pa.array([None if np.isnan(value) else value for value in values.tolist()], pa.float64())
        for name, values in zip(faces.columns, flat, strict=True)
    }
    pq.write_table(pa.table(columns), path, compression="zstd")


def _write_mixed_sizes(folder: Path, faces: Faces) -> None:
    """Image files of five sizes by turns, cut at the right and below or made smaller."""
    images, lines = [], []
    half, third = faces.smaller(2), faces.smaller(3)
    for i in range(len(faces.labels)):
        turn = i % 5
        chosen = (faces, half, third, faces, half)[turn]
        height, width = ((96, 96), (48, 48), (32, 32), (96, 84), (42, 48))[turn]
        images.append(chosen.images[i][:height, :width])
        labels = np.where(chosen.labels[i] > [width - 1, height - 1], np.nan, chosen.labels[i])
        lines.append([f"{i}.png", *map(text, labels.ravel())])
    write_images(folder, images)
    write_lines(folder / "t.csv", [["image_path", *faces.columns], *lines])


def _write_refused(folder: Path) -> None:
    """Tables of which each has one thing wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = " ".join(["7"] * 16)
    for name, content in {
        "no_number.csv": f"a_x,a_y,Image\n1,2,{pixels}\n1,two,{pixels}\n",
        "no_partner.csv": f"a_x,b_y,Image\n1,2,{pixels}\n",
        "fields.csv": f"a_x,a_y,Image\n1,2,{pixels}\n1,2\n",
        "pixels.csv": "a_x,a_y,Image\n1,2,1 2 3 4 5\n",
        "no_file.csv": "a_x,a_y,image_path\n1,2,nowhere.png\n",
        "outside.csv": "a_x,a_y,image_path\n1,2,../../elsewhere.png\n",
        "empty.csv": "",
        "quote.csv": f'a_x,a_y,Image\n"1,2,{pixels}\n',
        "coco.json": '{"images": [], "annotations": [{"keypoints": [1, 2]}]}',
        "tasks.json": '[{"id": 1, "data": {}, "annotations": []}]',
        "broken.json": '{"images": [',
        "CollectedData_A.csv": "scorer,A,A\nbodyparts,n,n\ncoords,x,x\na,1,2\n",
        "p.parquet": "PAR1 and then nothing",
        "distrust.csv": "row,keypoint\n999,nose_tip\n",
        "corrections.csv": "row,keypoint,action,x,y\n0,nose_tip,eaten,1,2\n",
        "wrong.toml": "[final]\nepoch = 3\n",
    }.items():
        (folder / name).write_text(content)
