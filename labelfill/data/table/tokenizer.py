"""Cuts the bytes of a table into records and fields, a block at a time, and remembers where each stood.

The grammar is RFC 4180 as widely practised: a field that begins with a quote ends at the next quote
that is not doubled; a quote elsewhere is an ordinary character; LF, CRLF, CR and CR CR LF end a
record and may be mixed. Lines that are empty or hold only blanks are not records.

Two tokenizers give the same answer. The fast one finds all separators of a block at once and calls
one quoted when an odd number of quotes precedes it, which holds if quotes stand only around fields;
the slow one walks from field to field and takes over for blocks in which they do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Bytes, Positions
from labelfill.data.table import faults
from labelfill.errors import DataError, place, shown

BLOCK_BYTES = 1 << 21
# The stated bound on one record: a 16 megapixel image as text.
MAX_RECORD_BYTES = 64 << 20
# The stated bound on blank lines, all together: each takes as long as a row, and no table has so many.
MAX_BLANK_BYTES = 8 << 20

# A long field of nothing but doubled quotes would need eight bytes of memory for each.
_MOST_QUOTES_AT_ONCE = 1 << 20

_LF, _CR, _QUOTE = b'\n\r"'
_BLANKS = b" \t"


@dataclass(frozen=True)
class RecordBlock:
    """Whole records, as positions in one buffer.

    `starts` and `ends` are (n, columns) positions of every field in `buffer`, quotes included;
    `lines` (n,) is the 1-based line on which each record starts; `offset` is where the buffer lies
    in the table's bytes; `cut_short` says that no line end follows the last record.
    """

    buffer: bytes
    offset: int
    starts: Positions
    ends: Positions
    lines: Positions
    cut_short: bool


@dataclass
class Cursor:
    """How far a table was read: bytes not cut yet, where they lie, and the line and row that come next."""

    carry: bytes
    offset: int = 0
    line: int = 1
    row: int = 0


class _Fields(NamedTuple):
    """Fields in order, and how many of them each record has."""

    starts: Positions
    ends: Positions
    counts: Positions


@dataclass(frozen=True)
class Tokenizer:
    """Cuts what follows a table's header into records of one field per column."""

    path: Path
    delimiter: str
    columns: tuple[str, ...]
    cursor: Cursor

    def blocks(self, read: Callable[[int], bytes]) -> Iterator[RecordBlock]:
        """Cut all that `read` gives after the cursor into records.

        Raises
        ------
        DataError
            On a record with another number of fields, on unbalanced quotes, and on a record of more than
            `MAX_RECORD_BYTES`.
        """
        at_end, blank = False, 0
        while not at_end:
            # Twice as much every time a record does not end, but not far beyond the longest record.
            carried = len(self.cursor.carry)
            chunk = read(max(BLOCK_BYTES, min(carried, MAX_RECORD_BYTES + BLOCK_BYTES - carried)))
            at_end = not chunk
            buffer = self.cursor.carry + chunk
            separators = self.separators(buffer, at_end=at_end)
            end = len(buffer) if at_end else _last_safe_end(buffer, separators)
            if end == 0 or len(buffer) - end > MAX_RECORD_BYTES:
                self._refuse_endless(buffer, end, separators)
            if end > 0:
                block, lines = self._cut(buffer, end, separators)
                self.cursor.line += lines
                self.cursor.row += len(block.lines)
                self.cursor.offset += end
                blank += _blank_bytes(block, end)
                if blank > MAX_BLANK_BYTES:
                    raise faults.too_many_blank_lines(
                        place(self.path, line=self.cursor.line), MAX_BLANK_BYTES
                    )
                if len(block.lines):
                    yield block
            self.cursor.carry = buffer[end:]

    def _refuse_endless(self, buffer: bytes, end: int, separators: Positions) -> None:
        """Stop at a record that is too long, or has too many fields already, instead of reading on."""
        where = self._place_of(buffer, end, separators)
        # Two may be the CRs of an unfinished CR CR LF.
        if end == 0 and len(separators) > len(self.columns) + 2:
            raise DataError(
                f"{where}: found more than {len(separators) - 2} fields, expected {len(self.columns)} as in "
                "the header; is a line end missing?"
            )
        if len(buffer) - end > MAX_RECORD_BYTES:
            raise faults.record_too_long(where, MAX_RECORD_BYTES, has_quotes=b'"' in buffer[end:])

    def separators(self, buffer: bytes, *, at_end: bool) -> Positions:
        """Positions of the delimiters, LF and CR outside quotes in a buffer that begins with a record.

        A field whose closing quote may still come ends the search, unless the table ends there
        (`DataError`).
        """
        text = np.frombuffer(buffer, np.uint8)
        if b'"' not in buffer:
            return positions(buffer, ord(self.delimiter), _LF, _CR)
        count = buffer.count(b'"')
        quotes = positions(buffer, _QUOTE) if count <= _MOST_QUOTES_AT_ONCE else None
        unclosed = count % 2 == 1
        # The slow one also tells which quote the table's end leaves open.
        if quotes is None or (unclosed and at_end) or not self._quotes_stand_around_fields(text, quotes):
            return self._walk(buffer, at_end=at_end)
        found = positions(buffer, ord(self.delimiter), _LF, _CR)
        if unclosed:  # behind an opening quote without a closing one everything is quoted
            found = found[: np.searchsorted(found, quotes[-1])]
        outside: NDArray[np.bool_] = np.searchsorted(quotes, found) % 2 == 0
        return found[outside]

    def _quotes_stand_around_fields(self, text: Bytes, quotes: Positions) -> bool:
        """Whether every even quote opens a field and every odd one closes it; doubled quotes do both."""
        border = np.zeros(256, bool)
        border[[ord(self.delimiter), _LF, _CR, _QUOTE]] = True
        opening, closing = quotes[::2], quotes[1::2]
        before = opening[opening > 0] - 1
        after = closing[closing < len(text) - 1] + 1
        return bool(border[text[before]].all() and border[text[after]].all())

    def _walk(self, buffer: bytes, *, at_end: bool) -> Positions:
        """The slow tokenizer: field by field, a quote inside an unquoted field taken as it is."""
        field = field_pattern(self.delimiter)
        found: list[int] = []
        position = 0
        while match := field.match(buffer, position):
            if match[1] and match[1].strip(_BLANKS):
                where = self._place_of(buffer, position, np.array(found, np.int64))
                raise DataError(
                    f"{where}: {shown(match[1])} follows a closing quote, expected {self.delimiter!r} or a "
                    "line end; a quote in this row is missing or one too many (inside quotes it is written "
                    "twice)"
                )
            if match.end() == len(buffer):
                break
            found.append(match.end())
            position = match.end() + 1
        separators = np.array(found, np.int64)
        if match is None and at_end:
            where = self._place_of(buffer, position, separators)
            opening = shown(buffer[position : position + 200])
            raise DataError(
                f"{where}: the quote that opens {opening} is never closed; close it, or take it away"
            )
        return separators

    def _cut(self, buffer: bytes, end: int, separators: Positions) -> tuple[RecordBlock, int]:
        fields = _fields(buffer, end, separators, self.delimiter)
        # Without quotes every line end is a separator, and was found already.
        breaks = positions(buffer, _LF, _CR) if b'"' in buffer else separators
        feeds = _line_ends_among(breaks[: np.searchsorted(breaks, end)], np.frombuffer(buffer, np.uint8))
        first = np.cumsum(fields.counts) - fields.counts
        lines = self.cursor.line + np.searchsorted(feeds, fields.starts[first])
        cut_short = bool(len(fields.ends)) and int(fields.ends[-1]) == end
        wrong = np.flatnonzero(fields.counts != len(self.columns))
        if len(wrong):
            r = int(wrong[0])
            record = buffer[fields.starts[first[r]] : fields.ends[first[r] + fields.counts[r] - 1]]
            raise faults.wrong_number_of_fields(
                place(self.path, row=self.cursor.row + r, line=int(lines[r])),
                record,
                int(fields.counts[r]),
                self.columns,
                self.delimiter,
                lines=1 + len(line_ends(record)),
                cut_short=cut_short and r == len(fields.counts) - 1,
            )
        starts = fields.starts.reshape(-1, len(self.columns))
        ends = fields.ends.reshape(-1, len(self.columns))
        too_long = np.flatnonzero(ends[:, -1] - starts[:, 0] > MAX_RECORD_BYTES)
        if len(too_long):
            r = int(too_long[0])
            quotes = b'"' in buffer[starts[r, 0] : ends[r, -1]]
            where = place(self.path, row=self.cursor.row + r, line=int(lines[r]))
            raise faults.record_too_long(where, MAX_RECORD_BYTES, has_quotes=quotes)
        return RecordBlock(buffer, self.cursor.offset, starts, ends, lines, cut_short), len(feeds)

    def _place_of(self, buffer: bytes, position: int, separators: Positions) -> str:
        """Row and line of the record in which a position lies, given the separators before it."""
        line = self.cursor.line + len(line_ends(buffer[:position]))
        before = separators[separators < position]
        kinds = np.frombuffer(buffer, np.uint8)[before]
        ends = before[kinds != ord(self.delimiter)]
        begin = int(ends[-1]) + 1 if len(ends) else 0
        complete = _fields(buffer, begin, separators, self.delimiter).counts if begin else ()
        return place(self.path, row=self.cursor.row + len(complete), line=line)


