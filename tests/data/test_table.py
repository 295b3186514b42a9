from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from labelfill.data.table import (
    KeypointTable,
    compressed_writer,
    coordinate_text,
    open_decompressed,
    read_table,
)
from labelfill.errors import DataError, UsageError
from tests.drawn_tables import ONE_LINE_END, Drawn, blocks_of, filled, restored, tables, value_of
from tests.examples import drawing

DATA = Path(os.environ.get("LABELFILL_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no example data: set LABELFILL_DATA")


@drawing(100)
@given(drawn=tables(), block=st.sampled_from([1, 2, 3, 5, 8, 13, 1 << 20]))
def test_a_table_is_read_as_it_was_meant(tmp_path: Path, drawn: Drawn, block: int) -> None:
    """Values, notes, field positions and line numbers are found whatever delimiters, quotes and line ends."""
    (tmp_path / "t.csv").write_bytes(drawn.raw)
    with blocks_of(block):
        table = read_table(tmp_path / "t.csv", require_images=False)
    assert (table.delimiter, list(table.keypoints)) == (drawn.delimiter, drawn.keypoints)
    np.testing.assert_array_equal(table.labels, drawn.labels)
    assert table.extra == {"note": drawn.notes}
    assert table.lines.tolist() == [
        1 + len(ONE_LINE_END.findall(drawn.raw[:begin])) for begin in drawn.begins
    ]
    fields = [drawn.raw[begin:end] for begin, end in table.field_spans.reshape(-1, 2)]
    values = [value_of(field.strip().strip(b'"').decode()) for field in fields]
    np.testing.assert_array_equal(values, drawn.labels.ravel())
    assert table.content_length == len(drawn.raw)
    assert table.content_sha256 == hashlib.sha256(drawn.raw).hexdigest()


@pytest.mark.slow
@drawing(100)
@given(drawn=tables())
def test_pandas_reads_the_same(tmp_path: Path, drawn: Drawn) -> None:
    """pandas, as an independent reader, finds the same rows, numbers and texts."""
    # After a lone CR pandas loses an empty first field.
    assume(b"\r" + drawn.delimiter.encode() not in drawn.raw)
    (tmp_path / "t.csv").write_bytes(drawn.raw)
    table = read_table(tmp_path / "t.csv", require_images=False)
    # Where pyarrow is installed pandas keeps texts as its strings, which are UTF-8 only, unless told not to.
    with pd.option_context("mode.string_storage", "python"):
        oracle = pd.read_csv(
            tmp_path / "t.csv",
            sep=drawn.delimiter,
            dtype=object,
            keep_default_na=False,
            encoding="utf-8-sig",
            encoding_errors="surrogateescape",
            index_col=False,
        )
    assert tuple(oracle.columns) == table.columns
    for k, keypoint in enumerate(table.keypoints):
        for a, axis in enumerate("xy"):
            values = [value_of(text) for text in oracle[f"{keypoint}_{axis}"]]
            np.testing.assert_array_equal(table.labels[:, k, a], values)
    # pandas drops blanks in front of a record's first field.
    assert [text.lstrip(" ") for text in oracle["note"]] == [text.lstrip(" ") for text in table.extra["note"]]


@drawing(100)
@given(drawn=tables(), block=st.sampled_from([1, 2, 3, 5, 8, 13, 1 << 20]), data=st.data())
def test_filling_changes_blank_fields_and_no_other_byte(
    tmp_path: Path, drawn: Drawn, block: int, data: st.DataObject
) -> None:
    """Restoring the original text of the filled fields gives back the input byte for byte."""
    source, result = tmp_path / "t.csv", tmp_path / "filled.csv"
    source.write_bytes(drawn.raw)
    numbers = st.just(math.nan) | st.floats(-1e4, 1e4)
    count = drawn.labels.size
    values = np.array(data.draw(st.lists(numbers, min_size=count, max_size=count))).reshape(
        drawn.labels.shape
    )
    table = read_table(source, require_images=False)
    with blocks_of(block):
        output = filled(table, values)
    result.write_bytes(output)
    again = read_table(result, require_images=False)
    assert restored(drawn.raw, table, output, again) == drawn.raw
    expected = np.where(table.observed, table.labels, np.round(values, 4))
    np.testing.assert_allclose(again.labels, expected, rtol=0, atol=6e-5)
    np.testing.assert_array_equal(again.labels[table.observed], table.labels[table.observed])
    assert (again.extra, again.lines.tolist()) == (table.extra, table.lines.tolist())


def read_bytes(tmp_path: Path, raw: bytes, **options: bool) -> KeypointTable:
    (tmp_path / "t.csv").write_bytes(raw)
    return read_table(tmp_path / "t.csv", **{"require_images": False, **options})


def test_a_quoted_blank_gets_a_quoted_value(tmp_path: Path) -> None:
    """Quotes around a blank stay around the value, blanks and missing words are replaced whole."""
    table = read_bytes(tmp_path, b'a_x,a_y,b_x,b_y\n"", ,NA,"nan"\n')
    assert filled(table, np.full((1, 2, 2), 1.5)) == b'a_x,a_y,b_x,b_y\n"1.5000",1.5000,1.5000,"1.5000"\n'


def test_half_a_point_can_be_filled(tmp_path: Path) -> None:
    """Only the blank one of x and y is written; what `values` says of the other is not."""
    table = read_bytes(tmp_path, b"a_x,a_y\n065.0,\n,6.5e1\n")
    assert table.observed.tolist() == [[[True, False]], [[False, True]]]
    assert filled(table, np.full((2, 1, 2), 9.0)) == b"a_x,a_y\n065.0,9.0000\n9.0000,6.5e1\n"


def test_values_that_are_not_finite_leave_a_blank(tmp_path: Path) -> None:
    """A NaN or an infinity is never written."""
    raw = b"a_x,a_y\n,\n"
    assert filled(read_bytes(tmp_path, raw), np.array([[[np.nan, np.inf]]])) == raw


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, b"1.0000"), (-0.00001, b"0.0000"), (-3.14159, b"-3.1416"), (1e7, b"10000000.0000")],
)
def test_new_numbers_have_four_decimals_and_a_dot(value: float, text: bytes) -> None:
    """No exponent, no negative zero, no clipping."""
    assert coordinate_text(value) == text


