from __future__ import annotations

import gzip
import io
import os
import zipfile
from pathlib import Path
from unittest import mock

import pytest

from labelfill.data.table import open_decompressed, read_table
from labelfill.errors import DataError, StorageError, listed, place, shown

HEADER = b"a_x,a_y,Image\n"


def sentence(tmp_path: Path, raw: bytes, name: str = "t.csv", **options: bool) -> str:
    """What reading `raw` raises, less the folder; it must be bad data with its own exit code."""
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / name, **options)
    assert caught.value.exit_code == 3
    return str(caught.value).replace(f"{tmp_path}{os.sep}", "")


BAD_SHAPES = {
    "empty": (b"", "t.csv is empty; expected a header with columns such as nose_x,nose_y,Image"),
    "blank lines only": (
        b"\xef\xbb\xbf\r\n  \n",
        "t.csv is empty; expected a header with columns such as nose_x,nose_y,Image",
    ),
    "header only": (HEADER, "t.csv has a header but no rows; expected at least one row of labels or images"),
    "no keypoint columns": (
        b"x1,y1,Image\n1,2,0\n",
        "t.csv: no keypoint columns (found 3 columns: 'x1', 'y1', 'Image'), "
        "expected pairs named like nose_x and "
        "nose_y; name the coordinate columns so, in a header on the first line",
    ),
    "x without y": (
        b"a_x,b_x,b_y,Image\n1,2,3,0\n",
        "t.csv: column 'a_x' has no partner 'a_y': a keypoint needs both coordinates. "
        "Add the column, or rename 'a_x' if it is not a coordinate",
    ),
    "y without x": (
        b"b_x,b_y,a_y,Image\n1,2,3,0\n",
        "t.csv: column 'a_y' has no partner 'a_x': a keypoint needs both coordinates. "
        "Add the column, or rename 'a_y' if it is not a coordinate",
    ),
    "x misspelt": (
        b"nose_tipx,nose_tip_y,b_x,b_y,Image\n1,2,3,4,0\n",
        "t.csv: column 'nose_tip_y' has no partner 'nose_tip_x': a keypoint needs both coordinates. "
        "If 'nose_tipx' holds it, rename that. "
        "Add the column, or rename 'nose_tip_y' if it is not a coordinate",
    ),
    "y misspelt, and like a whole pair": (
        b"nose_tip_x,nose_tp_y,nose_top_x,nose_top_y,Image\n1,2,3,4,0\n",
        "t.csv: column 'nose_tip_x' has no partner 'nose_tip_y': a keypoint needs both coordinates. "
        "If 'nose_tp_y' holds it, rename that. "
        "Add the column, or rename 'nose_tip_x' if it is not a coordinate",
    ),
    "no images": (
        b"a_x,a_y\n1,2\n",
        "t.csv: no column 'Image' (grey values) or 'image_path' (file names) (found "
        "2 columns: 'a_x', 'a_y'); "
        "add one of the two",
    ),
    "images by another name": (
        b"a_x,a_y,pixels\n1,2,0\n",
        "t.csv: no column 'Image' (grey values) or 'image_path' (file names) "
        "(found 3 columns: 'a_x', 'a_y', 'pixels'); if column 'pixels' holds them, pass "
        "--image-column pixels",
    ),
    "duplicate columns": (
        b'a_x,a_y, "a_x" ,Image\n1,2,3,0\n',
        "t.csv: column 'a_x' is there twice (fields 1 and 3 of the header); rename or remove one of them",
    ),
    "unnamed columns": (
        b"a_x,a_y,Image,,\n1,2,0,,\n",
        "t.csv: two columns have no name (fields 4 and 5 of the header); rename or remove one of them",
    ),
    "UTF-16": ("a_x,a_y".encode("utf-16"), "t.csv is UTF-16 text; save it as UTF-8 (in Excel: CSV UTF-8)"),
    "quote in the header": (
        b'a_x,"a_y,Image\n1,2,0\n',
        "t.csv, line 1: a quote in the header is never closed; close it, or take it away",
    ),
    "too few fields": (
        HEADER + b"1,2,0\n\n1,2\n1,2,0\n",
        "t.csv, row 1 (line 4): found 2 fields, expected 3 as in the header; "
        "complete the row: 'Image' is the first column without a field",
    ),
    "one field": (
        HEADER + b"1\n1,2,0\n",
        "t.csv, row 0 (line 2): found 1 field, expected 3 as in the header; "
        "complete the row: 'a_y' is the first column without a field",
    ),
    "too many fields": (
        HEADER + b"1.5,2,0,4\n",
        "t.csv, row 0 (line 2): found 4 fields, expected 3 as in the header; "
        "put text that contains ',' in quotes, or remove what is surplus",
    ),
    "decimal commas between commas": (
        HEADER + b"12,5,2,5,0\n",
        "t.csv, row 0 (line 2): found 5 fields, expected 3 as in the header; if its "
        "numbers have decimal commas "
        "write them with a dot, else put text that contains ',' in quotes",
    ),
    "truncated last row": (
        HEADER + b"1,2,0\n1,",
        "t.csv, row 1 (line 3): found 2 fields, expected 3 as in the header, and "
        "the file ends there, in the middle "
        "of the row: it was cut short; copy or download it again, or remove its last row",
    ),
    "quote never closed": (
        HEADER + b'1,2,0\n1,"2,0\n1,2,0\n',
        r"""t.csv, row 1 (line 3): the quote that opens '"2,0\n1,2,0\n' """
        "is never closed; close it, or take it away",
    ),
    "quote never closed, after stray ones": (
        b"n," + HEADER + b'5" x,1,2,0\n"a,1,2,0\n',
        r"""t.csv, row 1 (line 3): the quote that opens '"a,1,2,0\n' """
        "is never closed; close it, or take it away",
    ),
    "quote closed by the next one": (
        HEADER + b'1,"2,0\n1,"3",0\n',
        "t.csv, row 0 (line 2): '3\"' follows a closing quote, expected ',' or a line end; "
        "a quote in this row is missing or one too many (inside quotes it is written twice)",
    ),
    "quotes that swallow a row": (
        b"n," + HEADER + b'x,1,2,0\n"a,1,2,0\nb",1\n',
        "t.csv, row 1 (line 3): found 2 fields, expected 4 as in the header, in a "
        "row that runs over 2 lines; "
        "a quote in it is missing or one too many",
    ),
}