def _blank_bytes(block: RecordBlock, end: int) -> int:
    """At least so many bytes of the block's are blank lines; each record may end in CR CR LF."""
    records = int((block.ends[:, -1] - block.starts[:, 0]).sum()) if len(block.lines) else 0
    return max(end - records - 3 * len(block.lines), 0)


def positions(buffer: bytes, *wanted: int) -> Positions:
    """Where any of some byte values stands in `buffer`, in order: the one loop over every byte of a table."""
    text = np.frombuffer(buffer, np.uint8)
    mask: NDArray[np.bool_] = text == wanted[0]
    another = np.empty_like(mask)
    for byte in wanted[1:]:
        mask |= np.equal(text, byte, out=another)
    return np.flatnonzero(mask)


def field_pattern(delimiter: str) -> re.Pattern[bytes]:
    """Matches one field; group 1 is what follows a closing quote. No match: the quote is never closed."""
    border = re.escape(delimiter.encode()) + rb"\r\n"
    # Possessive: without them a field of many doubled quotes would take memory for every one.
    return re.compile(rb'"[^"]*+(?:""[^"]*+)*+"([^' + border + rb']*+)|(?!")[^' + border + rb"]*+")


def _last_safe_end(buffer: bytes, separators: Positions) -> int:
    """End of the last record whose line end is known to be whole: a CR may belong to a CR CR LF."""
    if not len(separators):
        return 0
    kinds = np.frombuffer(buffer, np.uint8)[separators]
    whole = np.flatnonzero((kinds == _LF) | ((kinds == _CR) & (separators < len(buffer) - 2)))
    return int(separators[whole[-1]]) + 1 if len(whole) else 0


