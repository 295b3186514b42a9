"""The whole program on tables made to break it: a sentence or an intact table, never a traceback."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.drawn_tables import restored
from tests.driving import bare_table, content, labelfill
from tests.examples import drawing
from tests.trained_runs import Trained

# What a person's editor, a spreadsheet or a broken copy make of a table.
PIECES = [
    b"", b'"', b'""', b",", b";", b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"nan", b"inf",
    b"-", b"1e999", b"1,5", b" ", b"999999999999", b"_x", b"_y", b"Image", b"image_path", b"../../x",
    b"=1+1",
]  # fmt: skip


def position(raw: bytes, line: int, field: int, share: float) -> int:
    """Where in a table's bytes that share of a field lies; counted on from the first behind the last."""
    lines = raw.splitlines(keepends=True) or [b""]
    line %= len(lines)
    fields = lines[line].split(b",")
    field %= len(fields)
    before = sum(map(len, lines[:line])) + sum(len(text) + 1 for text in fields[:field])
    return before + round(share * len(fields[field]))


def packed(raw: bytes, kind: str) -> bytes:
    if kind == "gz":
        return gzip.compress(raw, mtime=0)
    if kind == "zip":
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../../t.csv", raw)
        return out.getvalue()
    return raw


# A line, a field of it, and a place in this field: evenly strewn, nearly all would fall into the pixels.
PLACES = st.tuples(st.integers(0, 12), st.integers(0, 8), st.floats(0, 1))


@drawing(50)
@given(
    changes=st.lists(st.tuples(PLACES, st.integers(0, 3), st.sampled_from(PIECES)), max_size=4),
    rows=st.integers(1, 12),
    kind=st.sampled_from(["csv", "gz", "zip"]),
    cut=st.floats(0, 1),
)
def test_the_program_ends_in_a_sentence_or_an_intact_table(
    small_prior: Trained,
    tmp_path: Path,
    changes: list[tuple[tuple[int, int, float], int, bytes]],
    rows: int,
    kind: str,
    cut: float,
) -> None:
    """Exit code 0, 3, 5 or 6; what was written has every observed byte of what was read."""
    raw = bytearray(b"".join(small_prior.table.read_bytes().splitlines(keepends=True)[: rows + 1]))
    for place, length, piece in changes:
        begin = position(raw, *place)
        raw[begin : begin + length] = piece
    data = packed(bytes(raw), kind)
    if cut < 0.1:
        data = data[: round(cut * 10 * len(data))]
    table, out = tmp_path / f"t.{kind}", tmp_path / "filled.csv"
    table.write_bytes(data)
    outcome = labelfill("impute", "--data", table, "--run-dir", small_prior.run, "--out", out, "--force")
    assert outcome.code in (0, 3, 5, 6), outcome.err
    assert "Traceback" not in outcome.err
    assert "bug in labelfill" not in outcome.err
    if outcome.code in (0, 6):
        before, after = bare_table(table), bare_table(out)
        assert restored(content(table), before, content(out), after) == content(table)
    else:
        assert outcome.sentence