@pytest.mark.parametrize("case", BAD_SHAPES)
def test_a_bad_shape_has_its_own_sentence(tmp_path: Path, case: str) -> None:
    """The message says where, what was found, what was expected and what to do."""
    raw, expected = BAD_SHAPES[case]
    assert sentence(tmp_path, raw) == expected


NOT_FINITE = "expected a finite number; correct it, or leave the field empty if unknown"
BAD_COORDINATES = {
    "words": (b"1,left,0", "'a_y': found 'left', " + NOT_FINITE),
    "infinity": (b"-inf,2,0", "'a_x': found '-inf', " + NOT_FINITE),
    "overflow": (b"1e999,2,0", "'a_x': found '1e999', " + NOT_FINITE),
    "underscore": (b"1_0,2,0", "'a_x': found '1_0', " + NOT_FINITE),
    "NUL byte": (b"1\0,2,0", r"'a_x': found '1\x00', " + NOT_FINITE),
    "NUL byte alone": (b"\0,2,0", r"'a_x': found '\x00', " + NOT_FINITE),
    "invalid UTF-8": (b"1,\xff,0", r"'a_y': found '\\xff', " + NOT_FINITE),
    "very long": (b"1," + b"12" * 999 + b",0", f"'a_y': found '{'12' * 18}1...', " + NOT_FINITE),
    "quote inside": (b'1,"2""",0', "'a_y': found '2\"\"', " + NOT_FINITE),
    "decimal comma": (
        b'"12,5",2,0',
        "'a_x': found '12,5', a number with a decimal comma; write it with a dot: 12.5",
    ),
    "decimal comma, spaced": (
        b'1,"-12,5" ,0',
        "'a_y': found '-12,5', a number with a decimal comma; write it with a dot: -12.5",
    ),
}


@pytest.mark.parametrize("case", BAD_COORDINATES)
def test_a_bad_coordinate_has_its_own_sentence(tmp_path: Path, case: str) -> None:
    """Row, line and column are those of the field, whatever stood before it."""
    row, expected = BAD_COORDINATES[case]
    raw = HEADER + b'NA,"nan",0\n\n' + row + b"\n1,2,0\n"
    assert sentence(tmp_path, raw) == f"t.csv, row 1 (line 4), column {expected}"


def test_a_decimal_comma_between_semicolons_is_named(tmp_path: Path) -> None:
    """The usual table of a European spreadsheet."""
    assert sentence(tmp_path, b"a_x;a_y;Image\n1;1.234,5;0\n") == (
        "t.csv, row 0 (line 2), column 'a_y': found '1.234,5', a number with a decimal comma; "
        "write it with a dot: 1234.5"
    )


def test_an_image_path_may_not_be_blank(tmp_path: Path) -> None:
    """A row without a file's name is found before any file is read."""
    assert sentence(tmp_path, b"a_x,a_y,image_path\n1,2,a.png\n1,2, \n") == (
        "t.csv, row 1 (line 3), column 'image_path': no image is named; name its file, or remove the row"
    )


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_dot_", "."), content)
    return out.getvalue()


