from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill.cli.main import main
from labelfill.errors import DataError, LabelfillError, UsageError
from labelfill.regressors.scores import score
from labelfill.reports.scores import ScoreRequest, evaluate

HEADER = "nose_x,nose_y,chin_x,chin_y"


def table(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text + "\n")
    return path


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A filled table, its truth with sources, and the table before filling, where the nose is rare."""
    filled = table(tmp_path, "filled.csv", f"{HEADER}\n1,2,3,4\n13,16,3,4\n10,20,33,44")
    truth = table(tmp_path, "truth.csv", f"row,source,{HEADER}\n0,1,1,2,3,4\n1,1,10,20,3,4\n2,2,10,20,30,40")
    original = table(tmp_path, "original.csv", f"{HEADER}\n1,2,3,4\n,,3,4\n,,33,44")
    return filled, truth, original


@given(
    errors=st.lists(st.floats(-100, 100), min_size=1, max_size=30),
    gaps=st.lists(st.booleans(), min_size=30, max_size=30),
)
@settings(deadline=None)
def test_mae_is_at_most_rmse(errors: list[float], gaps: list[bool]) -> None:
    """MAE is at most RMSE, RMSE at most the largest error, and gaps count for nothing."""
    values = np.array(errors)
    values[np.array(gaps)[: len(values)]] = np.nan
    result = score(values)
    assert result.coordinates == (~np.isnan(values)).sum()
    if result.coordinates:
        assert result.mae <= result.rmse + 1e-9
        assert result.rmse <= np.nanmax(np.abs(values)) + 1e-9


def test_scores_are_what_a_hand_computes(small: tuple[Path, Path, Path]) -> None:
    """RMSE and MAE run over coordinates: overall, per keypoint and per coordinate column."""
    result = evaluate(*small[:2])
    squares = 9 + 16 + 9 + 16
    assert result.overall.rmse == pytest.approx((squares / 12) ** 0.5)
    assert result.overall.mae == pytest.approx(14 / 12)
    assert result.keypoints["nose"].rmse == pytest.approx((25 / 6) ** 0.5)
    assert result.coordinates["chin_y"].mae == pytest.approx(4 / 3)
    assert (result.joined_by, result.rows, result.overall.coordinates) == ("row", 3, 12)


def test_only_what_was_blank_is_scored(small: tuple[Path, Path, Path]) -> None:
    """With the table before filling, its observed coordinates are in no score."""
    filled, truth, original = small
    result = evaluate(filled, truth, ScoreRequest(blank_in=original))
    assert result.overall.coordinates == 4
    assert list(result.keypoints) == ["nose"]
    assert result.overall.rmse == pytest.approx((25 / 4) ** 0.5)


def test_rare_means_labelled_in_under_half_of_the_rows(small: tuple[Path, Path, Path]) -> None:
    """Rare keypoints are told by the table before filling."""
    filled, truth, original = small
    assert list(evaluate(filled, truth, ScoreRequest(blank_in=original, keypoints="rare")).keypoints) == [
        "nose"
    ]
    with pytest.raises(UsageError, match=r"truth.csv labels every keypoint .* --blank-in"):
        evaluate(filled, truth, ScoreRequest(keypoints="rare"))


def test_values_and_their_mix(small: tuple[Path, Path, Path]) -> None:
    """Each value of a column has its score, and the mix is the root of their weighted mean squared errors."""
    result = evaluate(*small[:2], ScoreRequest(by="source", mix={"1": 0.6, "2": 0.4}))
    assert result.values is not None
    assert result.values["1"].rmse == pytest.approx((25 / 8) ** 0.5)
    assert result.values["2"].coordinates == 4
    assert result.mix == pytest.approx((0.6 * 25 / 8 + 0.4 * 25 / 4) ** 0.5)


@given(order=st.permutations(range(6)), taken=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_ids_join_rows_in_any_order(
    order: list[int], taken: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A shared id column joins rows whatever their order, and rows that are not there are counted."""
    folder = tmp_path_factory.mktemp("ids")
    lines = [f"face{i},1,{i},{2 * i}" for i in range(6)]
    truth = table(folder, "truth.csv", "\n".join(["ImageId,group,nose_x,nose_y", *lines]))
    some = "\n".join(["ImageId,group,nose_x,nose_y", *(lines[i] for i in order[:taken])])
    result = evaluate(table(folder, "some.csv", some), truth)
    assert (result.joined_by, result.rows, result.rows_not_found) == ("ImageId", taken, 6 - taken)
    assert result.overall.rmse == 0


def test_a_row_column_joins_to_the_other_tables_rows(tmp_path: Path) -> None:
    """A column of 0-based rows joins by position in the other table, in whichever table it stands."""
    whole = table(tmp_path, "whole.csv", "nose_x,nose_y\n1,1\n2,2\n3,3")
    picked = table(tmp_path, "picked.csv", "row,nose_x,nose_y\n2,3,3\n0,1,1")
    assert evaluate(whole, picked).overall.rmse == 0
    result = evaluate(picked, whole)
    assert (result.overall.rmse, result.rows_not_found) == (0, 1)


