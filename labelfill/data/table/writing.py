"""What is found for a table's blanks, and a table written back with it and every other byte as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Positions
from labelfill.data.table.container import open_decompressed
from labelfill.data.table.contents import KeypointTable
from labelfill.data.table.tokenizer import BLOCK_BYTES
from labelfill.errors import DataError, StorageError, refusal

DECIMALS = 4

_TEXTS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class FoundPoints:
    """Coordinates for a table's blanks.

    Attributes
    ----------
    xy
        (n, K, 2), px of each row's own image; NaN where a blank is to stay blank.
    score
        (n, K): 0..1, how surely each is known.
    sizes
        (n, 2): height and width of each row's image, px.
    model
        A short name of the models that found them.
    decimals
        With which coordinates are written.
    """

    xy: Array
    score: Array
    sizes: Array
    model: str
    decimals: int = DECIMALS

    def new(self, table: KeypointTable) -> NDArray[np.bool_]:
        """(n, K, 2): the coordinates that are written, observed ones never."""
        return ~table.observed & np.isfinite(self.xy)

    def whole(self, table: KeypointTable) -> Array:
        """(n, K, 2): every coordinate as it will stand."""
        return np.where(self.new(table), self.xy, table.labels)

    def text(self, value: float) -> bytes:
        return coordinate_text(value, self.decimals)


def changed(table: KeypointTable) -> DataError:
    """What is said of a file that is not the one that was read."""
    return DataError(f"{table.path} has changed since it was read; run the command again")


def refuse_changed(table: KeypointTable, sha256: str) -> None:
    """Refuse to fill another file than was read."""
    if sha256 != table.content_sha256:
        raise changed(table)


@dataclass(frozen=True)
class Splices:
    """New text for places in a table's bytes.

    Attributes
    ----------
    spans
        (m, 2): begin and end of what each text replaces, in order; where both are the same it is put between.
    texts
        One for each span, in the same order; they are taken once.
    """

    spans: Positions
    texts: Iterator[bytes]

    @classmethod
    def merged(cls, kinds: Sequence[Splices]) -> Splices:
        """All of several, in the order of their places; at equal places the earlier kind comes first."""
        if len(kinds) == 1:
            return kinds[0]
        spans = np.concatenate([kind.spans for kind in kinds])
        order = np.argsort(spans[:, 0], kind="stable")
        kind_of = np.repeat(np.arange(len(kinds), dtype=np.uint8), [len(kind.spans) for kind in kinds])
        streams = [kind.texts for kind in kinds]
        return cls(spans[order], (next(streams[kind]) for kind in kind_of[order].tobytes()))


def write_filled(
    table: KeypointTable,
    values: NDArray[np.float64],
    out: BinaryIO,
    *,
    moved: NDArray[np.bool_] | None = None,
    decimals: int = DECIMALS,
    further: Sequence[Splices] = (),
) -> str:
    """Stream the table's decompressed bytes to `out`, finite `values` in the place of blank fields.

    Observed cells are copied whatever `values` holds there, unless they are `moved`. The original is read
    again from ``table.path``; `out` is complete only if no error was raised. Gives the SHA-256 of what was
    written.

    Parameters
    ----------
    values
        (n, K, 2), px; NaN where a blank is to stay blank.
    moved
        (n, K): observed labels that are replaced, too; for tables that are beside the main one.
    decimals
        Of what is written.
    further
        What else is put into the table.

    Raises
    ------
    DataError
        If the file at ``table.path`` is not the one that was read.
    StorageError
        If `out` cannot be written.
    """
    assert values.shape == table.labels.shape, f"{values.shape} values for {table.labels.shape} labels"
    new = np.isnan(table.labels)
    if moved is not None:
        new |= moved[..., None]
    new &= np.isfinite(values)
    spans, numbers = table.field_spans[new], values[new]
    order = np.argsort(spans[:, 0], kind="stable")
    filled = Splices(spans[order], coordinate_texts(numbers[order], decimals))
    return send(_spliced(table, Splices.merged([filled, *further])), out, "table")


def send(pieces: Iterable[bytes], out: BinaryIO, what: str = "file") -> str:
    """Write a filled file piece by piece; its SHA-256, before any compression.

    Raises
    ------
    StorageError
        If it cannot be written; `what` is what the message calls it.
    """
    sent = hashlib.sha256()
    for piece in pieces:
        sent.update(piece)
        try:
            out.write(piece)
        except OSError as error:
            raise StorageError(f"the filled {what} cannot be written: {refusal(error)}") from error
    return sent.hexdigest()


def _spliced(table: KeypointTable, splices: Splices) -> Iterator[bytes]:
    """The table's bytes, block by block, with new text in its places."""
    received, spans = hashlib.sha256(), splices.spans
    with open_decompressed(table.path) as source:
        begin, done, carry = 0, 0, b""
        while data := source.read(BLOCK_BYTES):
            received.update(data)
            block = carry + data
            last = int(np.searchsorted(spans[:, 1], begin + len(block), side="right"))
            # A span that runs over the block's end waits for the next block.
            keep = len(block)
            if last < len(spans):
                keep = min(keep, max(int(spans[last, 0]) - begin, 0))
            yield _splice(block[:keep], spans[done:last] - begin, islice(splices.texts, last - done))
            begin, done, carry = begin + keep, last, block[keep:]
    if received.hexdigest() != table.content_sha256:
        raise DataError(
            f"{table.path} has changed since it was read, so its blank fields may stand elsewhere; "
            "run the command again"
        )
    yield carry


def _splice(block: bytes, spans: Positions, texts: Iterable[bytes]) -> bytes:
    pieces, position = [], 0
    for (start, end), text in zip(spans.tolist(), texts, strict=True):
        # What was quoted stays quoted, whatever the quotes were there for.
        pieces += [block[position:start], b'"%b"' % text if block[start : start + 1] == b'"' else text]
        position = end
    pieces.append(block[position:])
    return b"".join(pieces)


def coordinate_text(value: float, decimals: int = DECIMALS) -> bytes:
    """A filled coordinate as it stands in a table: four decimals and a dot, never ``-0.0000``."""
    text = b"%.*f" % (decimals, value)
    return text[1:] if text[:1] == b"-" and not float(text) else text


def coordinate_texts(numbers: Array, decimals: int = DECIMALS) -> Iterator[bytes]:
    """The text of each of (m,) numbers; a list of all texts would take more memory than the table."""
    for first in range(0, len(numbers), _TEXTS_AT_ONCE):
        for number in numbers[first : first + _TEXTS_AT_ONCE].tolist():
            yield coordinate_text(number, decimals)
