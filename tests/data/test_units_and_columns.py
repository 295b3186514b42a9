"""Coordinates in shares of the image, and columns of images and likelihoods as people name them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.formats import read_keypoints
from labelfill.data.reading_options import ReadingOptions
from labelfill.data.units import from_px, likely_unit, to_px
from labelfill.errors import DataError, UsageError
from labelfill.final.filled_table import FilledRequest, read_training_table
from labelfill.runs import RunDirectory
from labelfill.settings import Coordinates, FinalModelSettings
from tests.driving import PRIOR, labelfill

SIZE = 48
UNITS: tuple[Coordinates, ...] = ("share", "centred")


def labels_of(rows: int = 60) -> np.ndarray:
    random = np.random.default_rng(0)
    mean = np.array([[33, 18], [15, 18], [24, 30]], float)
    return mean + random.normal(0, 2, (rows, 1, 2)) + random.normal(0, 0.5, (rows, 3, 2))


def written(
    folder: Path,
    labels: np.ndarray,
    *,
    column: str = "image_path",
    further: dict[str, list[str]] | None = None,
) -> Path:
    """A table with image files, every third row without the last keypoint."""
    path = folder / "t.csv"
    further = further or {}
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["a_x", "a_y", "b_x", "b_y", "c_x", "c_y", *further, column])
        for row, points in enumerate(labels):
            texts = [
                "" if np.isnan(v) or (k > 3 and row % 3 == 0) else repr(float(v))
                for k, v in enumerate(points.ravel())
            ]
            table.writerow([*texts, *(values[row] for values in further.values()), f"{row}.png"])
            image = np.random.default_rng(row).integers(0, 256, (SIZE, SIZE), np.uint8)
            Image.fromarray(image).save(folder / f"{row}.png")
    return path


@pytest.mark.parametrize("unit", UNITS)
def test_shares_are_refused_and_read_when_they_are_named(unit: Coordinates, tmp_path: Path) -> None:
    """The sentence names the option; the fills are the same as in px, written in the table's unit."""
    sizes = np.full((60, 2), float(SIZE))
    (tmp_path / "px").mkdir()
    in_px = written(tmp_path / "px", labels_of())
    in_unit = written(tmp_path, from_px(labels_of(), unit, sizes))
    refused = labelfill("train-keypoint-models", *PRIOR, "--data", in_unit, "--run-dir", tmp_path / "run")
    assert refused.code == 3
    assert f"pass --coordinates {unit} " in refused.sentence
    found = {}
    for name, path, option in (("px", in_px, ()), ("unit", in_unit, ("--coordinates", unit))):
        run, out = tmp_path / f"run-{name}", tmp_path / f"filled-{name}.csv"
        done = labelfill("train-keypoint-models", *PRIOR, "--data", path, "--run-dir", run, *option)
        assert done.code == 0, done.err
        folder = ("--image-folder", path.parent)
        assert labelfill("impute", "--run-dir", run, "--out", out, *folder).code == 0
        found[name] = read_keypoints(out).labels
    np.testing.assert_allclose(to_px(found["unit"], unit, sizes), found["px"], atol=1e-3)
    assert np.isfinite(found["unit"]).all()
    before, after = in_unit.read_text().splitlines(), (tmp_path / "filled-unit.csv").read_text().splitlines()
    assert before[2] == after[2], "a complete row keeps its text"


def test_units_come_back_as_they_were() -> None:
    sizes = np.array([[20.0, 40.0]])
    labels = np.random.default_rng(0).uniform(0, 20, (1, 5, 2))
    for unit in UNITS:
        np.testing.assert_allclose(to_px(from_px(labels, unit, sizes), unit, sizes), labels)
        assert likely_unit(from_px(labels, unit, sizes), sizes) == unit


def test_inspect_says_that_labels_look_like_shares(tmp_path: Path) -> None:
    path = written(tmp_path, labels_of() / SIZE)
    assert "--coordinates share" in labelfill("inspect", path, "--json").result["findings"][0]
    assert labelfill("inspect", path, "--coordinates", "share", "--json").result["findings"] == []


def test_labels_that_cover_hardly_any_of_the_image_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_dataset(written(tmp_path, labels_of() / 25 + 10))
    assert "all labels lie within" in caplog.text


