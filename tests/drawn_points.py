"""Generated keypoints as plain tables, and a folder of small images; for tests of formats."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from skimage import io

from labelfill.data.formats.visibility import HIDDEN, NOT_LABELLED, VISIBLE, visibility_columns
from labelfill.data.synthetic import draw_table
from labelfill.schema import ImageSize
from tests.trained_runs import SMALL_KEYPOINTS

NAMES = ["nose", "left eye", "é_1", "l/r"]
SIZES = [(20, 30), (40, 25), (16, 16), (20, 30), (24, 18)]

_NUMBERS = st.floats(-50, 500, allow_nan=False).filter(lambda v: v != 0) | st.integers(1, 400).map(float)


@st.composite
def points(draw: st.DrawFn) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names (K), labels (n, K, 2) and visibilities (n, K); a hidden point may have a place or none."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    rows = draw(st.integers(1, len(SIZES)))
    labels = np.full((rows, len(names), 2), np.nan)
    seen = np.zeros((rows, len(names)), int)
    for row in range(rows):
        for k in range(len(names)):
            seen[row, k] = draw(st.sampled_from([NOT_LABELLED, HIDDEN, VISIBLE]))
            if seen[row, k] == VISIBLE or (seen[row, k] == HIDDEN and draw(st.booleans())):
                labels[row, k] = draw(_NUMBERS), draw(_NUMBERS)
    if np.isnan(labels).all():
        labels[0, 0], seen[0, 0] = (3.5, 4.25), VISIBLE
    return names, labels, seen


def write_images(folder: Path) -> Path:
    for i, size in enumerate(SIZES):
        pixels = np.random.default_rng(i).integers(0, 256, size, np.uint8)
        io.imsave(folder / f"{i}.png", pixels, check_contrast=False)
    return folder


def write_points(path: Path, names: list[str], labels: np.ndarray, seen: np.ndarray | None) -> Path:
    """A csv table beside the images."""
    columns = [f"{name}_{axis}" for name in names for axis in "xy"]
    further = list(visibility_columns(tuple(names))) if seen is not None else []
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image_path", "subject", *columns, *further])
        for row in range(len(labels)):
            values = ["" if np.isnan(v) else repr(float(v)) for v in labels[row].ravel()]
            own = [] if seen is None else seen[row].tolist()
            writer.writerow([f"{row}.png", f"s{row // 2}", *values, *own])
    return path


def write_faces(folder: Path, rows: int = 40) -> np.ndarray:
    """``t.csv``: four keypoints on drawn 24x24 faces in files, gaps, a few points declared hidden; the truth.

    In row 1 a hidden point has a place; in row 2 its place is not stated.
    """
    drawn = draw_table(rows, 11, keypoints=SMALL_KEYPOINTS, image_size=ImageSize(24, 24), gaps=0.15)
    labels = drawn.labels.round(3)
    labels[1, 0], labels[2, 1] = drawn.truth[1, 0], np.nan
    seen = np.where(np.isnan(labels[..., 0]), NOT_LABELLED, VISIBLE)
    seen[1, 0] = seen[2, 1] = HIDDEN
    for row, image in enumerate(drawn.images):
        io.imsave(folder / f"{row}.png", image, check_contrast=False)
    write_points(folder / "t.csv", list(SMALL_KEYPOINTS), labels, seen)
    return drawn.truth