def test_blank_answers_are_counted_not_scored(tmp_path: Path) -> None:
    """What the table leaves blank is in no score, and its number is told."""
    answers = table(tmp_path, "answers.csv", f"{HEADER}\n1,1,,\n1,1,1,")
    truth = table(tmp_path, "truth.csv", f"{HEADER}\n1,1,1,1\n1,1,1,1")
    result = evaluate(answers, truth)
    assert (result.unanswered, result.overall.coordinates) == (3, 5)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"keypoints": ["nise"]}, UsageError, "no keypoint 'nise' in both tables; did you mean 'nose'"),
        ({"keypoints": ["elbow"]}, UsageError, "no keypoint 'elbow' in both tables; there are nose, chin"),
        ({"keypoints": []}, UsageError, "no keypoints given"),
        ({"by": "sorce"}, UsageError, "neither table has a column 'sorce' .* did you mean 'source'"),
        ({"mix": {"1": 1.0}}, UsageError, "--mix needs --by COLUMN"),
        ({"by": "source", "mix": {"1": 0.5}}, UsageError, "sum to 1, not 1=0.5"),
        ({"by": "source", "mix": {"1": 1.5, "2": -0.5}}, UsageError, "must be 0 or more"),
        ({"by": "source", "mix": {"3": 1.0}}, UsageError, "--mix names '3', .* there are '1', '2'"),
    ],
)
def test_options_that_make_no_sense(
    small: tuple[Path, Path, Path], options: dict, error: type[LabelfillError], sentence: str
) -> None:
    """Each option that cannot be followed is answered by what was found and what there is."""
    with pytest.raises(error, match=sentence):
        evaluate(*small[:2], ScoreRequest(**options))


@pytest.mark.parametrize(
    ("answers", "truth", "sentence"),
    [
        (
            f"{HEADER}\n1,1,1,1",
            f"{HEADER}\n1,1,1,1\n1,1,1,1",
            "has 1 rows and .* has 2, and no column",
        ),
        ("eye_x,eye_y\n1,1", f"{HEADER}\n1,1,1,1", "no keypoints in common"),
        (f"{HEADER}\n,,,", f"{HEADER}\n1,1,1,1", "leaves all 4 coordinates blank"),
        (f"{HEADER}\n1,1,1,1", f"{HEADER}\n,,,", "knows no coordinate"),
        (
            f"{HEADER}\n1,1,1,1",
            f"row,{HEADER}\n7,1,1,1,1",
            r"\(line 2\), column 'row': there is no row 7",
        ),
        (f"{HEADER}\n1,1,1,1", f"row,{HEADER}\nx,1,1,1,1", "'x' is not a whole number; expected a 0-based"),
        (
            f"{HEADER}\n1,1,1,1",
            f"row,{HEADER}\n0,1,1,1,1\n0,1,1,1,1",
            r"\(line 3\).*row 0 stands twice",
        ),
    ],
)
def test_tables_that_cannot_be_scored(tmp_path: Path, answers: str, truth: str, sentence: str) -> None:
    """Tables that do not fit together are refused with what was found."""
    with pytest.raises(DataError, match=sentence):
        evaluate(table(tmp_path, "answers.csv", answers), table(tmp_path, "truth.csv", truth))


def test_nothing_blank_to_score(small: tuple[Path, Path, Path]) -> None:
    """If nothing was blank before filling, there is nothing to score, and the sentence says so."""
    filled, truth, _ = small
    with pytest.raises(DataError, match=r"no coordinate is blank in .*filled.csv and known in .*truth.csv"):
        evaluate(filled, truth, ScoreRequest(blank_in=filled))


def test_joining_by_order_warns_of_columns_that_differ(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows joined by order though a column says that they are others: a warning names the column."""
    answers = table(tmp_path, "answers.csv", "name,nose_x,nose_y\nann,1,1\nann,1,1")
    truth = table(tmp_path, "truth.csv", "name,nose_x,nose_y\nann,1,1\nbob,1,1")
    assert evaluate(answers, truth).joined_by == "order"
    assert "'name' differ" in caplog.text


def test_the_command_prints_text_and_json(
    small: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command's text and JSON show the same figures."""
    filled, truth, original = map(str, small)
    options = [filled, truth, "--by", "source", "--mix", "1=0.6,2=0.4"]
    assert main(["evaluate", *options]) == 0
    text = capsys.readouterr().out
    assert main(["evaluate", *options, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert f"mix 1=0.6,2=0.4: RMSE {result['mix']['rmse']:.3f} px" in text
    for name, figures in result["per_keypoint"].items():
        assert f"{name}  " in text
        assert f"{figures['rmse']:.3f}" in text
    assert set(result["per_coordinate"]) == {"nose_x", "nose_y", "chin_x", "chin_y"}
    assert set(result["per_value"]) == {"1", "2"}
    assert main(["evaluate", filled, truth, "--blank-in", original, "--keypoints", "rare", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["coordinates"] == 4


@pytest.mark.parametrize("mix", ["1", "1=x", "=1", "1=0.5,1=0.5", ""])
def test_a_mix_that_cannot_be_read(
    small: tuple[Path, Path, Path], mix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mix that is not VALUE=WEIGHT,... is a usage error with an example."""
    filled, truth, _ = map(str, small)
    assert main(["evaluate", filled, truth, "--by", "source", "--mix", mix]) == 2
    assert "expected for example 1=0.649,2=0.351" in capsys.readouterr().err


def test_a_missing_file_is_bad_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table that does not exist is named, with exit code 3."""
    truth = table(tmp_path, "truth.csv", "nose_x,nose_y\n1,1")
    assert main(["evaluate", str(tmp_path / "none.csv"), str(truth)]) == 3
    assert "none.csv" in capsys.readouterr().err
