"""Tables made to break a reader: they are read, or refused in bounded memory."""

from __future__ import annotations

import gzip
import io
import shutil
import tracemalloc
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfill.data.table import container, read_table, tokenizer
from labelfill.errors import DataError
from tests.drawn_tables import check_refused_or_intact, tables
from tests.examples import drawing

FINDINGS = Path(__file__).parent / "fuzz_findings"

HEADER = b"a_x,a_y,Image\n"


def zipped(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../t.csv", content)
    return out.getvalue()


def peak(path: Path, **options: bool) -> tuple[int, str]:
    """Bytes of Python and numpy memory that reading took at most, and what it said."""
    tracemalloc.start()
    try:
        read_table(path, **options)
        return tracemalloc.get_traced_memory()[1], ""
    except DataError as error:
        return tracemalloc.get_traced_memory()[1], str(error)
    finally:
        tracemalloc.stop()


def test_a_field_of_50_mb_is_read(tmp_path: Path) -> None:
    """A long text in another column is within the bound of one row."""
    (tmp_path / "t.csv").write_bytes(
        HEADER.replace(b"Image", b"Image,note") + b"1,2,0," + b"x" * (50 << 20) + b"\n"
    )
    table = read_table(tmp_path / "t.csv")
    assert len(table.extra["note"][0]) == 50 << 20


@pytest.mark.parametrize("begin", [b"1,2,", b'1,"'])
def test_a_row_beyond_the_bound_is_refused_before_the_end_of_the_file(tmp_path: Path, begin: bytes) -> None:
    """An endless field, quoted or not, costs bounded memory."""
    (tmp_path / "t.csv").write_bytes(HEADER + b"1,2,0\n" + begin + b"0 " * (4 << 20) + b"\n")
    with mock.patch.object(tokenizer, "MAX_RECORD_BYTES", 4 << 20):
        memory, message = peak(tmp_path / "t.csv")
    assert "row 1 (line 3): the row is longer than 4 MB, the most that is read as one row; " in message
    assert memory < 40 << 20


def test_endless_fields_are_refused_early(tmp_path: Path) -> None:
    """Fifty million delimiters do not become fifty million positions."""
    (tmp_path / "t.csv").write_bytes(HEADER + b"," * (50 << 20))
    memory, message = peak(tmp_path / "t.csv")
    assert "row 0 (line 2): found more than" in message
    assert message.endswith("fields, expected 3 as in the header; is a line end missing?")
    assert memory < 100 << 20


def test_an_endless_header_is_refused(tmp_path: Path) -> None:
    """Text or zeros without a line end are no table."""
    (tmp_path / "t.csv").write_bytes(b"\0" * (4 << 20))
    with mock.patch("labelfill.data.table.header.MAX_RECORD_BYTES", 1 << 20):
        assert peak(tmp_path / "t.csv")[1].endswith(
            "line 1: the header does not end within 1 MB; is this a table?"
        )


@pytest.mark.slow
def test_many_columns_are_read(tmp_path: Path) -> None:
    """A hundred thousand keypoints are many, but no reason to fail."""
    header = ",".join(f"k{k}_x,k{k}_y" for k in range(100_000))
    (tmp_path / "t.csv").write_text(f"{header}\n{',' * 199_999}\n")
    table = read_table(tmp_path / "t.csv", require_images=False)
    assert table.labels.shape == (1, 100_000, 2)
    assert not table.observed.any()


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    """Text that is both huge and shrunk beyond what images shrink is not unpacked to its end."""
    (tmp_path / "t.zip").write_bytes(zipped(HEADER + (b"1,1," + b"0 " * (1 << 19) + b"\n") * 40))
    with mock.patch.object(container, "BOMB_BYTES", 8 << 20):
        memory, message = peak(tmp_path / "t.zip")
    assert "t.zip unpacks to over 250 times its size" in message
    assert memory < 150 << 20


def test_rows_that_take_more_memory_than_text_count_as_a_bomb_too(tmp_path: Path) -> None:
    """A row of two bytes is remembered in fifty."""
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a_x,a_y\n" + b",\n" * (2 << 20)))
    with mock.patch.object(container, "BOMB_BYTES", 64 << 20):
        assert (
            "t.csv.gz unpacks to over 250 times its size"
            in peak(tmp_path / "t.csv.gz", require_images=False)[1]
        )


def test_black_images_are_no_bomb(tmp_path: Path) -> None:
    """A table that shrinks a thousandfold is read as long as it is not huge."""
    (tmp_path / "t.zip").write_bytes(zipped(HEADER + (b"0,0," + b"0 " * 4095 + b"0\n") * 400))
    assert read_table(tmp_path / "t.zip").rows == 400


def test_strange_names_and_bytes_are_carried_through(tmp_path: Path) -> None:
    """Keypoints named like paths or devices, NUL bytes, invalid UTF-8 and formulas are only text."""
    header = b"../../x_x,../../x_y,CON_x,CON_y,a/b_x,a/b_y,note\xff\n"
    (tmp_path / "t.csv").write_bytes(header + b'1,2,3,4,5,6,=cmd|\0"\xff\n')
    table = read_table(tmp_path / "t.csv", require_images=False)
    assert table.keypoints == ("../../x", "CON", "a/b")
    assert table.extra == {"note\udcff": ['=cmd|\0"\udcff']}


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A table with a few bytes lost, doubled, exchanged or put in."""
    raw = bytearray(draw(tables()).raw.replace(b"note", draw(st.sampled_from([b"note", b"Image"]))))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(raw)))
        end = min(len(raw), begin + draw(st.integers(0, 4)))
        raw[begin:end] = draw(
            st.sampled_from(
                [b"", b'"', b'""', b",", b"\n", b"\r", b"\0", b"\xff", b"0 ", bytes(raw[begin:end] * 2)]
            )
        )
    return bytes(raw)


@pytest.mark.slow
@drawing(100)
@given(raw=mutated(), block=st.sampled_from([1, 3, 1 << 20]))
def test_a_damaged_table_is_refused_or_kept_intact(tmp_path: Path, raw: bytes, block: int) -> None:
    """Whatever the bytes: one of our own errors, or a table whose observed bytes survive the fill."""
    (tmp_path / "t.csv").write_bytes(raw)
    check_refused_or_intact(tmp_path / "t.csv", block=block)


@drawing(200)
@given(
    raw=st.lists(st.sampled_from([b'"', b'""', b",", b"\n", b"\r", b" ", b"a"]), max_size=30).map(b"".join)
)
def test_both_tokenizers_agree(raw: bytes) -> None:
    """Where the fast tokenizer trusts a block, the slow one finds the same separators."""
    cutter = tokenizer.Tokenizer(Path("t.csv"), ",", (), tokenizer.Cursor(b""))
    for at_end in (False, True):
        results = []
        for most in (1 << 20, -1):  # -1: the slow one always
            with mock.patch.object(tokenizer, "_MOST_QUOTES_AT_ONCE", most):
                try:
                    found = cutter.separators(raw, at_end=at_end)
                    results.append(
                        found[: np.searchsorted(found, tokenizer._last_safe_end(raw, found))].tolist()
                    )
                except DataError as error:
                    results.append(str(error))
        assert results[0] == results[1]


@pytest.mark.parametrize("finding", sorted(FINDINGS.iterdir()), ids=lambda finding: finding.name)
def test_what_a_fuzzer_once_found_stays_mended(tmp_path: Path, finding: Path) -> None:
    """Files that once ended in a traceback are refused in a sentence, or kept intact."""
    shutil.copy(finding, tmp_path / "t.csv")
    check_refused_or_intact(tmp_path / "t.csv")


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_a_zip_with_a_wrong_byte_is_refused_or_kept_intact(tmp_path: Path, byte: int) -> None:
    """Whatever byte of a small archive is wrong, headers and directory included."""
    raw = zipped(HEADER + b"1,2,0 1 2 3\n,,255 255 0 0\n")
    for position in range(len(raw)):
        (tmp_path / "t.zip").write_bytes(raw[:position] + bytes([byte]) + raw[position + 1 :])
        check_refused_or_intact(tmp_path / "t.zip")
