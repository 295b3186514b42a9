"""Every bad input through the real command line: exit code 3, and one sentence that says what to do."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from skimage import io as pictures

from tests.driving import done, labelfill
from tests.trained_runs import Trained

HEADER = b"a_x,a_y,b_x,b_y,Image\n"
ROW = b"1,0,0.5,1,1 2 3 4\n"
GOOD = HEADER + 30 * ROW


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_dot_", "."), content)
    return out.getvalue()


def with_row(number: int, row: bytes) -> bytes:
    """A good table whose data row of that number (0-based) is another."""
    return HEADER + number * ROW + row + b"\n" + 3 * ROW


# name of the file, its content (None: there is none), and what the sentence has to hold
BAD = {
    "no such file": ("t.csv", None, ["t.csv: no such file", "check the path"]),
    "empty": ("t.csv", b"", ["t.csv is empty", "expected a header"]),
    "header only": ("t.csv", HEADER, ["t.csv has a header but no rows", "at least one row"]),
    "no keypoint columns": (
        "t.csv",
        b"x1,y1,Image\n1,2,1 2 3 4\n",
        ["t.csv: no keypoint columns", "'x1', 'y1', 'Image'", "nose_x and nose_y"],
    ),
    "x without y": (
        "t.csv",
        b"a_x,b_x,b_y,Image\n1,2,3,0\n",
        ["t.csv: column 'a_x' has no partner 'a_y'", "Add the column, or rename"],
    ),
    "no images": (
        "t.csv",
        b"a_x,a_y\n1,2\n",
        ["t.csv: no column 'Image'", "or 'image_path'", "'a_x', 'a_y'", "add one"],
    ),
    "too few pixels": (
        "t.csv",
        with_row(2, b"1,2,3,4,1 2 3"),
        ["t.csv, row 2 (line 4), column 'Image': found 3 pixels, expected 4", "complete the row or remove"],
    ),
    "too many pixels": (
        "t.csv",
        with_row(0, b"1,2,3,4,1 2 3 4 5"),
        [
            "t.csv, row 1 (line 3), column 'Image': found 4 pixels, but the first row (line 2) has 5",
            "remove it",
        ],
    ),
    "no pixels": ("t.csv", with_row(1, b"1,2,3,4,"), ["row 1 (line 3), column 'Image'", "missing"]),
    "a fractional pixel": (
        "t.csv",
        with_row(5, b"1,2,3,4,1 2.5 3 4"),
        ["t.csv, row 5 (line 7), column 'Image': pixel 1 is '2.5'", "whole number in 0..255", "correct it"],
    ),
    "a pixel too large": (
        "t.csv",
        with_row(5, b"1,2,3,4,1 2 3 256"),
        ["row 5 (line 7), column 'Image': pixel 3 is '256'", "whole number in 0..255"],
    ),
    "a negative pixel": ("t.csv", with_row(1, b"1,2,3,4,-1 2 3 4"), ["pixel 0 is '-1'", "0..255"]),
    "a word for a coordinate": (
        "t.csv",
        with_row(4, b"1,left,3,4,1 2 3 4"),
        [
            "t.csv, row 4 (line 6), column 'a_y': found 'left', expected a finite number",
            "leave the field empty",
        ],
    ),
    "infinity": (
        "t.csv",
        with_row(4, b"1,2,inf,4,1 2 3 4"),
        ["row 4 (line 6), column 'b_x': found 'inf', expected a finite number"],
    ),
    "a decimal comma in quotes": (
        "t.csv",
        with_row(3, b'"1,5",2,3,4,1 2 3 4'),
        ["row 3 (line 5), column 'a_x': found '1,5'", "decimal comma", "write it with a dot: 1.5"],
    ),
    "a decimal comma between semicolons": (
        "t.csv",
        b"a_x;a_y;Image\n1;2,5;1 2 3 4\n",
        ["row 0 (line 2), column 'a_y': found '2,5'", "decimal comma", "2.5"],
    ),
    "too few fields": (
        "t.csv",
        with_row(1, b"1,2,3"),
        ["t.csv, row 1 (line 3): found 3 fields, expected 5 as in the header", "complete the row"],
    ),
    "too many fields": (
        "t.csv",
        with_row(1, b"1,2,3,4,1 2 3 4,x"),
        ["t.csv, row 1 (line 3): found 6 fields, expected 5 as in the header", "quotes"],
    ),
    "unbalanced quotes": (
        "t.csv",
        with_row(1, b'1,"2,3,4,1 2 3 4'),
        ["t.csv, row 1 (line 3): the quote that opens", "is never closed"],
    ),
    "truncated": (
        "t.csv",
        GOOD + b"1,2,",
        ["t.csv, row 30 (line 32): found 3 fields", "the file ends there", "cut short"],
    ),
    "truncated within the pixels": (
        "t.csv",
        GOOD + b"1,2,3,4,1 2",
        ["t.csv, row 30 (line 32), column 'Image': found 2 pixels, expected 4", "cut short"],
    ),
    "zip without a table": (
        "t.zip",
        zipped(a_dot_txt=GOOD),
        ["t.zip holds no csv file ('a.txt')", "unpack it"],
    ),
    "zip with two tables": (
        "t.zip",
        zipped(a_dot_csv=GOOD, b_dot_csv=GOOD),
        ["t.zip holds 2 csv files ('a.csv', 'b.csv')", "expected exactly one", "unpack it"],
    ),
    "a damaged zip": ("t.zip", zipped(a_dot_csv=GOOD)[:-9], ["t.zip is a damaged", "download it again"]),
    "a truncated gz": ("t.csv.gz", b"\x1f\x8b\x08\x00", ["t.csv.gz is a damaged or truncated gzip file"]),
    "duplicate columns": (
        "t.csv",
        b"a_x,a_y,a_x,Image\n1,2,3,0\n",
        ["t.csv: column 'a_x' is there twice (fields 1 and 3 of the header)", "rename or remove"],
    ),
    "an image file that is missing": (
        "t.csv",
        b"a_x,a_y,image_path\n1,2,none.png\n",
        ["t.csv, row 0 (line 2), column 'image_path': no file 'none.png'"],
    ),
    "an image file outside": (
        "t.csv",
        b"a_x,a_y,image_path\n1,2,../x.png\n",
        ["row 0 (line 2), column 'image_path': '../x.png' leads out of", "--allow-outside"],
    ),
    "labels beyond the frame": (
        "t.csv",
        b"a_x,a_y,Image\n" + b"7,1," + b" ".join([b"0"] * 16) + b"\n",
        ["t.csv: 1 of 2 coordinates (50%) lie beyond the 4x4 image", "first in row 0 (line 2)", "2x8"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_one_sentence(tmp_path: Path, case: str) -> None:
    """Exit code 3, one line on stderr with file, place, what was found and what to do; no traceback."""
    name, raw, words = BAD[case]
    if raw is not None:
        (tmp_path / name).write_bytes(raw)
    outcome = labelfill("train-keypoint-models", "--data", tmp_path / name, "--run-dir", tmp_path / "run")
    assert outcome.code == 3, outcome.err
    assert str(tmp_path / name) in outcome.sentence
    for word in words:
        assert word in outcome.sentence
    assert outcome.err.count("\n") == 1
    assert not list(tmp_path.glob("run/cache/*")), "nothing half read is kept"


@pytest.mark.parametrize("command", ["impute", "run", "predict", "evaluate"])
@pytest.mark.parametrize(
    "case", ["no such file", "too few fields", "duplicate columns", "zip with two tables"]
)
def test_every_command_reads_by_the_same_rules(
    small_prior_final: Trained, tmp_path: Path, case: str, command: str
) -> None:
    """The sentence and the exit code do not depend on which command reads the table."""
    name, raw, words = BAD[case]
    table = tmp_path / name
    if raw is not None:
        table.write_bytes(raw)
    out = tmp_path / "out.csv"
    arguments = {
        "impute": ["--data", table, "--out", out, "--run-dir", small_prior_final.run],
        "run": ["--data", table, "--out", out, "--run-dir", tmp_path / "run"],
        "predict": ["--images", table, "--out", out, "--run-dir", small_prior_final.run],
        "evaluate": [table, small_prior_final.table],
    }
    outcome = labelfill(command, *arguments[command])
    assert outcome.code == 3, outcome.err
    for word in words:
        assert word in outcome.sentence
    assert not out.exists()


def test_commands_that_need_no_keypoints_or_images_ask_for_none(
    small_prior_final: Trained, tmp_path: Path
) -> None:
    """predict takes a table without keypoint columns, evaluate one without images."""
    run = small_prior_final.run
    lines = small_prior_final.table.read_text().splitlines()
    (tmp_path / "images.csv").write_text("\n".join(line.rsplit(",", 1)[-1] for line in lines))
    (tmp_path / "labels.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in lines))
    out = tmp_path / "p.csv"
    done("predict", "--run-dir", run, "--images", tmp_path / "images.csv", "--out", out)
    assert done("evaluate", out, tmp_path / "labels.csv")["rows"] == len(lines) - 1


def test_image_files_of_other_sizes_than_the_models_are_for(small_prior: Trained, tmp_path: Path) -> None:
    """Models of a table with one image size fill no other: file and both sizes are named."""
    for name, shape in (("a.png", (24, 24)), ("b.png", (30, 24))):
        pictures.imsave(tmp_path / name, np.zeros(shape, np.uint8), check_contrast=False)
    header = small_prior.table.read_text().partition("\n")[0].replace("Image", "image_path")
    blank = "," * header.count(",")
    (tmp_path / "t.csv").write_text(f"{header}\n{blank}a.png\n{blank}b.png\n")
    outcome = labelfill(
        *("impute", "--data", tmp_path / "t.csv", "--run-dir", small_prior.run, "--out", tmp_path / "o.csv")
    )
    assert outcome.code == 3
    assert "row 1 (line 3), column 'image_path': 'b.png' is 30x24, but 'a.png' of the first row is 24x24" in (
        outcome.sentence
    )
    assert f"the models in {small_prior.run} are for 24x24; train models for it" in outcome.sentence


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--source-column", "who"], "has no column 'who' for --source-column; its other columns: none"),
        (["--group-column", "who"], "has no column 'who' for --group-column"),
    ],
)
def test_columns_that_are_not_there_are_named(tmp_path: Path, options: list[str], words: str) -> None:
    """A flag that names a column of the table: exit code 3 if there is none, and what there is."""
    (tmp_path / "t.csv").write_bytes(GOOD)
    outcome = labelfill(
        "train-keypoint-models", "--data", tmp_path / "t.csv", "--run-dir", tmp_path / "run", *options
    )
    assert outcome.code == 3
    assert words in outcome.sentence
    again = labelfill("train-keypoint-models", "--data", tmp_path / "t.csv", "--run-dir", tmp_path / "run")
    assert again.code == 0, "nothing was done yet, so a corrected flag needs no --force"


def test_a_table_without_any_label_is_refused(tmp_path: Path) -> None:
    """There is nothing to learn from: exit code 3 and a sentence, not a crash."""
    (tmp_path / "t.csv").write_bytes(HEADER + 30 * b",,,,1 2 3 4\n")
    outcome = labelfill("train-keypoint-models", "--data", tmp_path / "t.csv", "--run-dir", tmp_path / "run")
    assert outcome.code == 3
    assert "label" in outcome.sentence


@pytest.mark.parametrize("rows", [1, 2, 5, 12])
def test_a_tiny_table_ends_in_a_sentence_or_a_result(tmp_path: Path, rows: int) -> None:
    """However few rows: keypoints stay blank and are named, and no command ends in a traceback."""
    pixels = b" ".join(b"%d" % value for value in range(64))
    some = [b"1,2,%s,%b\n" % (b"3,4" if row % 2 else b",", pixels) for row in range(rows)]
    (tmp_path / "t.csv").write_bytes(HEADER + b"".join(some))
    run = tmp_path / "run"
    trained = labelfill("train-keypoint-models", "--data", tmp_path / "t.csv", "--run-dir", run)
    assert trained.code == 0, trained.err
    filled = labelfill("impute", "--run-dir", run)
    assert filled.code in (0, 6), filled.err
    final = labelfill("train-final", "--run-dir", run)
    assert final.code in (0, 3), final.err
