"""What arrays hold, for annotations: one name each, the same in every room."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]
Floats = NDArray[np.float32]
Parts = NDArray[np.int8]  # 0 training, 1 validation, 2 evaluation
Images = NDArray[np.uint8]  # (n, H, W) grey
Bytes = NDArray[np.uint8]
Positions = NDArray[np.int64]  # of bytes in a file
