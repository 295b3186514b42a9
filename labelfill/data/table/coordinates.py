"""Coordinate text to numbers, and the words that mean "missing"."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Bytes, Positions
from labelfill.errors import shown

MISSING_WORDS = frozenset({b"", b"nan", b"na", b"n/a", b"null"})

_LONGEST_AT_ONCE = 32
_QUOTE = ord('"')
_DECIMAL_COMMA = re.compile(rb"[+-]?\d[\d.' ]*,\d+([eE][+-]?\d+)?|[+-]?,\d+")
_NOT_IN_NUMBERS = re.compile(rb"[_\0]")


class NotACoordinate(ValueError):
    """A field that is neither a finite number nor blank; `index` says which, the message why."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


def decode_coordinates(buffer: bytes, starts: Positions, ends: Positions) -> NDArray[np.float64]:
    """Numbers of the fields ``buffer[start:end]``, NaN where blank; arrays (m,) in, (m,) out.

    Any text that `float` reads is taken, digit groups with underscores excepted.

    Raises
    ------
    NotACoordinate
        At the first field that is neither a finite number nor blank.
    """
    values = np.full(len(starts), np.nan)
    text = np.frombuffer(buffer, np.uint8)
    starts, ends = _without_quotes(text, starts, ends)
    filled = np.flatnonzero(ends > starts)
    if not len(filled):
        return values
    at_once = _decode_at_once(text, starts[filled], ends[filled])
    if at_once is not None:
        values[filled] = at_once
        return values
    for i in filled:
        values[i] = _decode_one(buffer[starts[i] : ends[i]], int(i))
    return values


def _without_quotes(text: Bytes, starts: Positions, ends: Positions) -> tuple[Positions, Positions]:
    last = len(text) - 1
    quoted = (ends - starts >= 2) & (text[np.minimum(starts, last)] == _QUOTE) & (text[ends - 1] == _QUOTE)
    return starts + quoted, ends - quoted


def _decode_at_once(text: Bytes, starts: Positions, ends: Positions) -> NDArray[np.float64] | None:
    """All fields as one array of fixed-width text; None if any of them needs a closer look."""
    lengths = ends - starts
    width = int(lengths.max())
    if width > _LONGEST_AT_ONCE:
        return None
    offsets = np.arange(width)
    inside = offsets < lengths[:, None]
    letters = text[np.minimum(starts[:, None] + offsets, len(text) - 1)]
    # numpy drops trailing NUL bytes, and `float` takes 1_000 for 1000.
    if ((letters == 0) & inside).any() or (letters == ord("_")).any():
        return None
    letters[~inside] = 0
    try:
        values = letters.view(f"S{width}")[:, 0].astype(np.float64)
    except ValueError:
        return None
    return None if np.isinf(values).any() else values


def _decode_one(field: bytes, index: int) -> float:
    text = field.strip()
    if text[:1] == b'"' and text[-1:] == b'"' and len(text) > 1:  # blanks may follow a closing quote
        text = text[1:-1].strip()
    if text.lower() in MISSING_WORDS:
        return math.nan
    try:
        value = math.inf if _NOT_IN_NUMBERS.search(text) else float(text)
    except ValueError:
        value = math.inf
    if not math.isinf(value):
        return value
    if _DECIMAL_COMMA.fullmatch(text):
        dotted = text.replace(b".", b"").replace(b",", b".")
        raise NotACoordinate(
            index,
            f"found {shown(text)}, a number with a decimal comma; write it with a dot: {dotted.decode()}",
        )
    raise NotACoordinate(
        index,
        f"found {shown(text)}, expected a finite number; correct it, or leave the field empty if unknown",
    )
