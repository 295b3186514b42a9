"""Generated tables in every dress the format allows, shared by the tests of tables."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from hypothesis import strategies as st

from labelfill.data.images.pixel_text import PixelText
from labelfill.data.images.storage import MemoryStore
from labelfill.data.table import (
    KeypointTable,
    header,
    open_decompressed,
    read_table,
    tokenizer,
    write_filled,
    writing,
)
from labelfill.errors import LabelfillError

NUMBERS = ["65.", "6.5e1", "065.0", " 65", "65 ", "-3.25", "1E-3", "+7", ".5", "66.0335639098", "0"]
BLANKS = ["", "", "", " ", "nan", "NaN", "NA", "n/a", "N/A", "null", "NULL"]
LINE_ENDS = [b"\n", b"\r\n", b"\r", b"\r\r\n"]
ONE_LINE_END = re.compile(rb"\r\r\n|\r\n|\r|\n")


@dataclass(frozen=True)
class Drawn:
    """A generated table: its bytes, and what a reader should find in them."""

    raw: bytes
    delimiter: str
    keypoints: list[str]
    labels: np.ndarray
    begins: list[int]
    notes: list[str]


def value_of(text: str) -> float:
    return math.nan if text.strip().lower() in {"", "nan", "na", "n/a", "null"} else float(text)


@st.composite
def coordinates(draw: st.DrawFn) -> tuple[bytes, float]:
    text = draw(st.sampled_from(BLANKS) | st.sampled_from(NUMBERS) | st.floats(-1e6, 1e6).map(repr))
    field = draw(st.sampled_from(["{}", "{}", '"{}"', '"{}" '])).format(text)
    return field.encode(), value_of(text)


@st.composite
def notes(draw: st.DrawFn) -> tuple[bytes, str]:
    """Text of another column: anything inside quotes, or something with stray quotes and bad UTF-8."""
    if draw(st.booleans()):
        text = draw(st.text('ab"\n\r,;\t é=', max_size=6))
        return b'"' + text.replace('"', '""').encode() + b'"', text
    field = draw(st.sampled_from([b"", b"x", b"5'10\"", b'a"b"', b"\xff\xfe", b"=1+1", b"x y ", b"../../x"]))
    return field, field.decode("utf-8", "surrogateescape")


@st.composite
def tables(draw: st.DrawFn) -> Drawn:
    delimiter = draw(st.sampled_from(",;\t"))
    names = draw(
        st.lists(st.sampled_from(["nose", "Nose", "l eye", "a/b", "é"]), min_size=1, max_size=3, unique=True)
    )
    columns = draw(st.permutations([f"{name}_{axis}" for name in names for axis in "xy"] + ["note"]))
    keypoints = list(dict.fromkeys(column[:-2] for column in columns if column != "note"))
    # One line end throughout, or a mixture.
    ends = st.sampled_from(draw(st.sampled_from([*([end] for end in LINE_ENDS), LINE_ENDS])))
    join = delimiter.encode().join
    raw = (
        draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
        + join(column.encode() for column in columns)
        + draw(ends)
    )
    begins, texts, labels = [], [], []
    for _ in range(draw(st.integers(1, 5))):
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            raw += draw(st.sampled_from([b"", b" ", b"  "])) + draw(ends)
        cells = {column: draw(notes() if column == "note" else coordinates()) for column in columns}
        begins.append(len(raw))
        end = draw(ends)
        raw += join(field for field, _ in cells.values()) + end
        texts.append(cells["note"][1])
        labels.append([[cells[f"{keypoint}_{axis}"][1] for axis in "xy"] for keypoint in keypoints])
    if draw(st.booleans()):
        raw = raw[: -len(end)]
    return Drawn(raw, delimiter, keypoints, np.array(labels), begins, texts)


@contextmanager
def blocks_of(size: int) -> Iterator[None]:
    """Blocks so small that every boundary falls somewhere inside a field, a quote or a line end."""
    with (
        mock.patch.object(tokenizer, "BLOCK_BYTES", size),
        mock.patch.object(header, "_FIRST_BYTES", size),
        mock.patch.object(writing, "BLOCK_BYTES", size),
    ):
        yield


def filled(table: KeypointTable, values: np.ndarray) -> bytes:
    out = io.BytesIO()
    assert write_filled(table, values, out) == hashlib.sha256(out.getvalue()).hexdigest()
    return out.getvalue()


def restored(original: bytes, table: KeypointTable, output: bytes, again: KeypointTable) -> bytes:
    """The output with the original text of every filled field put back, by the output's own positions."""
    pieces, position = [], 0
    cells = np.argwhere(np.isnan(table.labels) & ~np.isnan(again.labels))
    for cell in sorted(map(tuple, cells), key=lambda cell: again.field_spans[cell][0]):
        begin, end = again.field_spans[cell]
        old_begin, old_end = table.field_spans[cell]
        pieces += [output[position:begin], original[old_begin:old_end]]
        position = end
    return b"".join([*pieces, output[position:]])


def check_refused_or_intact(path: Path, *, block: int = tokenizer.BLOCK_BYTES) -> str:
    """Whatever bytes lie at `path`: one of our own errors, or a table whose observed bytes survive a fill.

    The error's sentence, or nothing if the table was accepted.
    """
    try:
        with blocks_of(block):
            sink = PixelText(path, None, MemoryStore())
            table = read_table(path, image_sink=sink.add, require_images=False)
    except LabelfillError as error:
        assert str(error).isprintable(), str(error)
        return str(error)
    with open_decompressed(path) as text:
        raw = text.read()
    output = filled(table, np.full(table.labels.shape, 1.5))
    written = path.with_name("filled.csv")
    written.write_bytes(output)
    again = read_table(written, require_images=False)
    assert again.observed.all()
    assert restored(raw, table, output, again) == raw
    return ""
