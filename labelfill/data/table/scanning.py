"""Where separators stand: the one loop over every byte of a table, in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Positions


def positions(buffer: bytes, *wanted: int) -> Positions:
    """Where any of some byte values stands in `buffer`, in order."""
    text = np.frombuffer(buffer, np.uint8)
    mask: NDArray[np.bool_] = text == wanted[0]
    another = np.empty_like(mask)
    for byte in wanted[1:]:
        mask |= np.equal(text, byte, out=another)
    return np.flatnonzero(mask)
