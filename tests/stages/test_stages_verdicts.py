"""A person's verdicts, a limit of certainty and one convention for all: what `impute` does with a filling."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from labelfill.data.table import KeypointTable
from tests.drawn_tables import restored
from tests.driving import bare_table, content, done, labelfill, read_provenance
from tests.trained_runs import Trained, draw_two_sources


@pytest.fixture
def filled(small_prior: Trained, tmp_path: Path) -> Path:
    out = tmp_path / "filled.csv"
    done("impute", "--run-dir", small_prior.run, "--out", out)
    return out


def verdict(row: int, keypoint: str, action: str, xy: np.ndarray | None = None) -> str:
    """A line of the review page's file."""
    x, y = ("", "") if xy is None else (f"{value:.4f}" for value in xy.tolist())
    return f"{row},{keypoint},{action},{x},{y}"


def _corrected(small_prior: Trained, tmp_path: Path, *verdicts: str) -> tuple[Path, int, str]:
    """The table filled with verdicts; the exit code and what was said."""
    path, out = tmp_path / "corrections.csv", tmp_path / "corrected.csv"
    path.write_text("\n".join(["row,keypoint,action,x,y", *verdicts, ""]), encoding="utf-8")
    told = labelfill("impute", "--run-dir", small_prior.run, "--out", out, "--corrections", path)
    assert told.code in (0, 6), told.err
    return out, told.code, told.out


def _rows_with_two_blanks(table: KeypointTable) -> list[int]:
    blank = ~table.observed.any(axis=2)
    return np.flatnonzero((blank.sum(axis=1) >= 2) & table.labelled.any(axis=1)).tolist()


def test_verdicts_change_just_what_they_should(small_prior: Trained, filled: Path, tmp_path: Path) -> None:
    """A moved point stands where it was put and anchors the rest of its row; other rows keep every byte."""
    table, before = bare_table(small_prior.table), bare_table(filled)
    blank = ~table.observed.any(axis=2)
    rows = _rows_with_two_blanks(table)
    moved, accepted, rejected = rows[0], rows[1], int(np.flatnonzero(blank.sum(axis=1) == 1)[0])
    at = {row: int(np.flatnonzero(blank[row])[0]) for row in (moved, accepted, rejected)}
    place = (before.labels[moved, at[moved]] + [3.0, -2.5]).round(4)
    as_it_was = before.labels[accepted, at[accepted]]
    out, code, said = _corrected(
        small_prior, tmp_path,
        verdict(moved, table.keypoints[at[moved]], "moved", place),
        verdict(accepted, table.keypoints[at[accepted]], "accepted", as_it_was),
        verdict(rejected, table.keypoints[at[rejected]], "rejected"),
    )  # fmt: skip
    after = bare_table(out)
    assert restored(content(small_prior.table), table, content(out), after) == content(small_prior.table)
    assert after.labels[moved, at[moved]].tolist() == place.tolist()
    assert after.labels[accepted, at[accepted]].tolist() == as_it_was.tolist()
    assert np.isnan(after.labels[rejected, at[rejected]]).all()
    assert code == 6
    assert "rejected" in said
    changed = np.flatnonzero((~np.isclose(before.labels, after.labels, equal_nan=True)).any(axis=(1, 2)))
    assert set(changed.tolist()) <= {moved, accepted, rejected}
    other = int(np.flatnonzero(blank[moved])[1])
    assert np.abs(after.labels[moved, other] - before.labels[moved, other]).max() > 1e-3, "re-filled"
    told = {(int(line["row"]), line["keypoint"]): line for line in read_provenance(out)}
    confirmed = [key for key, line in told.items() if line["method"] == "confirmed"]
    assert confirmed == sorted((row, table.keypoints[at[row]]) for row in (moved, accepted))
    assert all(float(told[key]["sigma"]) <= 0.5 and not told[key]["flags"] for key in confirmed)
    assert (rejected, table.keypoints[at[rejected]]) not in told


def test_a_label_called_wrong_is_distrusted(small_prior: Trained, filled: Path, tmp_path: Path) -> None:
    """It keeps its bytes, anchors nothing, and stands in the list that train-final reads."""
    table, before = bare_table(small_prior.table), bare_table(filled)
    row = int(np.flatnonzero(table.labelled[:, 0] & ~table.labelled.all(axis=1))[0])
    out, _, said = _corrected(small_prior, tmp_path, verdict(row, table.keypoints[0], "wrong"))
    assert "marked as wrong, kept in the table but not used: 1 label\n" in said
    after = bare_table(out)
    assert after.labels[row, 0].tolist() == table.labels[row, 0].tolist()
    changed = np.flatnonzero((~np.isclose(before.labels, after.labels)).any(axis=(1, 2)))
    assert changed.tolist() == [row]
    listed = (tmp_path / "corrected.distrust.csv").read_text(encoding="utf-8")
    assert listed == f"row,keypoint\n{row},{table.keypoints[0]}\n"


