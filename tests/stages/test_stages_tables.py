"""The same code fills tables of other keypoints, sizes and missing patterns, from start to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelfill.data.synthetic import KAGGLE_KEYPOINTS, LANDMARKS, DrawnTable, Source, draw_table, write_table
from labelfill.schema import ImageSize
from tests.driving import bare_table, check_filled, done, read_provenance

FIVE = {
    "left_eye": "left_eye_center",
    "right_eye": "right_eye_center",
    "nose": "nose_tip",
    "mouth_left": "mouth_left_corner",
    "mouth_right": "mouth_right_corner",
}
THREE = {name: FIVE[name] for name in ("left_eye", "right_eye", "nose")}
FURTHER = [name for name in LANDMARKS if name not in KAGGLE_KEYPOINTS]
SEVENTEEN = (*KAGGLE_KEYPOINTS, *FURTHER[:2])


def through_all_stages(folder: Path, drawn: DrawnTable, **how: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train, fill, train the final network and predict; what the first two said. No cell is left blank."""
    table, run, filled = folder / "t.csv", folder / "run", folder / "elsewhere" / "filled.csv"
    filled.parent.mkdir()
    write_table(table, drawn, **how)
    trained = done("train-keypoint-models", "--data", table, "--run-dir", run)
    summary = done("impute", "--run-dir", run, "--out", filled)
    check_filled(table, filled, summary)
    assert summary["left_blank"] == 0
    assert bare_table(filled).observed.all()
    final = done("train-final", "--run-dir", run)
    assert np.isfinite(final["evaluation rmse"])
    found = done("predict", "--run-dir", run, "--images", table, "--out", folder / "predictions.csv")
    assert (found["rows"], found["keypoints"]) == (drawn.rows, drawn.schema.count)
    predicted = bare_table(folder / "predictions.csv")
    assert predicted.keypoints == drawn.schema.keypoints
    assert predicted.observed.all()
    assert drawn.schema.on_image(predicted.labels).mean() > 0.5
    return trained, summary


@pytest.mark.slow
def test_five_keypoints_on_80x80(tmp_path: Path) -> None:
    """Other names, another size, a source that labels the eyes alone."""
    sources = (Source("1", 0.6), Source("2", 0.4, labels=("left_eye", "right_eye")))
    drawn = draw_table(70, 3, keypoints=FIVE, image_size=ImageSize(80, 80), sources=sources)
    trained, summary = through_all_stages(tmp_path, drawn)
    assert trained["regressors"] == ["nose", "mouth_left", "mouth_right"]
    assert trained["mirror partners"] == "used"
    assert summary["filled"] == 28 * 3 * 2


@pytest.mark.slow
def test_seventeen_keypoints_in_files_of_406x396(tmp_path: Path) -> None:
    """Images that are not square, in files beside the table, which the filled table need not lie beside."""
    sources = (Source("1", 0.7), Source("2", 0.3, labels=SEVENTEEN[:14]))
    drawn = draw_table(60, 4, keypoints=SEVENTEEN, image_size=ImageSize(406, 396), sources=sources)
    trained, _ = through_all_stages(tmp_path, drawn, images="files")
    assert len(trained["regressors"]) == 3


def test_one_keypoint(tmp_path: Path) -> None:
    """A row that lacks the only keypoint knows nothing: it is looked for in the whole image."""
    drawn = draw_table(60, 5, keypoints=("nose_tip",), image_size=ImageSize(20, 30), gaps=0.4)
    table, run, filled = tmp_path / "t.csv", tmp_path / "run", tmp_path / "filled.csv"
    write_table(table, drawn)
    done("train-keypoint-models", "--data", table, "--run-dir", run, "--image-size", "20x30")
    summary = done("impute", "--run-dir", run, "--out", filled)
    lines = check_filled(table, filled, summary)
    assert bare_table(filled).observed.all()
    assert {line["filled"] for line in lines} == {"xy"}
    done("train-final", "--run-dir", run)
    done("predict", "--run-dir", run, "--images", table, "--out", tmp_path / "predictions.csv")
    assert bare_table(tmp_path / "predictions.csv").observed.all()


@pytest.mark.slow
def test_rows_without_any_label(tmp_path: Path) -> None:
    """They are filled from the image alone, and their radii hold as those of other rows do."""
    sources = (Source("1", 0.8, rows_with_gaps=0.3), Source("2", 0.2, labels=()))
    drawn = draw_table(84, 6, keypoints=THREE, image_size=ImageSize(40, 40), sources=sources)
    through_all_stages(tmp_path, drawn)
    nothing = np.isnan(drawn.labels).all(axis=(1, 2))
    assert nothing.sum() >= 15
    within = []
    for line in read_provenance(tmp_path / "elsewhere" / "filled.csv"):
        row, k = int(line["row"]), drawn.schema.keypoints.index(line["keypoint"])
        if nothing[row]:
            error = np.hypot(*(np.array([line["x"], line["y"]], float) - drawn.truth[row, k]))
            within.append(error <= float(line["radius"]))
    assert len(within) == nothing.sum() * drawn.schema.count
    assert np.mean(within) >= 0.8, "of radii that hold in 90% of cases"


@pytest.mark.slow
def test_random_gaps(tmp_path: Path) -> None:
    """A third of the labels missing at random is one source, and no convention offset is claimed."""
    drawn = draw_table(100, 7, keypoints=THREE, image_size=ImageSize(40, 40), gaps=0.3)
    trained, summary = through_all_stages(tmp_path, drawn)
    assert trained["sources"] == {"1": 100}
    assert trained["convention offsets"] == []
    assert summary["unknown_source_rows"] == 0
    assert summary["filled"] == 2 * np.isnan(drawn.labels[..., 0]).sum()


@pytest.mark.slow
def test_regressors_of_images_alone_take_no_label_as_evidence(tmp_path: Path) -> None:
    """By --method image-only a row is filled alike whatever else it labels."""
    two = {name: FIVE[name] for name in ("nose", "mouth_left")}
    drawn = draw_table(50, 6, keypoints=two, image_size=ImageSize(24, 24), gaps=0.3)
    table, run = tmp_path / "t.csv", tmp_path / "run"
    write_table(table, drawn)
    done("train-keypoint-models", "--data", table, "--run-dir", run, "--method", "image-only")
    moved = tmp_path / "moved.csv"
    drawn.labels[:, 0] += 3.0  # a blank label stays blank
    write_table(moved, drawn)
    fills = []
    for data in (table, moved):
        done("impute", "--run-dir", run, "--data", data, "--out", data.with_suffix(".filled.csv"))
        lines = read_provenance(data.with_suffix(".filled.csv"))
        fills.append({(line["row"], line["keypoint"]): line["x"] for line in lines if line["filled"] == "xy"})
    assert len(fills[0]) > 10
    assert fills[0] == fills[1]
