"""JSON files read whole and written in the layout in which they were found."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfill.data.formats.json_files import JsonFile, Layout, json_bytes
from labelfill.errors import DataError
from tests.examples import drawing

FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)
ENTRIES = st.lists(
    st.dictionaries(st.text(max_size=4), VALUES, min_size=1, max_size=3), min_size=1, max_size=4
)
LAYOUTS = st.builds(
    Layout,
    indent=st.sampled_from([None, "", " ", "  ", "\t"]),
    entry_lines=st.just(False),
    separators=st.tuples(st.sampled_from([",", ", "]), st.sampled_from([":", ": ", " : "])),
    ensure_ascii=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n"]),
    before=st.sampled_from(["", "\ufeff", "\n "]),
    after=st.sampled_from(["", "\n", "\r\n\r\n"]),
)


def rewritten(file: bytes) -> bytes:
    return JsonFile(Path("f.json"), file).rewritten()


@pytest.mark.slow
@drawing(200)
@given(entries=ENTRIES, others=OBJECTS, layout=LAYOUTS, indent=st.sampled_from([None, 0, 1, 4, "\t"]))
def test_what_python_writes_comes_back_to_the_byte(
    entries: list[dict[str, object]], others: dict[str, object], layout: Layout, indent: int | str | None
) -> None:
    """Indentation, separators, escapes, line ends and what surrounds the value are found again."""
    for value in ({"entries": entries, **others}, entries):
        default = json.dumps(value, indent=indent).encode()
        assert rewritten(default) == default
        if layout.indent is not None:
            layout = Layout(**{**vars(layout), "separators": (",", layout.separators[1])})
        file = json_bytes(value, layout)
        assert JsonFile(Path("f.json"), file).content == value
        # Without a comma or a character beyond ASCII nothing tells how one is written, and nothing needs to.
        assert rewritten(file) == file


@pytest.mark.slow
@drawing(200)
@given(entries=ENTRIES, others=OBJECTS)
def test_lines_of_entries(entries: list[dict[str, object]], others: dict[str, object]) -> None:
    """A line for each entry comes back to the byte; entries know their lines however they are laid out."""
    by_line = json_bytes(entries)
    assert rewritten(by_line) == by_line
    assert JsonFile(Path("f.json"), by_line).lines() == list(range(2, len(entries) + 2))
    members = json_bytes({"entries": entries, **others})
    assert rewritten(members) == members
    assert JsonFile(Path("f.json"), members).lines("entries") == list(range(2, len(entries) + 2))

    before = {f"before {name}": value for name, value in others.items()}
    indented = json.dumps({**before, "entries": entries}, indent=1)
    expected, line = [], len(json.dumps({**before, "entries": 1}, indent=1).splitlines())
    for entry in entries:
        expected.append(line)
        line += len(json.dumps(entry, indent=1).splitlines())
    assert JsonFile(Path("f.json"), indented.encode()).lines("entries") == expected


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (
            b"[1, 1.0, 1.50e1, -0.0, 12345678901234567890]",
            b"[1, 1.0, 15.0, -0.0, 12345678901234567890]",
        ),
        (b'["\\u00e9", "\\ud83d\\ude00"]', b'["\\u00e9", "\\ud83d\\ude00"]'),
        ('["é", "\\ud800", "\\u00e9"]'.encode(), '["é", "\\ud800", "é"]'.encode()),
        (b'[\n  {"id": 1,\n   "a": [1,\n2]},\n  {"id": 2}\n]', b'[\n{"id": 1, "a": [1, 2]},\n{"id": 2}\n]'),
        (b'[{\n  "id": [1, 2]\n}]', b'[\n  {\n    "id": [\n      1,\n      2\n    ]\n  }\n]'),
    ],
)
def test_values_stay_where_the_text_cannot(found: bytes, kept: bytes) -> None:
    """Numbers, escapes and blanks that Python's json does not write so keep their value and type."""
    assert rewritten(found) == kept
    assert repr(json.loads(kept)) == repr(json.loads(found))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1,\n "b" 2}', "line 2, column 6: expecting ':' delimiter, found '2}'"),
        (b'{"a": [1, 2}', "line 1, column 12: expecting ',' delimiter"),
        (b'{"a": 1', "line 1, column 8: expecting ',' delimiter, found the end of the file"),
        (b'{"a": ', "line 1, column 7: expecting value, found the end of the file"),
        (b'{"a": "\xff"}', "is not UTF-8 text (byte 7)"),
        (b'{"a": 1} x', "line 1, column 10: expected the end of the file, found 'x'"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_damaged_json_names_the_place(content: bytes, words: str) -> None:
    """Line and column, what was found and what to do."""
    with pytest.raises(DataError) as caught:
        JsonFile(Path("f.json"), content)
    assert words in str(caught.value)
    assert str(caught.value).startswith("f.json")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            "0.1234567890123456789",
            "a float does not hold '0.1234567890123456789', it would become 0.1234",
        ),
        ("0.10000000000000001", "it would become 0.1; round it"),
        ("1e400", "a float does not hold '1e400', it would become inf; round it"),
        ("-1e-400", "a float does not hold '-1e-400', it would become -0.0"),
        ("1e99999999999999999999", "it would become inf"),
        ("NaN", "NaN is no number of JSON; write null, or a number"),
        ("-Infinity", "-Infinity is no number of JSON"),
        pytest.param("1" * 5000, "a number has too many digits; shorten it", id="5000 digits"),
        ('{"id": 1,\n"b": 2, "id": 1}', "an object has the name 'id' twice; remove one of them"),
        ('{"id": 1, "\\u0069d": 2}', "an object has the name 'id' twice"),
    ],
)
def test_what_would_not_come_back_is_refused(value: str, words: str) -> None:
    """Line, value and what to do, wherever in the file it stands."""
    for before, after in (
        ("\n[", "]"),
        ('{"a": "[{",\n"b": [{}, {"c": [2, ', ']}], "d": 1}'),
        ('{\n"a": ', " x"),
    ):
        with pytest.raises(DataError) as caught:
            JsonFile(Path("f.json"), f"{before}{value}{after}".encode())
        assert str(caught.value).startswith("f.json, line 2: ")
        assert words in str(caught.value)


@drawing(200)
@given(number=st.decimals(allow_nan=False, allow_infinity=False) | FINITE)
def test_a_number_is_kept_or_refused(number: object) -> None:
    """What is read and written again is the same number, digit by digit."""
    text = str(number)
    try:
        kept = rewritten(f"[{text}]".encode()).decode()
    except DataError:
        assert not isinstance(number, float)
        return
    assert Decimal(kept[1:-1]) == Decimal(text)
