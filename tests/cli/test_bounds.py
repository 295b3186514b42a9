"""Bounds that keep refusals quick, and what lies below them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.driving import labelfill

HEADER, ROW = b"a_x,a_y,Image\n", b"1,1,0 0 0 0\n"


@pytest.mark.parametrize("line", [b"\n", b"\r\n", b" \t\n", b"\r"], ids=["LF", "CR LF", "blanks", "CR"])
@pytest.mark.parametrize("before", [b"", HEADER + ROW], ids=["first", "within"])
def test_blank_lines_without_end_are_refused(tmp_path: Path, line: bytes, before: bytes) -> None:
    """However well they are packed, before the header and after it; long before all of them are read."""
    table = tmp_path / "t.csv.gz"
    with gzip.open(table, "wb", compresslevel=1) as file:
        file.write(before)
        for _ in range(16):
            file.write(line * ((1 << 20) // len(line)))
        file.write(ROW)
    outcome = labelfill("inspect", table)
    assert outcome.code == 3
    assert "8 MB of blank lines and more; remove them" in outcome.sentence


def test_blank_lines_between_rows_are_no_fault(tmp_path: Path) -> None:
    """A table with a blank line after every row, and some at its end."""
    table = tmp_path / "t.csv"
    table.write_bytes(HEADER + (ROW + b"\r\n") * 1000 + b"\n" * 100_000)
    assert labelfill("inspect", table).code == 0


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_header_of_a_million_columns_is_refused(tmp_path: Path, delimiter: str) -> None:
    """Before anything is made of their names."""
    table = tmp_path / "t.csv"
    table.write_text(delimiter.join(f"c{number}" for number in range(1_000_000)) + "\n")
    outcome = labelfill("inspect", table)
    assert outcome.code == 3
    assert outcome.sentence.startswith(f"{table}, line 1: the header has 1,000,000 columns, and a table may")


@pytest.mark.slow
def test_wide_tables_are_read(tmp_path: Path) -> None:
    """5,000 keypoints, and the pixels of an image of 512x512 px as columns of their own."""
    keypoints, pixels = tmp_path / "keypoints.csv", tmp_path / "pixels.csv"
    names = [f"k{number}_{axis}" for number in range(5000) for axis in "xy"]
    row = ",".join(["1"] * 10_000) + ",0 0 0 0\n"
    keypoints.write_text(",".join([*names, "Image"]) + "\n" + row * 3)
    row = "1,1,0 0 0 0," + ",".join(["7"] * 512**2) + "\n"
    pixels.write_text(",".join(["a_x", "a_y", "Image", *(f"p{n}" for n in range(512**2))]) + "\n" + row * 2)
    for table in (keypoints, pixels):
        assert labelfill("inspect", table).code == 0, table
