"""What arrays hold, for annotations: one name each, the same in every room; and arrays that files keep."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Self

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
    """A dataclass whose arrays are kept in a file, each under its field's name.

    Attributes
    ----------
    shapes
        The shape of each array; see `check_array`.
    unbounded
        Arrays of floats in which infinity or NaN says something; the others hold numbers alone.
    """

    shapes: ClassVar[Mapping[str, str]] = {}
    unbounded: ClassVar[frozenset[str]] = frozenset()

    def to_arrays(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        """The arrays by name, the names begun with a prefix."""
        named = {f"{prefix}{name}": value for name, value in vars(self).items()}
        return {name: value for name, value in named.items() if isinstance(value, np.ndarray)}

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        prefix: str = "",
        entry: object = None,
        sizes: Mapping[str, int] | None = None,
    ) -> Self:
        """What `to_arrays` took apart, and `entry`, which has the fields that are no arrays.

        Parameters
        ----------
        sizes
            What letters of `shapes` stand for; others stand for what the arrays agree on.

        Raises
        ------
        DamagedFile
            If an array is missing, or does not hold what it should.
        """
        known = dict(sizes or {})
        hints = typing.get_type_hints(cls)
        values = []
        for field in fields(cls):  # type: ignore[arg-type]  # every heir is a dataclass
            name = f"{prefix}{field.name}"
            if not hasattr(entry, field.name) and name not in arrays:
                raise DamagedFile(f"the array {name!r} is missing")
            if not hasattr(entry, field.name):
                dtype = typing.get_args(typing.get_args(hints[field.name])[1])[0]
                shape, finite = cls.shapes[field.name], field.name not in cls.unbounded
                check_array(name, arrays[name], dtype, shape, known, finite=finite)
            values.append(getattr(entry, field.name) if hasattr(entry, field.name) else arrays[name])
        return cls(*values)


def check_array(
    name: str,
    array: NDArray[Any],
    dtype: type[np.generic],
    shape: str,
    sizes: dict[str, int],
    *,
    finite: bool = True,
) -> None:
    """Refuse an array that is not as it was written.

    Parameters
    ----------
    shape
        An extent for each axis: a number, or a letter that stands for the same number wherever it is used,
        with a factor before it or something added (``2A+3``). ``<K`` behind them: its values are numbers
        below K (if that is known) and at least 0; ``<=K``: -1 as well, for none.
    sizes
        What letters stand for; gets those that are met first.

    Raises
    ------
    DamagedFile
        If its type, shape or values are others.
    """
    extents = [word for word in shape.split() if not word.startswith("<")]
    if array.dtype != dtype or array.ndim != len(extents):
        found = f"{array.dtype} {array.shape}"
        raise DamagedFile(f"the array {name!r} is {found}, expected {np.dtype(dtype)} ({shape})")
    for extent, length in zip(extents, array.shape, strict=True):
        match = re.fullmatch(r"(\d*)([A-Z]?)(?:\+(\d+))?", extent)
        assert match is not None, extent
        factor, more = int(match[1] or 1), int(match[3] or 0)
        expected = factor
        if match[2]:
            expected = factor * sizes.setdefault(match[2], (length - more) // factor) + more
        if length != expected:
            raise DamagedFile(f"the array {name!r} has the shape {array.shape}, expected ({shape})")
    if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DamagedFile(f"the array {name!r} contains values that are not finite")
    bound = next((word for word in shape.split() if word.startswith("<")), None)
    below = None if bound is None else sizes.get(bound.lstrip("<="))
    if bound is not None and below is not None and array.size:
        least = -1 if bound[1] == "=" else 0
        if array.min() < least or array.max() >= below:
            raise DamagedFile(f"the array {name!r} contains numbers outside {least} to {below - 1}")
