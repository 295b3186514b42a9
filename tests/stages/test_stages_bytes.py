"""Filling a table leaves every other byte as it is, through the whole command."""

from __future__ import annotations

import gzip
import io
import itertools
import re
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.drawn_tables import BLANKS, LINE_ENDS, notes
from tests.driving import DATA, bare_table, check_filled, content, done
from tests.examples import drawing
from tests.trained_runs import Trained, draw_small_table

KAGGLE = DATA / "kaggle" / "training_first20.csv"


def without_some_labels(raw: bytes, path: Path, share: float) -> bytes:
    """A table's bytes with that share of its coordinates taken out, half-labelled points among them."""
    path.write_bytes(raw)
    table = bare_table(path)
    taken = np.random.default_rng(3).random(table.observed.shape) < share
    pieces, position = [], 0
    for begin, end in sorted(map(tuple, table.field_spans[taken & table.observed].tolist())):
        pieces.append(raw[position:begin])
        position = end
    return b"".join([*pieces, raw[position:]])


@pytest.mark.slow
def test_the_sample_comes_back(sample: Trained, tmp_path: Path) -> None:
    """Blanking what was filled gives back the demo sample byte for byte, and no cell is left blank."""
    summary = done("impute", "--run-dir", sample.run, "--out", tmp_path / "filled.csv")
    check_filled(sample.table, tmp_path / "filled.csv", summary)
    assert summary["left_blank"] == 0
    # The same without our own tokenizer: the sample has no quotes.
    before = [line.split(b",") for line in sample.table.read_bytes().split(b"\n")]
    after = [line.split(b",") for line in (tmp_path / "filled.csv").read_bytes().split(b"\n")]
    blanks = 0
    for old, new in zip(before, after, strict=True):
        for one, other in zip(old, new, strict=True):
            assert one == other or (one == b"" and np.isfinite(float(other)))
            blanks += one != other
    assert blanks == summary["filled"]


@pytest.mark.slow
@pytest.mark.skipif(not KAGGLE.is_file(), reason=f"no Kaggle rows at {KAGGLE} (LABELFILL_DATA)")
def test_kaggles_own_rows_come_back(sample: Trained, tmp_path: Path) -> None:
    """Kaggle's first rows, a third of their labels taken out, filled by models of the sample."""
    (tmp_path / "t.csv").write_bytes(without_some_labels(KAGGLE.read_bytes(), tmp_path / "t.csv", 0.3))
    summary = done(
        "impute", "--run-dir", sample.run, "--data", tmp_path / "t.csv", "--out", tmp_path / "filled.csv.gz"
    )
    lines = check_filled(tmp_path / "t.csv", tmp_path / "filled.csv.gz", summary)
    assert summary["left_blank"] == 0
    assert {line["filled"] for line in lines} == {"xy", "x", "y"}
    assert len(lines) > 100


NUMBERS = ("{:.1f}", "{:.4f}", "{:.0f}.", "0{:.1f}", " {:.1f}", "{:.1f} ", "+{:.2f}", "{:.0f}", "{:.3e}")


@cache
def small_table_lines() -> list[dict[str, str]]:
    """The rows of the small table as texts by column."""
    drawn = draw_small_table()
    numbers = drawn.labels.reshape(drawn.rows, -1)
    lines = []
    for coordinates, image in zip(numbers.tolist(), drawn.images, strict=True):
        texts = ["" if value != value else repr(value) for value in coordinates]
        cells = dict(zip(drawn.schema.columns, texts, strict=True))
        lines.append({**cells, "Image": " ".join(map(str, image.ravel().tolist()))})
    return lines


@st.composite
def dressed(draw: st.DrawFn) -> bytes:
    """Some rows of the small table written anew: other columns, numbers, gaps, quotes and line ends."""
    lines = small_table_lines()
    columns = draw(st.permutations([*lines[0], "note", "x y"]))
    delimiter = draw(st.sampled_from([b",", b";", b"\t"]))
    ends = st.sampled_from(draw(st.sampled_from([*([end] for end in LINE_ENDS), LINE_ENDS])))
    quoted = st.sampled_from(["{}", "{}", "{}", '"{}"', '"{}" '])
    raw = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    raw += delimiter.join(draw(quoted).format(column).encode() for column in columns) + draw(ends)
    for row in draw(st.lists(st.integers(0, len(lines) - 1), min_size=1, max_size=5)):
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            raw += draw(st.sampled_from([b"", b" ", b"  "])) + draw(ends)
        fields = []
        for column in columns:
            if column not in lines[row]:
                fields.append(draw(notes())[0])
                continue
            text = lines[row][column]
            if column == "Image":
                text = f"<{row}>"  # the test puts the pixels there: what hypothesis shows stays readable
            elif text and draw(st.sampled_from([True, True, False])):
                text = draw(st.sampled_from(NUMBERS)).format(float(text))
            else:
                text = draw(st.sampled_from(BLANKS))
            fields.append(draw(quoted).format(text).encode())
        end = draw(ends)
        raw += delimiter.join(fields) + end
    return raw[: -len(end)] if draw(st.booleans()) else raw


def packed(raw: bytes, name: str) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(raw)
    if not name.endswith(".zip"):
        return raw
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as member:
        member.writestr("whatever.csv", raw)
    return archive.getvalue()


_numbers = itertools.count()


@drawing(12)
@given(
    raw=dressed(),
    read=st.sampled_from([".csv", ".csv.gz", ".zip"]),
    write=st.sampled_from([".csv", ".csv.gz", ".zip"]),
)
def test_any_dress_comes_back(
    small_prior: Trained, tmp_path: Path, raw: bytes, read: str, write: str
) -> None:
    """Whatever the delimiter, quotes, line ends, BOM, blank lines, further columns and texts of numbers."""
    number = next(_numbers)
    raw = re.sub(rb"<(\d+)>", lambda row: small_table_lines()[int(row[1])]["Image"].encode(), raw)
    original, filled = tmp_path / f"{number}{read}", tmp_path / f"{number}.filled{write}"
    original.write_bytes(packed(raw, original.name))
    summary = done("impute", "--run-dir", small_prior.run, "--data", original, "--out", filled)
    check_filled(original, filled, summary)
    assert content(original) == raw
    assert summary["left_blank"] == 0
    assert bare_table(filled).observed.all()
