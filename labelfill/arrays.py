"""What arrays hold, for annotations: one name each, the same in every room; and arrays that files keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelfill.errors import DamagedFile

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]
Floats = NDArray[np.float32]
Parts = NDArray[np.int8]  # 0 training, 1 validation, 2 evaluation
Images = NDArray[np.uint8]  # (n, H, W) grey
Bytes = NDArray[np.uint8]
Positions = NDArray[np.int64]  # of bytes in a file


class KeptArrays:
    """A dataclass whose arrays are kept in a file, each under its field's name."""

    def to_arrays(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        """The arrays by name, the names begun with a prefix."""
        named = {f"{prefix}{name}": value for name, value in vars(self).items()}
        return {name: value for name, value in named.items() if isinstance(value, np.ndarray)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], prefix: str = "", entry: object = None) -> Self:
        """What `to_arrays` took apart, and `entry`, which has the fields that are no arrays.

        Raises
        ------
        DamagedFile
            If an array is missing.
        """
        values = []
        for field in fields(cls):  # type: ignore[arg-type]  # every heir is a dataclass
            name = f"{prefix}{field.name}"
            if not hasattr(entry, field.name) and name not in arrays:
                raise DamagedFile(f"it lacks the array {name!r}")
            values.append(getattr(entry, field.name) if hasattr(entry, field.name) else arrays[name])
        return cls(*values)
