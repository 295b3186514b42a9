from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill.cli.main import main
from labelfill.errors import DataError, LabelfillError, UsageError
from labelfill.reports.comparison.comparison import ComparisonRequest, compare
from labelfill.reports.scores import ScoreRequest, evaluate

HEADER = "nose_x,nose_y,chin_x,chin_y"


def table(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"{HEADER}\n{text}\n")
    return path


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A table with three blanks, its truth, and the table filled with 1 px of error each."""
    blank = table(tmp_path, "blank.csv", "1,2,3,4\n3,,5,6\n,,7,8")
    truth = table(tmp_path, "truth.csv", "1,2,3,4\n3,4,5,6\n5,6,7,8")
    filled = table(tmp_path, "filled.csv", "1,2,3,4\n3,5,5,6\n4,7,7,8")
    return blank, truth, filled


def test_ways_are_scored_as_a_hand_computes(small: tuple[Path, Path, Path]) -> None:
    """A filled table and the column mean, on the cells that are blank: RMSE, MAE, and per keypoint."""
    blank, truth, filled = small
    result = compare(ComparisonRequest(blank, truth, filled=[filled], ways=["mean"]))
    assert list(result.ways) == ["filled.csv", "mean"]
    assert (result.rows, result.cells, result.not_compared) == (2, 3, 0)
    assert result.ways["filled.csv"].overall.rmse == pytest.approx(1.0)
    mean = result.ways["mean"]  # x: 2 for 5, y: 2 for 4 and for 6
    assert mean.overall.mae == pytest.approx((3 + 2 + 4) / 3)
    assert mean.overall.rmse == pytest.approx(((9 + 4 + 16) / 3) ** 0.5)
    assert mean.keypoints == {"nose": mean.overall}
    assert result.ways["filled.csv"].seconds is None
    assert mean.seconds is not None


def test_all_ways_are_scored_on_the_same_cells(small: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A cell that one way leaves blank counts for none, and is counted as that way's."""
    blank, truth, filled = small
    timid = table(tmp_path, "timid.csv", "1,2,3,4\n3,5,5,6\n,,7,8")
    result = compare(ComparisonRequest(blank, truth, filled=[filled, timid], ways=["forward-fill"]))
    assert {way.overall.coordinates for way in result.ways.values()} == {1}
    assert (result.cells, result.not_compared) == (1, 2)
    assert {name: way.left_blank for name, way in result.ways.items()} == {
        "filled.csv": 0,
        "timid.csv": 2,
        "forward-fill": 0,
    }


def test_files_of_the_same_name_keep_apart(small: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Two filled tables of one name are told apart by their paths."""
    blank, truth, filled = small
    (tmp_path / "other").mkdir()
    other = table(tmp_path / "other", "filled.csv", "1,2,3,4\n3,4,5,6\n5,6,7,8")
    result = compare(ComparisonRequest(blank, truth, filled=[filled, other], ways=[]))
    assert {name: way.overall.rmse for name, way in result.ways.items()} == {
        str(filled): 1.0,
        str(other): 0.0,
    }


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.1, 0.6))
@settings(max_examples=10, deadline=None)
def test_a_filled_table_scores_as_evaluate_scores_it(
    seed: int, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The comparison and `evaluate --blank-in` agree on every filled table."""
    folder = tmp_path_factory.mktemp("compare")
    rng = np.random.default_rng(seed)
    truth, guess = rng.uniform(0, 90, (2, 12, 4)).round(3)
    hidden = rng.random(truth.shape) < share
    hidden[0, 0], hidden[1] = True, False

    def write(name: str, values: np.ndarray) -> Path:
        return table(
            folder, name, "\n".join(",".join("" if v != v else str(v) for v in row) for row in values)
        )

    blank = write("blank.csv", np.where(hidden, np.nan, truth))
    filled, known = write("filled.csv", np.where(hidden, guess, truth)), write("truth.csv", truth)
    ours = compare(ComparisonRequest(blank, known, filled=[filled], ways=[])).ways["filled.csv"]
    theirs = evaluate(filled, known, ScoreRequest(blank_in=blank))
    assert ours.overall == theirs.overall
    assert ours.keypoints == theirs.keypoints


def test_a_table_filled_from_another_is_refused(small: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A filled table with other rows or another observed label is not the table filled, and says where."""
    blank, truth, _ = small
    altered = table(tmp_path, "altered.csv", "1,2,3,4\n3,5,5,6\n4,7,7,9")
    with pytest.raises(DataError, match=r"row 2 \(line 4\), column 'chin_y' was 8 and is 9, so it is"):
        compare(ComparisonRequest(blank, truth, filled=[altered]))
    shorter = table(tmp_path, "shorter.csv", "1,2,3,4")
    with pytest.raises(DataError, match=r"shorter\.csv has 1 rows and .*blank\.csv 3, so"):
        compare(ComparisonRequest(blank, truth, filled=[shorter]))


def test_what_cannot_be_compared_is_said(small: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """No way, an unknown way or keypoint, nothing blank, no keypoints in common: a sentence each."""
    blank, truth, filled = small
    other = tmp_path / "other.csv"
    other.write_text("ear_x,ear_y\n1,2\n")
    wrong: list[tuple[type[LabelfillError], str, dict[str, object]]] = [
        (UsageError, "pass a filled table with --filled", {"ways": []}),
        (UsageError, "'median'; choose from mean", {"ways": ["median"]}),
        (UsageError, "no keypoint 'noose' in both tables; did you mean 'nose'", {"keypoints": ["noose"]}),
    ]
    for error, sentence, options in wrong:
        with pytest.raises(error, match=sentence):
            compare(ComparisonRequest(blank, truth, **options))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no coordinate is blank in"):
        compare(ComparisonRequest(filled, truth))
    with pytest.raises(DataError, match="no keypoints in common"):
        compare(ComparisonRequest(blank, other))


def test_the_command_prints_and_writes(
    small: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text, JSON and a csv file hold the same figures; an existing file is kept without --force."""
    blank, truth, filled = map(str, small)
    scores = tmp_path / "scores.csv"
    command = ["compare", blank, "--truth", truth, "--filled", filled, "--ways", "mean,forward-fill"]
    assert main([*command, "--csv", str(scores)]) == 0
    text = capsys.readouterr().out
    assert ["filled.csv", "1.00", "1.00"] in [line.split() for line in text.splitlines()]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ways"]["mean"]["coordinates"] == told["cells"] == 3
    rows = list(csv.DictReader(scores.read_text().splitlines()))
    assert [(row["way"], row["keypoint"]) for row in rows[:2]] == [
        ("filled.csv", "all"),
        ("filled.csv", "nose"),
    ]
    assert float(rows[2]["rmse"]) == pytest.approx(told["ways"]["mean"]["rmse"], abs=1e-4)
    assert main([*command, "--csv", str(scores)]) == 2
    assert "--force to overwrite" in capsys.readouterr().err
    assert main([*command, "--csv", str(scores), "--force", "--ways", "none"]) == 0
