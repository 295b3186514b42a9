"""What a format's module gets to write into the blanks of a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.data.table import KeypointTable
from labelfill.errors import DataError


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


def refuse_changed(table: KeypointTable, sha256: str) -> None:
    """Refuse to fill another file than was read."""
    if sha256 != table.content_sha256:
        raise DataError(f"{table.path} has changed since it was read; run the command again")
