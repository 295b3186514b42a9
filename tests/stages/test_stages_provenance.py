"""What the sidecar of a filled table says of each fill."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from labelfill.data.images.identity import exact_ids
from labelfill.data.synthetic import DrawnTable, write_table
from tests.driving import PRIOR, bare_table, check_filled, done, labelfill, read_provenance
from tests.trained_runs import Trained, draw_small_table, draw_two_sources


@pytest.fixture(scope="module")
def filled(two_sources: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of two sources, filled."""
    out = tmp_path_factory.mktemp("filled") / "filled.csv"
    check_filled(two_sources.table, out, done("impute", "--run-dir", two_sources.run, "--out", out))
    return out


def test_half_a_point_is_half_filled(small: Trained, tmp_path: Path) -> None:
    """Where only x or only y is blank only that one is filled, near where the whole point would be."""
    summary = done("impute", "--run-dir", small.run, "--out", tmp_path / "filled.csv")
    lines = check_filled(small.table, tmp_path / "filled.csv", summary)
    by_cell = {(int(line["row"]), line["keypoint"]): line for line in lines}
    for row, keypoint, axis in ((3, "right_eye_center", "x"), (4, "nose_tip", "y")):
        assert by_cell[row, keypoint]["filled"] == axis
    assert Counter(line["filled"] for line in lines)["xy"] == len(lines) - 2
    drawn = draw_small_table()
    after = bare_table(tmp_path / "filled.csv").labels
    assert np.abs(after[3, 1, 0] - drawn.truth[3, 1, 0]) < 6
    assert np.abs(after[4, 2, 1] - drawn.truth[4, 2, 1]) < 6


def test_two_sources_are_found(two_sources: Trained) -> None:
    """The run that the other tests look at has two sources and disputes what was drawn elsewhere."""
    trained = done("train-keypoint-models", "--data", two_sources.table, "--run-dir", two_sources.run)
    assert trained["state"] == "done before"
    drawn = draw_two_sources()
    assert trained["sources"] == {name: drawn.sources.count(name) for name in ("1", "2")}
    disputed = {offset["keypoint"] for offset in trained["convention offsets"]}
    assert disputed == {"nose_tip", "mouth_center_bottom_lip"}


def test_fills_lie_where_they_should(filled: Path) -> None:
    """Though regressors of one epoch know little, disputed anchors lead no fill astray, and radii hold."""
    drawn = draw_two_sources()
    lines = [line for line in read_provenance(filled) if line["method"] != "copy"]
    cells = [(int(line["row"]), drawn.schema.keypoints.index(line["keypoint"])) for line in lines]
    found = np.array([[float(line["x"]), float(line["y"])] for line in lines])
    error = found - np.array([drawn.truth[cell] for cell in cells])
    within = np.linalg.norm(error, axis=1) <= [float(line["radius"]) for line in lines]
    assert np.abs(error.mean(axis=0)).max() < 0.7
    assert np.sqrt(np.mean(error**2)) < 1.7
    assert np.mean(within) > 0.75


def test_copies_give_their_label(filled: Path) -> None:
    """A blank in a row whose image also stands in a row that labels it is a copy of that label."""
    drawn = draw_two_sources()
    same = exact_ids(drawn.images)
    labelled = np.isfinite(drawn.labels).all(axis=2)
    after, lines = bare_table(filled).labels, {}
    for line in read_provenance(filled):
        lines[int(line["row"]), drawn.schema.keypoints.index(line["keypoint"])] = line
    copies = 0
    for row in range(drawn.rows):
        twins = np.flatnonzero((same == same[row]) & (np.arange(drawn.rows) != row))
        for k in np.flatnonzero(~labelled[row]):
            giving = twins[labelled[twins, k]]
            assert (lines[row, k]["method"] == "copy") == (len(giving) > 0)
            if len(giving):
                np.testing.assert_allclose(
                    after[row, k], np.median(drawn.labels[giving, k], axis=0), atol=6e-5
                )
                copies += 1
    assert copies >= 4


def one_image(drawn: DrawnTable) -> DrawnTable:
    """Three rows of one image: one as source 1 labels it, two as source 2 does, one of them without nose."""
    first = next(row for row in range(drawn.rows) if np.isfinite(drawn.labels[row]).all())
    second = drawn.rows - 1
    rows = [first, second, second, *range(first + 1, first + 4)]
    images, labels = drawn.images[rows].copy(), drawn.labels[rows].copy()
    images[1:3] = images[0]
    nose = drawn.schema.keypoints.index("nose_tip")
    assert np.isfinite(labels[1, nose]).all()
    labels[2, nose] = np.nan
    per_row = {name: getattr(drawn, name)[rows] for name in ("truth", "own_truth", "copy_of", "mirrored")}
    sources = tuple(drawn.sources[row] for row in rows)
    return DrawnTable(drawn.schema, images, labels, sources=sources, **per_row)


