"""Where in a table something was found, in the words every error message uses."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

_SHOWN_CHARACTERS = 40


def place(path: Path, *, row: int | None = None, line: int | None = None, column: str | None = None) -> str:
    """``training.csv, row 3 (line 5), column 'nose_x'``: row 0-based, line 1-based."""
    parts = [str(path)]
    if row is not None:
        parts.append(f"row {row} (line {line})" if line is not None else f"row {row}")
    elif line is not None:
        parts.append(f"line {line}")
    if column is not None:
        parts.append(f"column {shown(column)}")
    return ", ".join(parts)


def shown(text: bytes | str) -> str:
    """Text as found in a file, quoted, on one line and short; control characters as escapes."""
    if isinstance(text, bytes):
        text = text[: 4 * _SHOWN_CHARACTERS].decode("utf-8", "backslashreplace")
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
    # A lone surrogate (a byte that is not UTF-8) cannot be printed: `ascii` escapes it.
    return repr(cut) if cut.isprintable() else ascii(cut)


def listed(names: list[str] | tuple[str, ...], most: int = 5) -> str:
    """The first few names, quoted, and how many more there are."""
    rest = len(names) - most
    return ", ".join(shown(name) for name in names[:most]) + (f" and {rest} more" if rest > 0 else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'nose_tip_x'?`` if a known word is spelt nearly like this one, else nothing."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {shown(near[0])}?" if near else ""
