"""What the commands say on stdout when they are done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfill.cli._printing import aligned, printed
from labelfill.cli.impute import FILLING as FILLING_LINES
from labelfill.cli.predict import PREDICTION
from labelfill.cli.train_final import FINAL as FINAL_LINES
from labelfill.cli.train_keypoint_models import TRAINING as TRAINING_LINES
from labelfill.cli.train_keypoint_models import offset_sentence
from tests.stage_summaries import FILLING, FINAL, OFFSET, TRAINING

USUAL = Path("outputs")


def training_text(summary: dict[str, Any], run_dir: Path | None = USUAL) -> str:
    return printed(TRAINING_LINES, {**summary, "run_dir": run_dir})


def filling_text(summary: dict[str, Any]) -> str:
    return printed(FILLING_LINES, {**summary, "coverage": 0.9, "run_dir": USUAL})


def final_text(summary: dict[str, Any]) -> str:
    return printed(FINAL_LINES, {**summary, "run_dir": USUAL})


def test_an_offset_is_a_sentence_with_its_interval() -> None:
    """Which source marks what where, against which other, how surely, on how many rows."""
    assert offset_sentence(OFFSET) == (
        "source 2 marks nose_tip 0.1 px left of and 5.2 px below where source 1 does "
        "(99% interval: x -0.4 to +0.2, y +4.9 to +5.6; 1,600 rows)"
    )
    other = {**OFFSET, "offset": [0.3, -6.0]}
    assert "0.3 px right of and 6.0 px above where" in offset_sentence(other)


def test_training_tells_sources_scores_gaps_and_the_next_command() -> None:
    """Rows per part, sources and offsets, both errors per keypoint, what stays blank, what comes next."""
    text = training_text(TRAINING)
    lines = text.splitlines()
    assert lines[0] == "2,367 rows: 1,927 for training, 340 to select epochs, 100 held out for scoring"
    assert lines[1] == "label sources: 1 (767 rows), 2 (1,600 rows)"
    assert lines[2] == offset_sentence(OFFSET)
    assert [line.split() for line in lines if line.startswith(("left_eye", "all"))] == [
        ["left_eye", "1,500", "0.99", "1.00"],
        ["all", "1.23", "1.50"],
    ]
    assert "will stay blank for lack of labels: ear" in text
    assert "few labels, wide error radii: chin" in text
    assert lines[-1] == "next: labelfill impute --out filled.csv"


def test_the_prior_alone_is_told_once() -> None:
    """Where nothing but the prior fills, no second column repeats its errors."""
    prior = {**TRAINING, "cross-fitted rmse": 1.5, "cross-fitted rmse of the prior": 1.5}
    assert "shape prior alone" in training_text(TRAINING)
    assert "shape prior alone" not in training_text(prior)


def test_training_without_disputes_or_gaps_says_so() -> None:
    """One source, two that agree, and a table that lacks nothing each have their own words."""
    assert "one label source\n" in training_text({**TRAINING, "sources": {"1": 5}, "convention offsets": []})
    agreeing = training_text({**TRAINING, "convention offsets": []})
    assert "1 (767 rows), 2 (1,600 rows); they agree on every tested keypoint" in agreeing
    complete = {**TRAINING, "keypoints": {}, "left blank": [], "low data": []}
    assert "no keypoint has blanks: there is nothing to train" in training_text(complete)


def test_filling_tells_cells_speed_and_files() -> None:
    """Cells observed, filled and left blank; seconds and rows per second; both files; what comes next."""
    assert filling_text(FILLING).splitlines() == [
        "1,000 rows: 4,000 cells observed, 2,000 filled, 0 left blank",
        "filled points: by regressors 990, from an identical image 10",
        "fair: the median error radius is 2.5 px on images of 96x96",
        "90% of errors should lie within the error radii",
        "",
        "check these first     points  median radius, px  share of squared error",
        "nose_tip of source 2     600               2.50                     70%",
        "left_eye of source 1     400               1.50                     30%",
        "",
        "never labelled by their source, so their radii are wider and unverified: 600 points of 1 keypoint",
        "0.5 s, 2,000 rows per second",
        "wrote filled.csv",
        "wrote filled.provenance.csv (where each filled value comes from)",
        "next:",
        "  labelfill review --filled filled.csv       # check doubtful fills",
        "  labelfill report --filled filled.csv       # see errors and pictures",
        "  labelfill train-final --filled filled.csv  # train the final network",
    ]


def test_filling_names_what_it_could_not_do() -> None:
    """Keypoints left blank with their cells, and rows of a source that the models have not met."""
    left = {"left_blank": 1, "left_blank_keypoints": {"ear": 1}, "unknown_source_rows": 2}
    text = filling_text({**FILLING, **left})
    assert "left blank, too few labels: ear (1 cell)" in text
    assert "from a label source unknown to the models: 2 rows, with wider radii" in text


def test_a_complete_table_has_nothing_to_fill() -> None:
    """A table without blanks is said to be one."""
    nothing = {"filled": 0, "methods": {}, "median_radius": None, "quality": "", "by_source": []}
    text = filling_text({**FILLING, **nothing})
    assert text.startswith("nothing to fill: all 4,000 cells are observed, the output equals the input\n")
    assert "radius" not in text
    columns_more = filling_text({**FILLING, **nothing, "likelihood": True})
    assert columns_more.startswith("nothing to fill: all 4,000 cells are observed\n")


def test_the_final_network_is_scored_on_rows_kept_for_it() -> None:
    """RMSE and MAE over all and per keypoint of evaluation rows; of validation rows only for want of them."""
    text = final_text(FINAL)
    assert text.startswith("final network: RMSE 1.90 px, MAE 1.30 px on 1 row never used in training\n")
    assert [line.split() for line in text.splitlines() if line.startswith("left_eye")] == [
        ["left_eye", "1", "1.90", "1.30"]
    ]
    validated = {name: value for name, value in FINAL.items() if not name.startswith("evaluation")}
    assert "1.80 px, MAE 1.20 px on 30 rows used to select the epoch, as there are no others" in final_text(
        validated
    )
    assert "no held-out row has a label" in final_text({"state": "fresh", "parameters": 1})


@pytest.mark.parametrize(
    ("undeclared", "words"),
    [
        (24, "in the reference convention"),
        (0, "each row in the convention of its source (rows per source: 1: 4, 2: 20)"),
        (1, "each row in the convention of its source (rows per source: 1: 4, 2: 20), 1 row without a source "
            "in the reference convention"),
    ],
)  # fmt: skip
def test_predictions_name_their_convention(undeclared: int, words: str) -> None:
    """How many keypoints in how many images, in whose convention, how far off, and the files."""
    summary = {"out": "p.csv", "rows": 24, "keypoints": 15, "rows in the reference convention": undeclared,
               "rows per source": {"1": 4, "2": 20}, "median radius": None, "coverage": 0.9}  # fmt: skip
    assert printed(PREDICTION, summary) == f"15 keypoints in 24 images, {words}\nwrote p.csv"
    asked = {"submission": "s.csv", "locations": 4, "images asked for": 1, "clipped": 0, "median radius": 2}
    assert printed(PREDICTION, {**summary, "out": None, **asked}).splitlines()[1:] == [
        "median error radius (90% coverage): 2.00 px",
        "4 locations requested in 1 image, 0 of them clipped to the image",
        "wrote s.csv",
    ]


def test_what_was_done_before_is_not_claimed_again() -> None:
    """A stage that did nothing says so first, and how to start over."""
    for text in (
        training_text({**TRAINING, "state": "done before"}),
        filling_text({**FILLING, "state": "done before"}),
        final_text({**FINAL, "state": "done before"}),
    ):
        assert text.startswith("already done with the same input and settings (--force")


def test_the_next_command_names_the_run() -> None:
    """Another run directory and file names with spaces are named so that the line can be pasted."""
    assert training_text(TRAINING, Path("my run")).endswith("--out filled.csv --run-dir 'my run'")
    text = filling_text({**FILLING, "out": "my fill.csv"})
    assert "\n  labelfill train-final --filled 'my fill.csv'  # " in text
    assert "next: " not in training_text(TRAINING, None)


def test_lines_are_told_where_there_is_something_to_tell() -> None:
    """A measured 0.0 is, a count of 0 and what is empty or missing are not; values are put in words."""
    lines = (
        "{rows:row} of {names}, {bytes:.1M} MB",
        ("clipped", "{clipped:,} clipped"),
        ("radius", "radius {radius:.2f}"),
        ("blank", "blank: {blank:cell}"),
        (lambda r: r["rows"] > 1, lambda r: [f"{name}!" for name in r["names"]]),
        ("next", "next: {next}"),
        "",
    )
    result = {"rows": 1000, "names": ["a", "b"], "bytes": 1_260_000, "clipped": 0, "radius": 0.0, "blank": {}}
    told = printed(lines, {**result, "next": "run"})
    assert told == "1,000 rows of a, b, 1.3 MB\nradius 0.00\na!\nb!\nnext: run"
    told = printed(lines, {**result, "rows": 1, "radius": None, "clipped": 1, "blank": {"ear": 1, "chin": 2}})
    assert told == "1 row of a, b, 1.3 MB\n1 clipped\nblank: ear (1 cell), chin (2 cells)"


@given(st.lists(st.lists(st.text("ab", max_size=9), min_size=3, max_size=3), min_size=1, max_size=5))
def test_columns_stand_below_each_other(rows: list[list[str]]) -> None:
    """Every cell of a column ends (the first column: begins) at the same place."""
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row, line in zip(rows, aligned(rows), strict=True):
        padded = line.ljust(sum(widths) + 4)
        assert padded[: widths[0]].rstrip() == row[0]
        assert padded[widths[0] + 2 : widths[0] + 2 + widths[1]].lstrip() == row[1]
        assert padded[-widths[2] :].lstrip() == row[2] if widths[2] else True
