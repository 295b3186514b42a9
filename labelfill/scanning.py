"""The loops over every byte of a table: in numpy, or compiled if there was a C compiler to install with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Positions = NDArray[np.int64]

compiled_find: Callable[[bytes, bytes, Positions], int] | None
compiled_decode: Callable[[bytes, Positions, Positions, int, Bytes], int] | None
try:
    from labelfill.compiled import decode, find

    compiled_find, compiled_decode = find, decode
except ImportError:
    compiled_find = compiled_decode = None

_MOST_WANTED = 4
# Room for one position in so many bytes: as much memory as the bytes. For more positions it is made anew.
_BYTES_FOR_EACH = 8


def positions(buffer: bytes, *wanted: int) -> Positions:
    """Where any of up to four byte values stands in `buffer`, in order."""
    if compiled_find is not None:
        four = bytes(wanted) + bytes(wanted[:1]) * (_MOST_WANTED - len(wanted))
        found = np.empty(len(buffer) // _BYTES_FOR_EACH, np.int64)
        count = compiled_find(buffer, four, found)
        if count <= len(found):
            return found[:count].copy()  # the rest of the room is given back
        found = np.empty(count, np.int64)
        compiled_find(buffer, four, found)
        return found
    text = np.frombuffer(buffer, np.uint8)
    mask: NDArray[np.bool_] = text == wanted[0]
    another = np.empty_like(mask)
    for byte in wanted[1:]:
        mask |= np.equal(text, byte, out=another)
    return np.flatnonzero(mask)
