"""Lists of distrusted labels and a person's verdicts: read back as written, refused where they are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelfill.data.corrections import read_corrections
from labelfill.data.distrust import named_labels, read_distrust, write_distrust
from labelfill.data.table import KeypointTable, read_table
from labelfill.errors import DataError

# Row 0 labels all, row 1 nothing of b and only x of c.
CSV = 'a_x,a_y,"b,1_x","b,1_y",c_x,c_y\n1,2,3,4,5,6\n1,2,,,5,\n'
B = "b,1"


@pytest.fixture
def table(tmp_path: Path) -> KeypointTable:
    path = tmp_path / "t.csv"
    path.write_text(CSV, encoding="utf-8")
    return read_table(path, require_images=False)


def test_distrusted_labels_are_read_back_as_written(table: KeypointTable, tmp_path: Path) -> None:
    """A list names labels by row and keypoint, whatever characters the name has, half labels too."""
    path = tmp_path / "distrust.csv"
    write_distrust(path, [(0, B), (1, "c"), (0, B)])
    found = read_distrust(path, table)
    assert named_labels(found, table) == [(0, B), (1, "c")]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert np.array_equal(read_distrust(path, table), found)


def test_names_that_are_not_utf8_are_found(tmp_path: Path) -> None:
    """A keypoint's name whose bytes are not UTF-8 goes through a list unchanged."""
    path, listed = tmp_path / "t.csv", tmp_path / "d.csv"
    path.write_bytes(b"n\xe4se_x,n\xe4se_y\n1,2\n")
    table = read_table(path, require_images=False)
    write_distrust(listed, [(0, table.keypoints[0])])
    assert b"n\xe4se" in listed.read_bytes()
    assert read_distrust(listed, table).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected the header row,keypoint"),
        ("keypoint,row\na,0\n", "line 1: found 'keypoint,row', expected the header"),
        ("row,keypoint\n0,a,1\n", "line 2: found 3 fields, expected 2"),
        ("row,keypoint\n0,a\nzero,a\n", "line 3: 'zero' is not a whole number"),
        ("row,keypoint\n2,a\n", "there is no row 2; expected 0 to 1"),
        ("row,keypoint\n-1,a\n", "there is no row -1"),
        ("row,keypoint\n0,d\n", "there is no keypoint 'd'"),
        ('row,keypoint\n1,"b,1"\n', "row 1 of"),
        ('row,keypoint\n0,"b,1\n', "is not csv"),
    ],
)
def test_a_wrong_line_is_named(table: KeypointTable, tmp_path: Path, text: str, said: str) -> None:
    """Whatever is wrong in a list of distrusted labels is refused, with its line and what was expected."""
    path = tmp_path / "distrust.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_distrust(path, table)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_verdicts_are_read(table: KeypointTable, tmp_path: Path) -> None:
    """Accepted and moved points are places, rejected and wrong ones marks; observed halves stay untouched."""
    path, header = tmp_path / "corrections.csv", "row,keypoint,action,x,y"
    lines = [header, '1,"b,1",moved,3.0001,0.0000', "1,c,accepted,9.0000,7.5000", "0,a,wrong,,", ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    found = read_corrections(path, table)
    assert found.confirmed[1, 1].tolist() == [3.0001, 0.0]
    assert np.array_equal(found.confirmed[1, 2], [np.nan, 7.5], equal_nan=True)
    assert np.isfinite(found.confirmed).sum() == 3
    assert named_labels(found.wrong, table) == [(0, "a")]
    path.write_text(f'{header}\n1,"b,1",rejected,,\n', encoding="utf-8")
    assert named_labels(read_corrections(path, table).rejected, table) == [(1, B)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('1,"b,1",kept,,', "there is no action 'kept'"),
        ('1,"b,1",moved,,', "moved needs x and y in px"),
        ('1,"b,1",accepted,1,nan', "accepted needs x and y in px"),
        ('1,"b,1",rejected,1,2', "rejected takes none"),
        ("0,a,moved,1,2", "labels 'a' in row 0"),
        ('1,"b,1",wrong,,', "does not label"),
        ('1,"b,1",moved,1,2\n1,"b,1",rejected,,', "stands in"),
    ],
)
def test_a_wrong_verdict_is_named(table: KeypointTable, tmp_path: Path, line: str, said: str) -> None:
    """A verdict that does not fit the table, or says nothing clear, is refused."""
    path = tmp_path / "corrections.csv"
    path.write_text(f"row,keypoint,action,x,y\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_corrections(path, table)