TABLE = HEADER + b"1,2,0\n" * 400
BAD_FILES = {
    "zip without a csv": (
        "t.zip",
        zipped(a_dot_txt=b"x"),
        "t.zip holds no csv file ('a.txt'); expected exactly one: unpack it and give the table's own file",
    ),
    "empty zip": (
        "t.zip",
        zipped(),
        "t.zip holds no csv file (it is empty); expected exactly one: unpack it and "
        "give the table's own file",
    ),
    "zip with several": (
        "t.zip",
        zipped(a_dot_csv=b"x", B_dot_CSV=b"y"),
        "t.zip holds 2 csv files ('a.csv', 'B.CSV'); expected exactly one: unpack "
        "it and give the table's own file",
    ),
    "Excel workbook": (
        "t.xlsx",
        zipped(**{"xl/workbook_dot_xml": b"x"}),
        "t.xlsx is an Excel workbook; save its sheet as CSV (UTF-8) and give that file",
    ),
    "no zip": (
        "t.zip",
        TABLE,
        "t.zip is named .zip but its content is not zip; download it again, or "
        "rename it to .csv if it is plain text",
    ),
    "no gzip": (
        "t.csv.gz",
        TABLE,
        "t.csv.gz is named .gz but its content is not gz; download it again, or "
        "rename it to .csv if it is plain text",
    ),
    "truncated zip": (
        "t.zip",
        zipped(a_dot_csv=TABLE)[:-9],
        "t.zip is a damaged or unsupported zip file (File is not a zip file); download it again",
    ),
    "truncated gzip": (
        "t.csv.gz",
        gzip.compress(TABLE)[:-12],
        "t.csv.gz is a damaged or truncated gzip file (Compressed file ended before "
        "the end-of-stream marker was "
        "reached); copy or download it again",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_has_its_own_sentence(tmp_path: Path, case: str) -> None:
    """What packs a table is checked before the table."""
    name, raw, expected = BAD_FILES[case]
    assert sentence(tmp_path, raw, name) == expected


@pytest.mark.parametrize("position", [36, 40, 44])
def test_flipped_bytes_in_a_zip_are_noticed(tmp_path: Path, position: int) -> None:
    """A packed table with a wrong checksum or a broken stream is never accepted."""
    raw = bytearray(zipped(a_dot_csv=TABLE))
    raw[position] ^= 0xFF
    assert "t.zip is a damaged or" in sentence(tmp_path, bytes(raw), "t.zip")


def test_an_encrypted_zip_is_named(tmp_path: Path) -> None:
    """There is no way to ask for a password."""
    raw = bytearray(zipped(a_dot_csv=TABLE))
    for begin in (raw.find(b"PK\x03\x04") + 6, raw.find(b"PK\x01\x02") + 8):
        raw[begin] |= 1
    assert sentence(tmp_path, bytes(raw), "t.zip") == (
        "t.zip: 'a.csv' in it is encrypted; unpack it and give the file"
    )


def test_a_file_that_is_not_there_is_bad_data(tmp_path: Path) -> None:
    """The message says from where the path was taken."""
    with pytest.raises(
        DataError, match=r"none.csv: no such file; check the path, given relative to /"
    ) as caught:
        read_table(tmp_path / "none.csv")
    assert caught.value.exit_code == 3
    with pytest.raises(DataError, match="is a folder; give the table's file in it"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="is not a regular file"):
        read_table(Path(os.devnull))


def test_a_path_the_system_refuses_is_a_matter_of_storage() -> None:
    """Names too long, or with a NUL byte."""
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(StorageError, match="cannot be opened") as caught:
            read_table(Path(name))
        assert caught.value.exit_code == 5


def test_what_is_shown_is_short_and_printable() -> None:
    """A message never holds a control character, a lone surrogate or a megabyte."""
    assert shown(b"\x1b[31m") == r"'\x1b[31m'"
    assert shown("a\udcff") == r"'a\udcff'"
    assert len(shown("x" * 10**6)) < 50
    assert listed([f"c{i}" for i in range(9)]) == "'c0', 'c1', 'c2', 'c3', 'c4' and 4 more"
    assert place(Path("t.csv"), row=3, line=5, column="a\nb") == r"t.csv, row 3 (line 5), column 'a\nb'"


def test_a_file_that_vanishes_while_read_is_a_matter_of_storage(tmp_path: Path) -> None:
    """An error of the system under the reader has its own exit code."""
    (tmp_path / "t.csv").write_bytes(TABLE)
    with open_decompressed(tmp_path / "t.csv") as text:
        text._text = mock.Mock(read=mock.Mock(side_effect=OSError(5, "Input/output error")))
        with pytest.raises(StorageError, match=r"t\.csv cannot be read: Input/output error"):
            text.read(1)