def test_shares_without_images_need_a_size(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a_x,a_y\n0.25,0.5\n0.3,0.4\n")
    asked = TableRequest(require_images=False, reading=ReadingOptions(coordinates="share"))
    with pytest.raises(UsageError, match="--image-size"):
        read_dataset(path, asked)


def test_scores_are_not_mixed_between_units(tmp_path: Path) -> None:
    share, px = tmp_path / "share.csv", tmp_path / "px.csv"
    share.write_text("a_x,a_y\n0.25,0.5\n0.3,0.4\n")
    px.write_text("a_x,a_y\n12,24\n14,19\n")
    assert "share.csv contains shares" in labelfill("evaluate", share, px).sentence
    alike = labelfill("evaluate", share, share)
    assert alike.code == 0
    assert "so are the errors" in alike.err


@pytest.mark.parametrize("column", ["filename", "file_name", "image_id", "path", "image", "Photo"])
def test_a_column_of_image_files_may_have_any_name(column: str, tmp_path: Path) -> None:
    """Named by the option; usual names are offered where it is missing."""
    path = written(tmp_path, labels_of(), column=column)
    with pytest.raises(DataError, match="no column 'Image'") as refused:
        read_dataset(path)
    offered = f"is {column!r} the image? then pass --image-column {column}" in str(refused.value)
    assert offered == (column != "Photo")
    findings = labelfill("inspect", path, "--json").result["findings"]
    assert any(f"--image-column {column}" in finding for finding in findings) == offered
    dataset = read_dataset(path, TableRequest(reading=ReadingOptions(image_column=column)))
    assert dataset.images is not None
    assert dataset.images.shape == (60, SIZE, SIZE)


def test_grey_values_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a_x,a_y,pixels\n0,1,1 2 3 4\n1,1,5 6 7 8\n")
    images = read_dataset(path, TableRequest(reading=ReadingOptions(image_column="pixels"))).images
    assert images is not None
    assert images.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]


def test_parquet_has_the_same_columns(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    written(tmp_path, labels_of())
    files = [f"{row}.png" for row in range(60)]
    columns = {"a_x": labels_of()[:, 0, 0], "a_y": labels_of()[:, 0, 1], "filename": files}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="--image-column filename"):
        read_dataset(tmp_path / "t.parquet")
    reading = ReadingOptions(image_column="filename")
    images = read_dataset(tmp_path / "t.parquet", TableRequest(reading=reading)).images
    assert images is not None
    assert len(images) == 60


@pytest.mark.parametrize("ending", ["likelihood", "score", "confidence"])
def test_points_of_small_likelihood_are_holes(ending: str, tmp_path: Path) -> None:
    """They are filled; what is sure enough, or says nothing of it, stays as it is."""
    likely = np.random.default_rng(3).random((60, 3))
    further = {
        f"{name}_{ending}": ["" if row == 0 else f"{likely[row, k]:.3f}" for row in range(60)]
        for k, name in enumerate("abc")
    }
    path = written(tmp_path, labels_of(), further=further)
    reading = ReadingOptions(min_likelihood=0.6)
    table, before = read_keypoints(path, reading=reading), read_keypoints(path)
    hole = likely.round(3) < 0.6
    hole[0] = False
    assert np.array_equal(table.labelled, before.labelled & ~hole)
    run = tmp_path / "run"
    options = ("--data", path, "--run-dir", run)
    assert labelfill("train-keypoint-models", *PRIOR, *options, "--min-likelihood", "0.6").code == 0
    assert labelfill("impute", "--run-dir", run, "--out", tmp_path / "f.csv").code == 0
    after = read_keypoints(tmp_path / "f.csv").labels
    assert np.isfinite(after).all()
    assert np.array_equal(after[table.observed], before.labels[table.observed])
    final = ("train-final", "--run-dir", run, "--filled", tmp_path / "f.csv", "--epochs", "1")
    assert labelfill(*final).code == 0, "fills are fills, whatever the column of likelihoods says"


def test_unsure_points_that_stay_blank_are_no_labels(tmp_path: Path) -> None:
    """What was too uncertain to be filled keeps its bytes, and nothing learns from it."""
    likely = np.random.default_rng(3).random((60, 3))
    further = {f"{name}_score": [f"{p:.3f}" for p in likely[:, k]] for k, name in enumerate("abc")}
    path, run, out = written(tmp_path, labels_of(), further=further), tmp_path / "run", tmp_path / "f.csv"
    options = ("--data", path, "--run-dir", run)
    assert labelfill("train-keypoint-models", *PRIOR, *options, "--min-likelihood", "0.6").code == 0
    assert labelfill("impute", "--run-dir", run, "--out", out, "--max-radius", "2").code == 6
    with RunDirectory.read_only(run) as opened:
        for original in (None, path):
            asked = FilledRequest(out, original)
            filled, _ = read_training_table(opened, opened, asked, FinalModelSettings())
            left = np.isnan(filled.dataset.table.labels)
            assert left.any()
            assert not filled.observed[left].any()
            raw = read_keypoints(out, filled=True).labels
            assert np.isfinite(raw[left]).any(), "the table still holds what stood there"


def test_a_likelihood_that_is_none_is_told(tmp_path: Path) -> None:
    reading = ReadingOptions(min_likelihood=0.6)
    path = written(tmp_path, labels_of(), further={"a_score": ["sure"] * 60})
    with pytest.raises(DataError, match=r"row 0 \(line 2\), column 'a_score': found 'sure'"):
        read_keypoints(path, reading=reading)
    with pytest.raises(DataError, match="no column of likelihoods"):
        read_keypoints(written(tmp_path, labels_of()), reading=reading)
