"""What a person sees at the prompt: tables in a line, as HTML and data frames, rows as pictures, help."""

from __future__ import annotations

import pydoc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labelfill
from labelfill.data.dataset import dataset_of_arrays, dataset_of_labels
from tests.driving import done
from tests.trained_runs import Trained, draw_small_table


@pytest.fixture(scope="module")
def axes() -> Any:
    pytest.importorskip("matplotlib.pyplot").switch_backend("agg")
    from matplotlib.figure import Figure

    return Figure().subplots()


@pytest.fixture(scope="module")
def filled(small_prior: Trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A filled table and its run."""
    out = tmp_path_factory.mktemp("prompt") / "filled.csv"
    done("impute", "--run-dir", small_prior.run, "--data", small_prior.table, "--out", out)
    return out, small_prior.run


def test_a_table_is_one_line() -> None:
    """Rows, keypoints, labels and images, whatever it holds; a run's arrays are not printed."""
    drawn = draw_small_table()
    known = int(np.isfinite(drawn.labels).sum())
    counts = f"100 rows, 4 keypoints, {known} of 800 coordinates labelled"
    dataset = dataset_of_arrays(drawn.labels, drawn.schema.keypoints, drawn.images, "t.csv")
    assert repr(dataset) == f"ImageDataset t.csv: {counts}, images of 24x24"
    assert repr(dataset.table) == f"KeypointTable t.csv: {counts}"
    bare = dataset_of_labels(drawn.labels, drawn.schema.keypoints, "t.csv")
    assert repr(bare) == f"Dataset t.csv: {counts}, without images"


def test_names_are_text_of_the_html_table() -> None:
    """A row per keypoint with its counts; names and titles are escaped."""
    labels = np.array([[[1.0, 2.0], [np.nan, 3.0]], [[1.0, 1.0], [np.nan, np.nan]]])
    shown = dataset_of_labels(labels, ("<b>", "nose"), "<t>.csv")._repr_html_()
    assert "&lt;t&gt;.csv" in shown
    assert "<tr><th>&lt;b&gt;</th><td>2</td><td>0</td><td>0</td></tr>" in shown
    assert "<tr><th>nose</th><td>0</td><td>1</td><td>1</td></tr>" in shown


def test_a_data_frame_holds_all_columns(filled: tuple[Path, Path]) -> None:
    """Coordinates in px below their columns' names; of a filled table a row for each fill."""
    table = labelfill.read_table(filled[0])
    frame = table.to_pandas()
    np.testing.assert_array_equal(frame[list(table.schema.columns)], table.labels.reshape(len(frame), -1))
    rows = labelfill.read_filled(*filled)
    fills = rows.to_pandas()
    assert len(fills) == rows.filled.sum()
    assert (fills["radius"] > 0).all()
    assert repr(rows).startswith("FilledRows filled.csv: 100 rows, 4 keypoints, ")
    assert "\n" not in repr(rows)


def test_a_row_is_drawn_with_its_radii(filled: tuple[Path, Path], axes: Any) -> None:
    """Labels and fills differ in shape, and each fill has the circle of its radius, in px."""
    rows = labelfill.read_filled(*filled)
    row = int(np.flatnonzero(rows.filled.any(axis=1))[0])
    drawn = labelfill.plot(rows, row, axes)
    assert drawn is axes
    assert {line.get_label(): line.get_marker() for line in axes.lines} == {"label": "o", "fill": "D"}
    circles = sorted(patch.radius for patch in axes.patches)
    assert circles == pytest.approx(sorted(rows.radius[row, rows.filled[row]]))
    assert axes.get_xlim() == (-0.5, 23.5)
    with pytest.raises(labelfill.UsageError, match="there is no row 100: the table has 100 rows"):
        labelfill.plot(rows, 100)


def test_a_table_without_images_is_drawn_on_a_plate(axes: Any) -> None:
    """Labels alone are drawn; a row without any is an empty plate."""
    labels = np.array([[[1.0, 2.0], [np.nan, 3.0]], [[np.nan, 1.0], [np.nan, np.nan]]])
    dataset = dataset_of_labels(labels, ("a", "b"), "t.csv", labelfill.ImageSize(9, 9))
    axes.clear()
    dataset.plot(0, axes)
    assert [len(line.get_xdata()) for line in axes.lines] == [1]
    axes.clear()
    dataset.plot(-1, axes)
    assert not axes.lines
    assert axes.get_title() == "row 1"


def test_pages_and_scores_are_those_of_the_commands(filled: tuple[Path, Path], tmp_path: Path) -> None:
    """The same page and the same figures; a file of one's own is not replaced unasked."""
    table, run = filled
    told = labelfill.review(run, tmp_path / "a.html", filled=table)
    by_command = done("review", "--run-dir", run, "--filled", table, "--out", tmp_path / "b.html")
    assert {**by_command, "out": told["out"]} == told
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    with pytest.raises(labelfill.UsageError, match="already exists"):
        labelfill.report(run, tmp_path / "a.html")
    scores = labelfill.evaluate(table, table)
    assert scores.overall.rmse == done("evaluate", table, table)["rmse"] == 0
    assert scores.to_pandas().loc["nose_tip", "coordinates"] == scores.keypoints["nose_tip"].coordinates
    assert repr(scores).startswith("Evaluation: RMSE 0.000 px")


def test_help_begins_with_the_public_names() -> None:
    """Every public name stands in the first screens of help(labelfill), before the packages below it."""
    text = pydoc.plain(pydoc.render_doc(labelfill))
    first = text.split("PACKAGE CONTENTS")[0]
    for name in set(labelfill.__all__) - {"__version__"}:
        assert name in first, name
    assert len(first.splitlines()) < 60
