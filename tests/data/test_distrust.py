"""Distrusted labels keep their bytes, teach nothing, anchor nothing, and count in no score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelfill.data.distrust import write_distrust
from labelfill.data.table import KeypointTable, read_table
from labelfill.errors import DataError
from labelfill.reports.scores import ScoreRequest, evaluate
from tests.driving import done, labelfill
from tests.trained_runs import Trained


@pytest.fixture
def listed(small_prior: Trained, tmp_path: Path) -> tuple[Path, KeypointTable, tuple[int, str]]:
    """The left eye of a row that lacks another point, distrusted."""
    table = read_table(small_prior.table)
    row = int(np.flatnonzero(table.labelled[:, 0] & ~table.labelled.all(axis=1))[5])
    path = tmp_path / "distrust.csv"
    write_distrust(path, [(row, "left_eye_center")])
    return path, table, (row, "left_eye_center")


def _with(table: KeypointTable, out: Path, row: int, k: int, text: bytes) -> Path:
    """A copy of the table in which one point has other text."""
    data = table.path.read_bytes()
    for begin, end in sorted(table.field_spans[row, k].tolist(), reverse=True):
        data = data[:begin] + text + data[end:]
    out.write_bytes(data)
    return out


@pytest.mark.slow
def test_what_a_distrusted_label_says_has_no_influence(
    listed: tuple[Path, KeypointTable, tuple[int, str]], tmp_path: Path
) -> None:
    """Two tables that differ in a distrusted label only get the same fills, and keep that label's bytes."""
    path, table, (row, _) = listed
    outputs = []
    for name, text in (("a", b"3.25"), ("b", b"19.0")):
        copy = _with(table, tmp_path / f"{name}.csv", row, 0, text)
        run = tmp_path / name
        done(
            "train-keypoint-models", "--data", copy, "--run-dir", run, "--method", "prior", "--distrust", path
        )
        done("impute", "--run-dir", run, "--out", tmp_path / f"{name}_filled.csv")
        filled = read_table(tmp_path / f"{name}_filled.csv")
        assert filled.labels[row, 0].tolist() == [float(text)] * 2
        filled.labels[row, 0] = 0
        outputs.append(filled.labels)
        listed_beside = (tmp_path / f"{name}_filled.distrust.csv").read_text()
        assert listed_beside == path.read_text(), "impute takes the list that the models were trained with"
    assert np.array_equal(*outputs, equal_nan=True)


def test_a_trusted_label_has_influence(
    listed: tuple[Path, KeypointTable, tuple[int, str]], small_prior: Trained, tmp_path: Path
) -> None:
    """Without the list the same label moves the fills of its row: the list is what switches it off."""
    path, table, (row, _) = listed
    copy = _with(table, tmp_path / "moved.csv", row, 0, b"19.0")
    for name, options in (("with", ("--distrust", path)), ("without", ())):
        out = tmp_path / f"{name}.csv"
        done("impute", "--data", copy, "--run-dir", small_prior.run, "--out", out, *options)
    assert not (tmp_path / "without.distrust.csv").exists()
    with_it, without = (read_table(tmp_path / f"{name}.csv").labels for name in ("with", "without"))
    differ = np.any(with_it != without, axis=(1, 2))
    assert np.flatnonzero(differ).tolist() == [row]


def test_a_changed_list_is_noticed(
    listed: tuple[Path, KeypointTable, tuple[int, str]], small_prior: Trained, tmp_path: Path
) -> None:
    """The list belongs to the inputs of a stage: with another one it does not go on as if nothing was."""
    path, _, _ = listed
    out = tmp_path / "filled.csv"
    options = ("--run-dir", small_prior.run, "--out", out)
    done("impute", *options)
    refused = labelfill("impute", *options, "--distrust", path)
    assert refused.code == 2
    assert "distrusted labels" in refused.sentence
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("row,keypoint\n0,chin\n", encoding="utf-8")
    refused = labelfill(
        "impute", "--run-dir", small_prior.run, "--out", tmp_path / "o.csv", "--distrust", wrong
    )
    assert refused.code == 3
    assert "line 2: there is no keypoint 'chin'" in refused.sentence


def test_distrusted_labels_are_not_scored(
    listed: tuple[Path, KeypointTable, tuple[int, str]], tmp_path: Path
) -> None:
    """`evaluate` and `train-final` count a distrusted label as unlabelled."""
    path, table, _ = listed
    whole = evaluate(table.path, table.path)
    part = evaluate(table.path, table.path, ScoreRequest(distrust=path))
    assert part.overall.coordinates == whole.overall.coordinates - 2
    with pytest.raises(DataError):
        everything = tmp_path / "everything.csv"
        labels = [(int(r), table.keypoints[k]) for r, k in np.argwhere(table.observed.any(axis=2))]
        write_distrust(everything, labels)
        evaluate(table.path, table.path, ScoreRequest(distrust=everything))


@pytest.mark.slow
def test_the_final_network_is_scored_on_trusted_labels(small_prior: Trained, tmp_path: Path) -> None:
    """Distrusting all labels of one keypoint takes it out of the final network's scores."""
    table = read_table(small_prior.table)
    path, out = tmp_path / "distrust.csv", tmp_path / "filled.csv"
    labelled = np.flatnonzero(table.observed[:, 3].any(axis=1))
    write_distrust(path, [(int(row), table.keypoints[3]) for row in labelled])
    run = tmp_path / "run"
    done("train-keypoint-models", "--data", small_prior.table, "--run-dir", run, "--method", "prior")
    done("impute", "--run-dir", run, "--out", out)
    told = done("train-final", "--filled", out, "--run-dir", run, "--epochs", "1", "--distrust", path)
    assert set(told["evaluation keypoints"]) == set(table.keypoints) - {table.keypoints[3]}
