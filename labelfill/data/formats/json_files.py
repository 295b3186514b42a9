"""JSON files by the standard library's `json`: read whole, written in the layout in which they were found.

What would not come back as it was is refused: a name twice in one object, numbers that a float does not hold,
NaN and Infinity.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from labelfill.errors import DataError, reading, shown

Json = Any

_BLANKS = " \t\r\n"
_BOM = "\ufeff"
_BETWEEN = re.compile(r"[ \t\r\n,:]*")
_LINE_BREAK = re.compile(r"\n([ \t]*)")
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_COLON = re.compile(rf"{_STRING}([ \t]*:[ \t]*)")
_COMMA = re.compile(rf"{_STRING}|([ \t]*,[ \t]*)(?![ \t\r\n])")
_ENTRY = re.compile(rf"{_STRING}|\[[ \t\r\n]*\{{([ \t\r\n]*)\"")
# Without an exponent so few characters have at most 15 digits, all of which a float holds.
_SURELY_HELD = 16


class _RefusedError(ValueError):
    """A value that would not come back as it was."""


@dataclass(frozen=True)
class Layout:
    """How a JSON file is laid out.

    Attributes
    ----------
    indent
        Of each level; None: none.
    entry_lines
        Whether each entry of the outermost arrays has a line, as in what `convert` writes.
    separators
        Between entries of one line, and between a name and its value.
    ensure_ascii
        Whether other characters are written as escapes.
    before, after
        What surrounds the value: blanks, line ends, a byte order mark.
    """

    indent: str | None = None
    entry_lines: bool = True
    separators: tuple[str, str] = (", ", ": ")
    ensure_ascii: bool = True
    newline: str = "\n"
    before: str = ""
    after: str = "\n"


def shown_id(value: Json) -> str:
    """An id as messages name it: a number as it is, all else as text from a file."""
    return str(value) if isinstance(value, int) else shown(str(value))


@dataclass(frozen=True)
class Entry:
    """An object of a file's array: what messages call it, its number from 0, the line in which it begins."""

    path: Path
    kind: str
    number: int
    line: int
    content: dict[str, Json]

    @property
    def where(self) -> str:
        """``task 3 (line 2)``: by its id, or its number if it has none."""
        given = self.content.get("id")
        name = f"number {self.number}" if given is None else shown_id(given)
        return f"{self.kind} {name} (line {self.line})"

    def bad(self, field: str, what: str) -> DataError:
        """What is wrong with one of its fields."""
        return DataError(f"{self.path}, {self.where}, field {field!r}: {what}")


class JsonFile:
    """The content of a JSON file, and how it was written.

    Attributes
    ----------
    sha256, length
        Of the file's bytes.
    content
        The file's one value.
    """

    def __init__(self, path: Path, file: bytes) -> None:
        self.path = path
        self.sha256, self.length = hashlib.sha256(file).hexdigest(), len(file)
        try:
            self._text = file.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not UTF-8 text (byte {error.start}); JSON has to be: save it so"
            ) from error
        self._begin = len(self._text) - len(self._text.removeprefix(_BOM).lstrip(_BLANKS))
        self.content = self._decoded()

    def lines(self, member: str | None = None) -> list[int]:
        """The line, from 1, in which each element begins of the file's array, or of the array `member`."""
        at, decoder = self._begin, json.JSONDecoder()
        if member is not None:
            value = 2 * list(self.content).index(member) + 1  # names and values take turns
            at = next(islice(_begins(self._text, at, decoder), value, None))
        found, line, last = [], 1, 0
        for begin in _begins(self._text, at, decoder):
            line, last = line + self._text.count("\n", last, begin), begin
            found.append(line)
        return found

    def rewritten(self) -> bytes:
        """The content as it is now, laid out as the file was."""
        try:
            return json_bytes(self.content, self._layout())
        except RecursionError as error:
            raise self._too_deep() from error

    def _decoded(self) -> Json:
        try:
            content, end = _STRICT.raw_decode(self._text, self._begin)
        except json.JSONDecodeError as error:
            raise self._damaged(error.pos, error.msg.lower()) from error
        except RecursionError as error:
            raise self._too_deep() from error
        except ValueError as error:
            line = self._text.count("\n", 0, _first_refused(self._text, self._begin)) + 1
            reason = error if isinstance(error, _RefusedError) else "a number has too many digits; shorten it"
            raise DataError(f"{self.path}, line {line}: {reason}") from error
        value_end, end = end, len(self._text) - len(self._text[end:].lstrip(_BLANKS))
        if end < len(self._text):
            if self._text[end] in "{[" and "\n" in self._text[value_end:end]:
                raise DataError(
                    f"{self.path} is JSON Lines, a value in each line; export it as one value of JSON: COCO "
                    "keypoints, or Label Studio's tasks"
                )
            raise self._damaged(end, "expected the end of the file")
        return content

    def _layout(self) -> Layout:
        text, begin = self._text, self._begin
        end = len(text.rstrip(_BLANKS))
        first_break = _LINE_BREAK.search(text, begin, end)
        entry = next((match[1] for match in _ENTRY.finditer(text, begin) if match[1] is not None), "\n")
        indent = first_break[1] if first_break and "\n" in entry else None
        commas = (match[1] for match in _COMMA.finditer(text, begin) if match[1])
        colon = _COLON.search(text, begin)
        default = Layout().separators
        return Layout(
            indent=indent,
            entry_lines=first_break is not None and indent is None,
            separators=(
                "," if indent is not None else next(commas, default[0]),
                colon[1] if colon else default[1],
            ),
            # A program that keeps to ASCII escapes DEL, too.
            ensure_ascii=text.removeprefix(_BOM).isascii() and "\x7f" not in text,
            newline="\r\n" if first_break and text[first_break.start() - 1] == "\r" else "\n",
            before=text[:begin],
            after=text[end:],
        )

    def _damaged(self, at: int, what: str) -> DataError:
        line, column = self._text.count("\n", 0, at) + 1, at - self._text.rfind("\n", 0, at)
        found = shown(self._text[at : at + 20]) if at < len(self._text) else "the end of the file"
        return DataError(
            f"{self.path}, line {line}, column {column}: {what}, found {found}; "
            "the file is no valid JSON, or was cut short: export it again"
        )

    def _too_deep(self) -> DataError:
        return DataError(f"{self.path}: its values are nested too deeply; remove what holds no keypoints")