def test_a_table_that_changed_is_not_filled(tmp_path: Path) -> None:
    """Positions found in one file are not used in another."""
    table = read_bytes(tmp_path, b"a_x,a_y\n1,\n")
    (tmp_path / "t.csv").write_bytes(b"a_x,a_y\n2,\n")
    with pytest.raises(DataError, match="changed since it was read"):
        filled(table, np.ones((1, 1, 2)))


def test_names_that_differ_in_case_are_different_keypoints(tmp_path: Path) -> None:
    """`nose` and `Nose` are two keypoints."""
    assert read_bytes(tmp_path, b"nose_x,nose_y,Nose_x,Nose_y\n1,2,3,4\n").keypoints == ("nose", "Nose")


def test_other_columns_are_kept_as_text(tmp_path: Path) -> None:
    """Numbers are not rewritten, quotes are taken off, the image's text is left out."""
    table = read_bytes(tmp_path, b'id,a_x,a_y,Image,who\n007,1,2,0 0,"x ""y"""\n')
    assert table.extra == {"id": ["007"], "who": ['x "y"']}
    assert table.image_column == "Image"


def test_a_table_of_images_needs_no_keypoints(tmp_path: Path) -> None:
    """Without `require_keypoints` a lone `_x` column is another column, and there may be one column only."""
    table = read_bytes(tmp_path, b"pos_x,Image\n4,0 0\n", require_keypoints=False)
    assert (table.keypoints, table.labels.shape, table.extra) == ((), (1, 0, 2), {"pos_x": ["4"]})
    one = read_bytes(tmp_path, b"Image\n0 0\n\n 1 1\n", require_keypoints=False)
    assert (one.rows, one.lines.tolist()) == (2, [2, 4])


