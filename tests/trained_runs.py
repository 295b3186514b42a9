"""The shared runs of ``conftest.py``: the tables that they are trained on, and copies."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelfill.data.synthetic import DrawnTable, Source, draw_table
from labelfill.runs import seal_of
from labelfill.schema import ImageSize


@dataclass(frozen=True)
class Trained:
    """A table and the run directory of the models trained on it."""

    table: Path
    run: Path


def answer_few_rows_at_once() -> None:
    """What every process does whose bytes are compared with those of the shared runs."""
    from labelfill.networks import memory

    memory.ANSWERED_AT_ONCE = 16


def copied(folder: Path, to: Path) -> Trained:
    """A copy of a folder's table and run, which knows nothing of the original's place."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    for name in ("manifest.json", "settings.toml"):
        file = to / "run" / name
        file.write_text(file.read_text().replace(f"{folder}/", f"{to}/"))
    manifest = json.loads((to / "run" / "manifest.json").read_text())
    for stage in manifest["stages"].values():  # results name places of files
        stage["seal"] = seal_of(stage["inputs"], stage["results"])
    (to / "run" / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return Trained(to / "t.csv", to / "run")


# Options of the final network of the small table: enough epochs to be stopped between.
SMALL_FINAL = ("--epochs", 3, "--second-session-epochs", 1)
# Of the table of two sources: enough epochs for a second look that pays.
TWO_SOURCES_FINAL = ("--epochs", 16)

SMALL_KEYPOINTS = ("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip")


def draw_small_table() -> DrawnTable:
    """Four keypoints on 24x24 images of one source, some blank at random, some half blank."""
    drawn = draw_table(100, 5, keypoints=SMALL_KEYPOINTS, image_size=ImageSize(24, 24), gaps=0.1)
    drawn.labels[3, 1], drawn.labels[4, 2] = (np.nan, drawn.truth[3, 1, 1]), (drawn.truth[4, 2, 0], np.nan)
    return drawn


SEVEN_KEYPOINTS = (*SMALL_KEYPOINTS, "mouth_left_corner", "mouth_right_corner", "mouth_center_top_lip")

TWO_SOURCES = (
    Source("1", 0.45, means={}),
    Source(
        "2",
        0.55,
        labels=("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip"),
        means={"nose_tip": "nose_base", "mouth_center_bottom_lip": "mouth_center"},
    ),
)


def draw_two_sources() -> DrawnTable:
    """Two sources that label nose and lip by different conventions, a tenth of the images copied across."""
    size = ImageSize(48, 48)
    return draw_table(110, 2, keypoints=SEVEN_KEYPOINTS, image_size=size, sources=TWO_SOURCES, copies=0.1)