def test_train_final_trusts_confirmed_points_fully(
    small_prior: Trained, filled: Path, tmp_path: Path
) -> None:
    """A confirmed point weighs as much as a label; a fill weighs less."""
    from labelfill.data.dataset_reading import TableRequest
    from labelfill.final.filled_table import read_filled
    from labelfill.final.targets import Heads, make_targets

    table, before = bare_table(small_prior.table), bare_table(filled)
    row, k = (int(i) for i in np.argwhere(~table.observed.any(axis=2))[0])
    out, _, _ = _corrected(
        small_prior, tmp_path, verdict(row, table.keypoints[k], "accepted", before.labels[row, k])
    )
    known = read_filled(out, None, TableRequest(filled=True), tmp_path / "cache")
    targets = make_targets(known, Heads(4), [], np.zeros(table.rows, np.int64), None)
    assert targets.weight[row, k] == 1
    others = ~table.observed.any(axis=2)
    others[row, k] = False
    assert (targets.weight[others] < 1).all()
    assert not targets.observed[row, k], "scores count labels of the table alone"


def test_uncertain_fills_stay_blank_if_asked(small_prior: Trained, filled: Path, tmp_path: Path) -> None:
    """`--max-radius R` withholds exactly the fills with larger radii; the exit code and summary say so."""
    radii = [float(line["radius"]) for line in read_provenance(filled)]
    limit = round(float(np.median(radii)), 2)
    out = tmp_path / "sure.csv"
    told = labelfill("impute", "--run-dir", small_prior.run, "--out", out, "--max-radius", limit, "--json")
    assert told.code == 6
    lines = read_provenance(out)
    assert len(lines) == sum(radius <= limit for radius in radii)
    assert max(float(line["radius"]) for line in lines) <= limit
    assert told.result["too_uncertain"] == told.result["left_blank"] > 0


def test_parquet_says_the_same(small_prior: Trained, tmp_path: Path) -> None:
    """The Parquet sidecar holds the same columns and values as the csv one."""
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    out = tmp_path / "filled.csv.gz"
    done("impute", "--run-dir", small_prior.run, "--out", out, "--parquet")
    rows = pq.read_table(tmp_path / "filled.provenance.parquet").to_pylist()
    lines = read_provenance(out)
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        assert list(row) == list(line)
        assert [type(row[name])(line[name]) for name in row] == list(row.values())


def test_harmonised_table_stands_in_one_convention(two_sources: Trained, tmp_path: Path) -> None:
    """Beside the untouched main table one in which disputed points of all rows mean the same."""
    out = tmp_path / "filled.csv"
    told = done("impute", "--run-dir", two_sources.run, "--out", out, "--harmonise")
    table, main, one = (bare_table(p) for p in (two_sources.table, out, tmp_path / "filled.harmonised.csv"))
    assert restored(content(two_sources.table), table, content(out), main) == content(two_sources.table)
    moved = ~np.isclose(main.labels, one.labels, equal_nan=True).all(axis=2)
    lines = read_provenance(tmp_path / "filled.harmonised.csv")
    stated = {(int(line["row"]), table.keypoints.index(line["keypoint"])): line for line in lines}
    assert {tuple(at) for at in np.argwhere(moved).tolist()} <= set(stated)
    methods = [line["method"] for line in lines]
    assert "harmonised" in methods
    assert "convention" not in methods
    assert str(tmp_path / "filled.harmonised.csv") in told["further"]
    truth = draw_two_sources().truth  # in the first source's convention
    for name in ("nose_tip", "mouth_center_bottom_lip"):
        k = table.keypoints.index(name)
        rows = np.flatnonzero(moved[:, k] & table.labelled[:, k])
        error = [np.abs(labels[rows, k] - truth[rows, k]).mean() for labels in (main.labels, one.labels)]
        assert error[1] < error[0]


@pytest.mark.slow
def test_a_harmonised_table_trains_a_final_network(two_sources: Trained, tmp_path: Path) -> None:
    """train-final takes the harmonised table with its own provenance, and scores it."""
    run = tmp_path / "run"
    shutil.copytree(two_sources.run, run)
    out = tmp_path / "filled.csv"
    done("impute", "--run-dir", run, "--out", out, "--harmonise")
    told = done(
        "train-final", "--run-dir", run, "--filled", tmp_path / "filled.harmonised.csv", "--epochs", "1"
    )
    assert told["evaluation rows"] > 0
