"""How commands print results: lines and columns, declared by the keys of what ``--json`` prints whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from string import Formatter
from typing import Any

from labelfill.errors import counted

Result = Mapping[str, Any]
# A template that the result fills in, or a function that gives lines.
Words = str | Callable[[Result], Iterable[str]]
# Words, or when they are told: if the result holds something under a key, or a function says so; and words.
Line = Words | tuple[str | Callable[[Result], Any], Words]
# Label, key and format of a table's column.
Column = tuple[str, str, str]

PAGE: Line = "wrote {out} ({bytes:.1M} MB): open it in a browser"


def printed(lines: Sequence[Line], result: Result) -> str:
    """What a result's declared lines say."""
    return "\n".join(lines_of(lines, result)).rstrip("\n")


def lines_of(lines: Sequence[Line], result: Result) -> list[str]:
    """What each declared line says of a result, where there is something to tell."""
    text: list[str] = []
    for line in lines:
        when, words = line if isinstance(line, tuple) else (None, line)
        if when is None or (when(result) if callable(when) else _holds(result.get(when))):
            text += words(result) if callable(words) else [filled_in(words, result)]
    return text


def _holds(value: Any) -> bool:
    """Whether there is something to tell: a measured 0.0 is, a count of 0 and what is empty are not."""
    return isinstance(value, float) or bool(value)


def filled_in(template: str, result: Result) -> str:
    """``{key:format}`` replaced by the result's value, as `shown`."""
    return _Template().vformat(template, (), result)


def shown(value: Any, form: str = "") -> str:
    """A value in words.

    Parameters
    ----------
    form
        As Python's own, and for numbers besides: a noun, of which they are so many; a width ending in M,
        millions. For yes or no: what yes is called.
    """
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} ({shown(content, form)})" for name, content in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(shown(element, form) for element in value)
    if isinstance(value, bool):
        return form if value else ""
    if form.endswith("M"):
        return f"{value / 1e6:{form[:-1]}f}"
    if len(form) > 1 and form.isalpha():
        return counted(value, form)
    return format(value, form)


class _Template(Formatter):
    format_field = staticmethod(shown)  # type: ignore[assignment]  # its arguments have other names


def cells(columns: Sequence[Column], row: Result) -> list[str]:
    """A row's cells, empty where it holds nothing."""
    return [shown(row.get(key), form) for _, key, form in columns]


def table(head: str, columns: Sequence[Column], rows: Iterable[tuple[str, Result]]) -> list[str]:
    """The lines of a table whose rows are named below `head`."""
    labels = [label for label, _, _ in columns]
    return aligned([[head, *labels], *([name, *cells(columns, row)] for name, row in rows)])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines: the first column flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]
