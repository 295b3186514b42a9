"""JSON becomes a checked dataclass, or what is wrong with it is named."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from labelfill.errors import DamagedFile, UsageError
from labelfill.runs.records import read_record, record_of


@dataclass(frozen=True)
class Inner:
    share: float

    def __post_init__(self) -> None:
        if self.share > 1:
            raise UsageError("a share is at most 1")


@dataclass(frozen=True)
class Outer:
    name: str | None
    kind: Literal["a", "b"]
    size: tuple[int, int]
    words: tuple[str, ...]
    inner: list[Inner]
    by_name: dict[str, bool]
    mask: NDArray[np.bool_]
    rest: Any = None


GOOD = {
    "name": None,
    "kind": "a",
    "size": [3, 4],
    "words": ["x"],
    "inner": [{"share": 1}],
    "by_name": {"z": True},
    "mask": [[1, 0]],
}


def test_a_record_is_read_back_by_its_annotations() -> None:
    """Tuples, arrays and dataclasses within; what has a default may be missing."""
    found = read_record(Outer, json.dumps(GOOD))
    assert (found.size, found.words, found.inner, found.rest) == ((3, 4), ("x",), [Inner(1.0)], None)
    assert found.mask.dtype == bool
    assert found.mask.tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 3),
        ("kind", "c"),
        ("size", [3]),
        ("size", [3, True]),
        ("size", "34"),
        ("words", [1]),
        ("inner", [{}]),
        ("inner", [{"share": "1"}]),
        ("inner", {"share": 1}),
        ("by_name", {"z": 1}),
        ("mask", [[1], [0, 1]]),
        ("mask", ["yes"]),
    ],
)
def test_a_field_of_another_type_is_named(field: str, value: object) -> None:
    """Also one within a dataclass within."""
    with pytest.raises(DamagedFile, match=f"'({field}|share).*' is (missing|.*expected)"):
        record_of(Outer, {**GOOD, field: value})


def test_what_is_no_record_is_refused() -> None:
    """Text that is no JSON, another value than an object, a missing field, what the dataclass refuses."""
    for text, words in (("{", "not valid JSON"), ("[]", "expected an object"), ("{}", "'share' is missing")):
        with pytest.raises(DamagedFile, match=words):
            read_record(Inner, text)
    with pytest.raises(DamagedFile, match="unknown field 'colour'"):
        read_record(Inner, b'{"share": 1, "colour": 2}')
    with pytest.raises(DamagedFile, match="at most 1"):
        read_record(Inner, b'{"share": 2}')