def test_a_copy_keeps_to_its_own_convention(two_sources: Trained, tmp_path: Path) -> None:
    """A disputed keypoint is copied from a row of the same source; others from any row."""
    drawn = one_image(draw_two_sources())
    write_table(tmp_path / "t.csv", drawn)
    out = tmp_path / "filled.csv"
    summary = done("impute", "--run-dir", two_sources.run, "--data", tmp_path / "t.csv", "--out", out)
    lines = check_filled(tmp_path / "t.csv", out, summary)
    after, nose = bare_table(out).labels, drawn.schema.keypoints.index("nose_tip")
    np.testing.assert_allclose(after[2, nose], drawn.labels[1, nose], atol=6e-5)
    corner = drawn.schema.keypoints.index("mouth_left_corner")
    np.testing.assert_allclose(after[2, corner], drawn.labels[0, corner], atol=6e-5)
    told = {(int(line["row"]), line["keypoint"]): (line["method"], line["convention"]) for line in lines}
    assert told[2, "nose_tip"] == ("copy", "2")
    assert told[2, "mouth_left_corner"] == ("copy", "1")


@pytest.mark.slow
def test_a_disputed_blank_is_filled_in_its_own_convention(two_sources: Trained, tmp_path: Path) -> None:
    """A row of source 2 that lacks its nose gets one where source 2 marks it, and the sidecar says so."""
    drawn = draw_two_sources()
    nose = drawn.schema.keypoints.index("nose_tip")
    chosen = [row for row in range(drawn.rows) if drawn.sources[row] == "2" and drawn.copy_of[row] < 0][:12]
    drawn.labels[chosen, nose] = np.nan
    write_table(tmp_path / "t.csv", drawn)
    out = tmp_path / "filled.csv"
    summary = done("impute", "--run-dir", two_sources.run, "--data", tmp_path / "t.csv", "--out", out)
    lines = check_filled(tmp_path / "t.csv", out, summary)
    mine = [line for line in lines if int(line["row"]) in chosen and line["keypoint"] == "nose_tip"]
    assert {(line["method"], line["convention"]) for line in mine if line["method"] != "copy"} == {
        ("convention", "2")
    }
    assert {line["convention"] for line in lines if line["keypoint"] == "mouth_left_corner"} == {"1"}
    found = bare_table(out).labels[chosen, nose]
    own, other = (
        np.abs(np.median(found - truth[chosen, nose], axis=0)).max()
        for truth in (drawn.own_truth, drawn.truth)
    )
    assert own < other


@pytest.mark.slow
def test_rows_of_no_known_source_are_counted(two_sources: Trained, tmp_path: Path) -> None:
    """Rows whose labels tell of no source get wider radii, and the summary and the list of sources say so."""
    drawn = draw_two_sources()
    drawn.labels[:5] = np.nan
    write_table(tmp_path / "t.csv", drawn)
    out = tmp_path / "filled.csv"
    summary = done("impute", "--run-dir", two_sources.run, "--data", tmp_path / "t.csv", "--out", out)
    lines = check_filled(tmp_path / "t.csv", out, summary)
    assert summary["unknown_source_rows"] == 5
    unknown = [entry for entry in summary["by_source"] if "unknown-source" in entry["flags"]]
    assert {entry["source"] for entry in unknown} == {""}
    assert sum(e["points"] for e in unknown) == sum(int(line["row"]) < 5 for line in lines)
    copied = {int(line["row"]) for line in lines if line["method"] == "copy"}
    assert copied - set(range(5)), "the table has copies"


@pytest.mark.slow
@pytest.mark.parametrize("slip", [1000.0, 1e300])
def test_a_lost_decimal_point_harms_nobody(tmp_path: Path, slip: float) -> None:
    """A label far beyond the image is named and stays as it is, and no fill is led astray by it."""
    drawn = draw_small_table()
    drawn.labels[7, 0], drawn.labels[7, 1, 0] = slip, np.nan
    write_table(tmp_path / "t.csv", drawn)
    run, out = tmp_path / "run", tmp_path / "filled.csv"
    trained = labelfill("train-keypoint-models", "--data", tmp_path / "t.csv", "--run-dir", run, *PRIOR)
    assert "row 7 (line 9), column 'left_eye_center_x'" in trained.err
    assert "lies far outside the image" in trained.err
    summary = done("impute", "--run-dir", run, "--out", out)
    check_filled(tmp_path / "t.csv", out, summary)
    after = bare_table(out).labels
    np.testing.assert_array_equal(after[7, 0], slip)
    assert np.abs(after[7, 1] - drawn.truth[7, 1]).max() < 3
    final = done("train-final", "--run-dir", run)
    assert final["evaluation rmse"] < 8
