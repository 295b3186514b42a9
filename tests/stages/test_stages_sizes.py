"""A table whose images differ in size goes through all stages, each row in px of its own image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import io

from labelfill.data.synthetic import draw_table
from labelfill.schema import ImageSize
from tests.driving import PRIOR, bare_table, check_filled, done, labelfill, read_provenance
from tests.trained_runs import SMALL_KEYPOINTS

TEN_SIZES = [
    ImageSize(*size)
    for size in (
        (32, 32), (40, 40), (48, 48), (64, 64), (40, 48), (48, 40), (56, 44), (80, 96), (30, 36), (120, 100),
    )
]  # fmt: skip


def write_ten_sizes(folder: Path, rows: int, keypoints: tuple[str, ...] = SMALL_KEYPOINTS) -> np.ndarray:
    """``t.csv`` with images of ten sizes by turns, a tenth of the labels missing; the truth (n, K, 2)."""
    tables = [
        draw_table(rows // 10, (7, i), keypoints=keypoints, image_size=size, gaps=0.1)
        for i, size in enumerate(TEN_SIZES)
    ]
    lines, truth = [",".join(["image_path", *tables[0].schema.columns])], []
    for row in range(rows // 10 * 10):
        table, i = tables[row % 10], row // 10
        io.imsave(folder / f"{row}.png", table.images[i], check_contrast=False)
        texts = ["" if np.isnan(value) else f"{value:.3f}" for value in table.labels[i].ravel()]
        lines.append(",".join([f"{row}.png", *texts]))
        truth.append(table.truth[i])
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return np.array(truth)


@pytest.mark.slow
def test_ten_sizes_go_through_all_commands(tmp_path: Path) -> None:
    """Only blanks are written, errors grow with the image, radii too, and other sizes may follow."""
    truth = write_ten_sizes(tmp_path, 80)
    table, run, filled = tmp_path / "t.csv", tmp_path / "run", tmp_path / "elsewhere" / "filled.csv"
    filled.parent.mkdir()
    trained = done("train-keypoint-models", "--data", table, "--run-dir", run, *PRIOR)
    assert trained["frame"] == "48x48"
    check_filled(table, filled, done("impute", "--run-dir", run, "--out", filled))
    after = bare_table(filled)
    assert after.observed.all()
    blank = ~bare_table(table).observed
    error = np.where(blank, after.labels - truth, np.nan)
    sides = np.array([max(size.height, size.width) for size in TEN_SIZES] * 8)
    relative = np.sqrt(np.nanmean((error / sides[:, None, None]) ** 2))
    assert relative < 0.05, "fills are meant in px of each row's own image"
    lines = read_provenance(filled)
    large = np.median([float(line["radius"]) for line in lines if sides[int(line["row"])] >= 96])
    small = np.median([float(line["radius"]) for line in lines if sides[int(line["row"])] <= 40])
    assert large > 1.5 * small
    assert done("review", "--run-dir", run)["rows"] > 0
    final = done("train-final", "--run-dir", run)
    assert final["frame"] == "48x48"
    done("predict", "--run-dir", run, "--images", table, "--out", tmp_path / "predictions.csv")
    predicted = bare_table(tmp_path / "predictions.csv")
    assert np.sqrt(np.mean(((predicted.labels - truth) / sides[:, None, None]) ** 2)) < 0.25

    one = tmp_path / "one"
    one.mkdir()
    drawn = draw_table(12, 9, keypoints=SMALL_KEYPOINTS, image_size=ImageSize(200, 160), gaps=0.3)
    for row, image in enumerate(drawn.images):
        io.imsave(one / f"{row}.png", image, check_contrast=False)
    texts = [["" if np.isnan(v) else f"{v:.2f}" for v in labels.ravel()] for labels in drawn.labels]
    rows = [",".join([f"{row}.png", *text]) for row, text in enumerate(texts)]
    (one / "t.csv").write_text("\n".join([",".join(["image_path", *drawn.schema.columns]), *rows]))
    again = tmp_path / "again.csv"
    check_filled(
        one / "t.csv", again, done("impute", "--run-dir", run, "--data", one / "t.csv", "--out", again)
    )
    error = (bare_table(again).labels - drawn.truth)[np.isnan(drawn.labels)]
    assert np.sqrt(np.mean(error**2)) < 0.1 * 200


def test_a_finished_run_of_several_sizes_is_done(tmp_path: Path) -> None:
    """The same commands again find everything done, with the cache and without."""
    write_ten_sizes(tmp_path, 60)
    how = ("--data", tmp_path / "t.csv", "--run-dir", tmp_path / "run", *PRIOR)
    done("train-keypoint-models", *how)
    assert done("train-keypoint-models", *how)["state"] == "done before"
    stated = labelfill("train-keypoint-models", *how, "--image-size", "48x48", "--json")
    assert stated.result["state"] == "done before", stated.err
    other = labelfill("train-keypoint-models", *how, "--image-size", "40x40")
    assert "image size" in other.sentence
    assert "images differ in size" in labelfill("inspect", tmp_path / "t.csv").out
