"""How sure each fill is, put into a table: into columns that state it, or into new ones behind all others.

A further pass over the table finds the places, so that reading a table need not remember them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from labelfill.arrays import Array, Positions
from labelfill.data.table.container import open_decompressed
from labelfill.data.table.contents import KeypointTable
from labelfill.data.table.header import read_header
from labelfill.data.table.reading import HeaderReader
from labelfill.data.table.tokenizer import Tokenizer
from labelfill.data.table.writing import Splices, changed, coordinate_text, coordinate_texts

LIKELIHOOD = "likelihood"

_ROWS_AT_ONCE = 1 << 12

NewNames = Callable[[KeypointTable, bytes, Sequence[str]], Sequence[tuple[int, bytes]]]
"""From a table, the bytes of its header, and keypoints: what names their new columns, and where it is put."""


@dataclass(frozen=True)
class HeaderKind:
    """How a kind of table names its columns: how that is read, and how columns of likelihoods are added."""

    read: HeaderReader
    new_names: NewNames


def likelihood_column(keypoint: str) -> str:
    """What the column is called that states a keypoint's likelihoods."""
    return f"{keypoint}_{LIKELIHOOD}"


def fields_behind(delimiter: str, fields: Sequence[str]) -> bytes:
    """Further fields of a record, each with a delimiter before it and quoted where needed."""
    text = io.StringIO(newline="")
    # A field of no meaning before them, so that an empty one is not quoted.
    csv.writer(text, delimiter=delimiter, lineterminator="").writerow(["0", *fields])
    return text.getvalue()[1:].encode("utf-8", "surrogateescape")


def _new_names(table: KeypointTable, header: bytes, keypoints: Sequence[str]) -> list[tuple[int, bytes]]:
    names = fields_behind(table.delimiter, [likelihood_column(keypoint) for keypoint in keypoints])
    return [(len(header.rstrip(b"\r\n")), names)]


PLAIN = HeaderKind(partial(read_header, require_keypoints=True, require_images=False), _new_names)


def likelihood_splices(
    table: KeypointTable, scores: Array, columns: Mapping[int, str], new: Sequence[int], kind: HeaderKind
) -> list[Splices]:
    """What is put into a table to state how sure its fills are.

    Parameters
    ----------
    scores
        (n, K): 0..1, NaN where nothing is filled; only finite ones replace what a column states.
    columns
        By keypoint, the column that states it.
    new
        The keypoints that get a new column, in the order of these.

    Raises
    ------
    DataError
        If the file is not the one that was read.
    """
    position = {k: table.columns.index(column) for k, column in columns.items()}
    stated = sorted(position, key=position.__getitem__)  # from left to right
    replacing = scores[:, stated]
    header, spans, ends = _places(table, replacing, [position[k] for k in stated], kind)
    splices = [Splices(spans, coordinate_texts(replacing[np.isfinite(replacing)]))]
    if new:
        names = kind.new_names(table, header, [table.keypoints[k] for k in new])
        at = np.array([[place, place] for place, _ in names], np.int64)
        splices.append(Splices(at, iter([text for _, text in names])))
        splices.append(Splices(np.stack([ends, ends], 1), _record_texts(scores[:, new], table.delimiter)))
    return splices


def _places(
    table: KeypointTable, scores: Array, fields: Sequence[int], kind: HeaderKind
) -> tuple[bytes, Positions, Positions]:
    """The header; spans (m, 2) of fields whose score (n, F) is finite, row by row; ends (n,) of records."""
    begin, row = bytearray(), 0
    spans, ends = [np.empty((0, 2), np.int64)], np.empty(table.rows, np.int64)
    with open_decompressed(table.path) as source:

        def read(size: int) -> bytes:
            data = source.read(size)
            begin.extend(data)
            return data

        header, cursor = kind.read(table.path, read)
        length = cursor.offset
        if len(header.columns) != len(table.columns):
            raise changed(table)
        for block in Tokenizer(table.path, header.delimiter, table.columns, cursor).blocks(source.read):
            after = row + len(block.lines)
            if after > table.rows:
                raise changed(table)
            ends[row:after] = block.ends[:, -1] + block.offset
            if fields:
                both = np.stack([block.starts[:, fields], block.ends[:, fields]], -1)
                spans.append(both[np.isfinite(scores[row:after])] + block.offset)
            row = after
    if row != table.rows:
        raise changed(table)
    return bytes(begin[:length]), np.concatenate(spans), ends


def _record_texts(scores: Array, delimiter: str) -> Iterator[bytes]:
    """Further fields of each record: scores (n, M), nothing where they are NaN."""
    before = delimiter.encode()
    for first in range(0, len(scores), _ROWS_AT_ONCE):
        for row in scores[first : first + _ROWS_AT_ONCE].tolist():
            yield b"".join(before if score != score else before + coordinate_text(score) for score in row)
