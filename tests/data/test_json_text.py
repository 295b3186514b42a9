"""JSON whose values know where they stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfill.data.formats.json_text import Edit, JsonText
from labelfill.errors import DataError
from tests.drawn_tables import fuzzing

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)


def text_of(value: object, indent: int | None, *, ascii_only: bool = True) -> JsonText:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    return JsonText(Path("f.json"), text.encode("utf-8", "surrogatepass" if ascii_only else "strict"))


@fuzzing
@given(value=OBJECTS, indent=st.sampled_from([None, 0, 2]))
def test_spans_hold_what_the_standard_library_reads(value: dict[str, object], indent: int | None) -> None:
    """Every member's and element's span is the text of its value."""
    text = text_of(value, indent)
    spans = text.member_spans(text.begin)
    assert {name: json.loads(text.text[a:b]) for name, (a, b) in spans.items()} == value
    text = text_of(list(value.values()), indent)
    assert [json.loads(text.text[a:b]) for a, b in text.spans(text.begin)] == list(value.values())


@fuzzing
@given(value=OBJECTS, new=VALUES, indent=st.sampled_from([None, 0, 2]))
def test_only_what_is_edited_changes(value: dict[str, object], new: object, indent: int | None) -> None:
    """A replaced member and an added one; nothing else, and no byte of what surrounds them."""
    text = text_of(value, indent)
    added = text.into_object(text.begin, {"added": json.dumps(new)})
    assert json.loads(b"".join(text.edited([added]))) == {**value, "added": new}
    for name, (begin, end) in text.member_spans(text.begin).items():
        replaced = b"".join(text.edited([added, Edit(begin, end, "17")]))
        assert json.loads(replaced) == {**value, name: 17, "added": new}
        assert replaced.startswith(text.text[:begin].encode())
    array = text_of(list(value.values()), indent)
    longer = b"".join(array.edited([array.into_array(array.begin, ["1", "2"])]))
    assert json.loads(longer) == [*value.values(), 1, 2]
    assert b"".join(text.edited([])) == text.text.encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1,\n "b" 2}', "line 2, column 6: expected a colon, found '2}'"),
        (b'{"a": [1, 2}', "line 1, column 12: expecting ',' delimiter"),
        (b'{"a": 1', "line 1, column 8: expected a comma or }, found the end of the file"),
        (b'{"a": ', "line 1, column 7: expected a value, found the end of the file"),
        (b"[1]", "line 1, column 1: expected an object"),
        (b'{"a": "\xff"}', "is not UTF-8 text (byte 7)"),
        (b'{"a": 1} x', "line 1, column 10: expected the end of the file, found 'x'"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_damaged_json_names_the_place(content: bytes, words: str) -> None:
    """Line and column, what was found and what to do."""
    with pytest.raises(DataError) as caught:
        text = JsonText(Path("f.json"), content)
        text.refuse_rest(text.members(text.begin, lambda _, begin: text.value(begin)[1]))
    assert words in str(caught.value)
    assert str(caught.value).startswith("f.json")
