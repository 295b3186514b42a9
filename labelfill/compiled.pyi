import numpy as np
from numpy.typing import NDArray

def decode(
    buffer: bytes,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    pixels: int,
    out: NDArray[np.uint8],
    /,
) -> int: ...
def find(buffer: bytes, wanted: bytes, found: NDArray[np.int64], /) -> int: ...
