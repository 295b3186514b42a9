"""What a format's module gets to write: found points, or a whole table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.data.table import KeypointTable, WrittenTable
from labelfill.errors import DataError, StorageError, refusal


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
    """

    xy: Array
    score: Array
    sizes: Array
    model: str

    def new(self, table: KeypointTable) -> NDArray[np.bool_]:
        """(n, K, 2): the coordinates that are written, observed ones never."""
        return ~table.observed & np.isfinite(self.xy)

    def whole(self, table: KeypointTable) -> Array:
        """(n, K, 2): every coordinate as it will stand."""
        return np.where(self.new(table), self.xy, table.labels)


def send(pieces: Iterable[bytes], cells: int, out: BinaryIO) -> WrittenTable:
    """Write a filled file piece by piece.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    sent, length = hashlib.sha256(), 0
    for piece in pieces:
        sent.update(piece)
        length += len(piece)
        try:
            out.write(piece)
        except OSError as error:
            raise StorageError(f"the filled file cannot be written: {refusal(error)}") from error
    return WrittenTable(cells, sent.hexdigest(), length)


def refuse_changed(table: KeypointTable, sha256: str) -> None:
    """Refuse to fill another file than was read."""
    if sha256 != table.content_sha256:
        raise DataError(f"{table.path} has changed since it was read; run the command again")
