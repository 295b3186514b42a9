"""Runs that are trained once and used by many tests; nothing may change their files."""

from __future__ import annotations

import os

# Before torch is loaded: networks as small as these lose time to a second thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from labelfill.schema import ImageSize
from labelfill.synthetic import DrawnTable, Source, draw_table, write_table


@dataclass(frozen=True)
class Trained:
    """A table and the run directory of the models trained on it."""

    table: Path
    run: Path


def _trained(folder: Path, drawn: DrawnTable, *options: str) -> Trained:
    from driving import done

    trained = Trained(folder / "t.csv", folder / "run")
    write_table(trained.table, drawn)
    done("train-keypoint-models", "--data", trained.table, "--run-dir", trained.run, *options)
    return trained


SMALL_KEYPOINTS = ("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip")


def draw_small_table() -> DrawnTable:
    """Four keypoints on 24x24 images of one source, some blank at random, some half blank."""
    drawn = draw_table(100, 5, keypoints=SMALL_KEYPOINTS, image_size=ImageSize(24, 24), gaps=0.1)
    drawn.labels[3, 1], drawn.labels[4, 2] = (np.nan, drawn.truth[3, 1, 1]), (drawn.truth[4, 2, 0], np.nan)
    return drawn


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The small table with regressors, of two epochs."""
    return _trained(tmp_path_factory.mktemp("small"), draw_small_table(), "--epochs", "2")


@pytest.fixture(scope="session")
def small_prior(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The small table filled by its shape prior alone: in no time, for tests that fill many tables."""
    return _trained(tmp_path_factory.mktemp("small_prior"), draw_small_table(), "--method", "prior")


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
    keypoints = (*SMALL_KEYPOINTS, "mouth_left_corner", "mouth_right_corner", "mouth_center_top_lip")
    size = ImageSize(48, 48)
    return draw_table(110, 2, keypoints=keypoints, image_size=size, sources=TWO_SOURCES, copies=0.1)


@pytest.fixture(scope="session")
def two_sources(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The table of two sources, with regressors."""
    return _trained(tmp_path_factory.mktemp("two_sources"), draw_two_sources())


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The demo sample, smaller than usual."""
    from driving import done

    folder = tmp_path_factory.mktemp("sample")
    done("demo-data", "--rows", 120, "--out", folder)
    done("train-keypoint-models", "--data", folder / "training.csv", "--run-dir", folder / "run")
    return Trained(folder / "training.csv", folder / "run")