def read_json(path: Path, most_bytes: int = 1 << 32) -> JsonFile:
    """Read a JSON file.

    Raises
    ------
    DataError
        If it is not UTF-8, no JSON, larger than 4 GB, or holds what would not come back as it was.
    StorageError
        If it cannot be read.
    """
    with reading(path):
        if path.stat().st_size > most_bytes:
            raise DataError(f"{path} is larger than {most_bytes >> 30} GB, the most that is read; split it")
        return JsonFile(path, path.read_bytes())


def json_bytes(content: Json, layout: Layout = Layout()) -> bytes:
    """A whole JSON file."""
    dumps = functools.partial(
        json.dumps, ensure_ascii=layout.ensure_ascii, allow_nan=False, indent=layout.indent,
        separators=layout.separators,
    )  # fmt: skip

    def entries(value: Json) -> str:
        if not isinstance(value, list) or not value:
            return dumps(value)
        return "[\n" + ",\n".join(map(dumps, value)) + "\n]"

    if not layout.entry_lines:
        text = dumps(content)
    elif isinstance(content, dict):
        members = [f"{dumps(name)}{layout.separators[1]}{entries(value)}" for name, value in content.items()]
        text = "{" + ",\n".join(members) + "}"
    else:
        text = entries(content)
    # Half a pair of UTF-16, which JSON can name though no text has it, becomes an escape again.
    return (layout.before + text.replace("\n", layout.newline) + layout.after).encode(
        "utf-8", "backslashreplace"
    )


def is_number(value: Json) -> bool:
    """Whether a value is a number that a float comes near to."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _begins(text: str, at: int, decoder: json.JSONDecoder) -> Iterator[int]:
    """Where each element of the array at `at` begins; of an object each name and each value."""
    at = _after(_BETWEEN, text, at + 1)
    while text[at] not in "]}":
        yield at
        at = _after(_BETWEEN, text, decoder.raw_decode(text, at)[1])


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    assert match is not None  # the pattern matches nothing as well
    return match.end()


def _first_refused(text: str, at: int) -> int:
    """Where the innermost value begins that is refused within the one at `at`."""
    while text[at] in "[{":
        last = at
        try:
            for begin in _begins(text, at, _STRICT):
                last = begin
            return at  # all within is well: it is the object itself that is refused
        except ValueError:
            at = last
    return at


def _object(members: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(members)
    if len(found) < len(members):
        (twice, _), *_ = Counter(name for name, _ in members).most_common(1)
        raise _RefusedError(f"an object has the name {shown(twice)} twice; remove one of them")
    return found


def _float(text: str) -> float:
    value = float(text)
    if len(text) > _SURELY_HELD or "e" in text or "E" in text:
        try:
            held = Decimal(repr(value)) == Decimal(text)
        except InvalidOperation:  # an exponent beyond all bounds
            held = False
        if not held:
            raise _RefusedError(
                f"a float does not hold {shown(text)}, it would become {value!r}; "
                "round it, or write it as text"
            )
    return value


def _constant(text: str) -> NoReturn:
    raise _RefusedError(f"{text} is no number of JSON; write null, or a number")


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
