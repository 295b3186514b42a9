"""JSON that knows where its values stand, so that a few of them can be replaced and all else stays as it is.

The standard library's scanner reads every value, so what passes here is JSON; only the ways from one value to
the next are walked here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from json.decoder import JSONDecoder
from pathlib import Path
from typing import Any

from labelfill.errors import DataError, StorageError, shown

Json = Any

_BLANKS = re.compile(r"[ \t\n\r]*")
_BOM = "\ufeff"


@dataclass(frozen=True)
class Edit:
    """A piece of the text, from `begin` up to `end`, and what is to stand there."""

    begin: int
    end: int
    text: str


class JsonText:
    """The text of a JSON file, every position a position in it.

    Attributes
    ----------
    sha256, length
        Of the file's bytes.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self.path = path
        self.sha256, self.length = hashlib.sha256(content).hexdigest(), len(content)
        try:
            self.text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not UTF-8 text (byte {error.start}); JSON has to be: save it so"
            ) from error
        self._scan: Callable[[str, int], tuple[Json, int]] = JSONDecoder().scan_once  # type: ignore[attr-defined]
        self._lines: list[int] | None = None

    @property
    def begin(self) -> int:
        """Where the file's one value begins."""
        return self.skip(1 if self.text.startswith(_BOM) else 0)

    def skip(self, at: int) -> int:
        match = _BLANKS.match(self.text, at)
        assert match is not None  # the pattern matches nothing as well
        return match.end()

    def value(self, at: int) -> tuple[Json, int]:
        """The value that begins at a position, and where it ends."""
        try:
            return self._scan(self.text, at)
        except StopIteration as end:
            raise self.damaged(int(end.value), "expected a value") from None
        except json.JSONDecodeError as error:
            raise self.damaged(error.pos, error.msg.lower()) from error
        except RecursionError as error:
            raise self.damaged(at, "nested too deeply") from error

    def members(self, at: int, take: Callable[[str, int], int]) -> int:
        """Walk an object: `take` gets each name and its value's begin, and gives back its end."""
        return self._walk(at, "{", "}", lambda position: take(*self._name(position)))

    def elements(self, at: int, take: Callable[[int], int]) -> int:
        """Walk an array; `take` as for `members`."""
        return self._walk(at, "[", "]", take)

    def spans(self, at: int) -> list[tuple[int, int]]:
        """Begin and end of each element of an array."""
        found = []

        def note(begin: int) -> int:
            found.append((begin, self.value(begin)[1]))
            return found[-1][1]

        self.elements(at, note)
        return found

    def member_spans(self, at: int) -> dict[str, tuple[int, int]]:
        """Begin and end of each member's value in an object."""
        found: dict[str, tuple[int, int]] = {}

        def note(name: str, begin: int) -> int:
            found[name] = begin, self.value(begin)[1]
            return found[name][1]

        self.members(at, note)
        return found

    def line(self, at: int) -> int:
        """1-based line of a position."""
        if self._lines is None:
            self._lines = [match.start() for match in re.finditer("\n", self.text)]
        from bisect import bisect_left

        return bisect_left(self._lines, at) + 1

    def edited(self, edits: Iterable[Edit]) -> Iterator[bytes]:
        """The file's bytes with edits, which must not overlap, made."""
        position = 0
        for edit in sorted(edits, key=lambda one: (one.begin, one.end)):
            yield self.text[position : edit.begin].encode()
            yield edit.text.encode()
            position = edit.end
        yield self.text[position:].encode()

    def into_object(self, at: int, members: Mapping[str, str]) -> Edit:
        """Further members, name to JSON text, at the end of the object that begins at `at`."""
        end = self.value(at)[1] - 1
        return self._insertion(at, end, [f"{json.dumps(name)}: {text}" for name, text in members.items()])

    def into_array(self, at: int, elements: list[str]) -> Edit:
        """Further elements, as JSON text, at the end of the array that begins at `at`."""
        return self._insertion(at, self.value(at)[1] - 1, elements)

    def damaged(self, at: int, what: str) -> DataError:
        """An error that names line and column."""
        line = self.line(at)
        column = at - (self.text.rfind("\n", 0, at) + 1) + 1
        found = shown(self.text[at : at + 20]) if at < len(self.text) else "the end of the file"
        return DataError(
            f"{self.path}, line {line}, column {column}: {what}, found {found}; "
            "the file is no valid JSON, or was cut short: export it again"
        )

    def refuse_rest(self, end: int) -> None:
        """Nothing may follow the file's one value."""
        end = self.skip(end)
        if end < len(self.text):
            raise self.damaged(end, "expected the end of the file")

    def _insertion(self, at: int, end: int, pieces: list[str]) -> Edit:
        last = end
        while self.text[last - 1] in " \t\n\r":
            last -= 1
        empty = last == at + 1
        return Edit(last, last, ("" if empty else ", ") + ", ".join(pieces))

    def _walk(self, at: int, opening: str, closing: str, take: Callable[[int], int]) -> int:
        if self.text[at : at + 1] != opening:
            kind = "an object" if opening == "{" else "an array"
            raise self.damaged(at, f"expected {kind}")
        at = self.skip(at + 1)
        if self.text[at : at + 1] == closing:
            return at + 1
        while True:
            at = self.skip(take(at))
            mark = self.text[at : at + 1]
            if mark == closing:
                return at + 1
            if mark != ",":
                raise self.damaged(at, f"expected a comma or {closing}")
            at = self.skip(at + 1)

    def _name(self, at: int) -> tuple[str, int]:
        if self.text[at : at + 1] != '"':
            raise self.damaged(at, "expected a name in quotes")
        name, end = self.value(at)
        end = self.skip(end)
        if self.text[end : end + 1] != ":":
            raise self.damaged(end, "expected a colon")
        return name, self.skip(end + 1)


def read_json_text(path: Path, most_bytes: int = 1 << 32) -> JsonText:
    """The text of a JSON file.

    Raises
    ------
    DataError
        If it is not UTF-8, or larger than 4 GB.
    StorageError
        If it cannot be read.
    """
    try:
        if path.stat().st_size > most_bytes:
            raise DataError(f"{path} is larger than {most_bytes >> 30} GB, the most that is read; split it")
        return JsonText(path, path.read_bytes())
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error


def number_text(value: float) -> str:
    """A filled coordinate: four decimals, as in a table."""
    text = f"{value:.4f}"
    return text[1:] if text == "-0.0000" else text