def test_the_delimiter_is_the_one_that_yields_most_coordinate_names(tmp_path: Path) -> None:
    """A comma inside a name or a note does not make a table comma-separated."""
    table = read_bytes(tmp_path, b"a,b,c,note;a_x;a_y\n1,2;3;4\n")
    assert (table.delimiter, table.columns[0]) == (";", "a,b,c,note")


def pack(name: str, raw: bytes) -> bytes:
    out = io.BytesIO()
    with compressed_writer(out, name) as packed:
        packed.write(raw)
    return out.getvalue()


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.zip", "t.csv.zip", "T.CSV.GZ"])
def test_packed_tables_round_trip(tmp_path: Path, name: str) -> None:
    """What is packed by suffix reads back as the same bytes, and packing twice gives equal files."""
    raw = b"a_x,a_y\n1,\n"
    (tmp_path / name).write_bytes(pack(name, raw))
    assert pack(name, raw) == pack(name, raw)
    with open_decompressed(tmp_path / name) as text:
        assert text.read() == raw
    table = read_table(tmp_path / name, require_images=False)
    assert filled(table, np.ones((1, 1, 2))) == b"a_x,a_y\n1,1.0000\n"


def test_the_zip_holds_one_csv_named_after_the_table() -> None:
    """`filled.zip` holds `filled.csv`."""
    for name in ("filled.zip", "filled.csv.zip"):
        assert zipfile.ZipFile(io.BytesIO(pack(name, b""))).namelist() == ["filled.csv"]


def test_only_known_suffixes_are_written() -> None:
    """A name such as filled.xlsx is refused before anything is written."""
    with pytest.raises(UsageError, match=r"'filled.xlsx': a table is written as .csv, .csv.gz or .zip"):
        pack("filled.xlsx", b"")


def test_the_content_decides_how_a_table_is_packed(tmp_path: Path) -> None:
    """A gzip file that a browser renamed to .csv is read all the same; so is a csv in any folder of a zip."""
    (tmp_path / "t.csv").write_bytes(gzip.compress(b"a_x,a_y\n1,2\n"))
    assert read_table(tmp_path / "t.csv", require_images=False).labels.tolist() == [[[1, 2]]]
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("data/../../t.csv", b"a_x,a_y\n3,4\n")
        archive.writestr("__MACOSX/._t.csv", b"\0")
        archive.writestr("readme.txt", b"")
    assert read_table(tmp_path / "t.zip", require_images=False).labels.tolist() == [[[3, 4]]]
    assert sorted(os.listdir(tmp_path)) == ["t.csv", "t.zip"]


@needs_data
@pytest.mark.parametrize(
    ("name", "images"),
    [("ytf/training.zip", True), ("kaggle/labels.csv", False), ("kaggle/training_first20.csv", True)],
)
def test_real_tables_are_read_as_pandas_reads_them(name: str, images: bool) -> None:
    """The reference data sets, packed and plain, with and without images."""
    table = read_table(DATA / name, require_images=images)
    oracle = pd.read_csv(DATA / name)
    columns = [f"{keypoint}_{axis}" for keypoint in table.keypoints for axis in "xy"]
    np.testing.assert_array_equal(table.labels.reshape(table.rows, -1), oracle[columns].to_numpy(float))
    assert table.lines.tolist() == list(range(2, table.rows + 2))


@pytest.mark.slow
@needs_data
def test_a_real_table_is_filled_byte_for_byte(tmp_path: Path) -> None:
    """On 76 MB of real faces the fill touches blank fields only."""
    table = read_table(DATA / "ytf/training.zip")
    with open_decompressed(table.path) as text:
        raw = text.readall()
    output = filled(table, np.full(table.labels.shape, 12.25))
    (tmp_path / "filled.csv").write_bytes(output)
    again = read_table(tmp_path / "filled.csv")
    assert again.observed.all()
    assert restored(raw, table, output, again) == raw


def test_reading_tables_loads_neither_torch_nor_pandas_nor_skimage() -> None:
    """Reading labels costs no more than numpy."""
    code = (
        "import sys, labelfill.data.dataset;print({'torch', 'pandas', 'skimage', 'scipy'} & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