def line_ends(buffer: bytes) -> Positions:
    """Positions at which a line ends, quoted or not; CRLF and CR CR LF end one line."""
    return _line_ends_among(positions(buffer, _LF, _CR), np.frombuffer(buffer, np.uint8))


def _line_ends_among(found: Positions, text: Bytes) -> Positions:
    """Those of all LF and CR, other positions among them or not, at which a line ends."""
    kinds = text[found]
    ends: Positions = found[kinds == _LF]
    returns: Positions = found[kinds == _CR]
    if len(returns):
        padded = np.concatenate([text, np.zeros(2, np.uint8)])
        following = padded[returns + 1]
        belongs = (following == _LF) | ((following == _CR) & (padded[returns + 2] == _LF))
        ends = np.sort(np.concatenate([ends, returns[~belongs]]))
    return ends


def _fields(buffer: bytes, end: int, separators: Positions, delimiter: str) -> _Fields:
    """The fields before `end`; what follows the last separator is a record of its own."""
    separators = separators[: np.searchsorted(separators, end)]
    text = np.frombuffer(buffer, np.uint8)
    kinds = text[separators]
    crlf = (kinds == _CR) & (text[np.minimum(separators + 1, len(text) - 1)] == _LF)
    # The LF of a CRLF separates nothing.
    second = np.zeros(len(separators), bool)
    second[1:] = crlf[:-1] & (kinds[1:] == _LF)
    separators, kinds, crlf = separators[~second], kinds[~second], crlf[~second]
    starts = np.concatenate([[0], separators + 1 + crlf])
    is_end = kinds != ord(delimiter)
    if starts[-1] < end or (len(is_end) and not is_end[-1]):
        separators, is_end = np.append(separators, end), np.append(is_end, True)
    starts = starts[: len(separators)]
    counts = np.diff(np.flatnonzero(is_end), prepend=-1)
    return _without_blank_lines(buffer, _Fields(starts, separators, counts))


def _without_blank_lines(buffer: bytes, fields: _Fields) -> _Fields:
    last = np.cumsum(fields.counts) - 1
    single = last[fields.counts == 1]
    if not len(single):
        return fields
    blank = fields.starts[single] == fields.ends[single]
    first = np.frombuffer(buffer, np.uint8)[np.minimum(fields.starts[single], len(buffer) - 1)]
    for i in np.flatnonzero(~blank & np.isin(first, list(_BLANKS))):
        blank[i] = not buffer[fields.starts[single[i]] : fields.ends[single[i]]].strip(_BLANKS)
    if not blank.any():
        return fields
    kept = np.ones(len(fields.starts), bool)
    kept[single[blank]] = False
    return _Fields(fields.starts[kept], fields.ends[kept], fields.counts[kept[last]])
