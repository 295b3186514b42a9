"""Keypoint names, mirror partners, image size and coordinate frames.

The only place that knows a coordinate system. Two frames exist:

* **pixels** (px): x to the right, y down, the centre of the top left pixel at (0, 0). Tables,
  provenance and every figure a person reads are in pixels.
* **units**: the image's centre at (0, 0) and half of its longer side at 1, the same scale in x and
  y. Networks see and answer units.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfill.errors import DataError, UsageError

Array = NDArray[np.float64]

AXES = ("x", "y")

_SIDE_WORD = re.compile(r"left|right", re.IGNORECASE)
_SIDE_LETTER = re.compile(r"(?<![A-Za-z])[lrLR](?![A-Za-z])")
_CAMEL_SIDE = re.compile(r"^[LR](?=[A-Z][a-z])|(?<=[a-z0-9])[LR]$|(?<=[a-z0-9])[LR](?=[A-Z0-9_\-. ])")
_OPPOSITE = {"left": "right", "right": "left", "l": "r", "r": "l"}


@dataclass(frozen=True)
class ImageSize:
    """Height and width of every image of a table, in pixels."""

    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise UsageError(f"an image size needs a height and a width of at least 1, not {self}")

    @classmethod
    def parse(cls, text: str) -> ImageSize:
        """Read ``HxW``, for example ``96x96``; raises `UsageError` on anything else."""
        match = re.fullmatch(r"\s*(\d+)\s*[xX×]\s*(\d+)\s*", text)
        if match is None or int(match[1]) < 1 or int(match[2]) < 1:
            raise UsageError(f"image size {text!r} is not HEIGHTxWIDTH, for example 96x96")
        return cls(int(match[1]), int(match[2]))

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def centre(self) -> Array:
        """The image's centre in px, as (x, y)."""
        return np.array([(self.width - 1) / 2, (self.height - 1) / 2])

    @property
    def unit(self) -> float:
        """How many px one unit is: half of the longer side."""
        return max(self.height, self.width) / 2

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


def x_column(keypoint: str) -> str:
    return f"{keypoint}_x"


def y_column(keypoint: str) -> str:
    return f"{keypoint}_y"


def keypoints_in_header(columns: Sequence[str]) -> tuple[str, ...]:
    """Keypoint names, in the header's order, for which both coordinate columns are present.

    Raises
    ------
    DataError
        If a column ``NAME_x`` has no ``NAME_y`` or the other way round.
    """
    present = set(columns)
    keypoints: dict[str, None] = {}
    for column in columns:
        stem, axis = column[:-2], column[-2:]
        if axis not in ("_x", "_y") or not stem:
            continue
        partner = stem + ("_y" if axis == "_x" else "_x")
        if partner not in present:
            raise DataError(
                f"column {column!r} has no partner {partner!r}: a keypoint needs both coordinates. "
                f"Add the column, or rename {column!r} if it is not a coordinate"
            )
        keypoints[stem] = None
    return tuple(keypoints)


def mirrored_name(keypoint: str) -> str:
    """The name with its sides exchanged (``left_eye`` -> ``right_eye``); itself if it has no side."""
    for pattern in (_SIDE_WORD, _SIDE_LETTER, _CAMEL_SIDE):
        if pattern.search(keypoint):
            return pattern.sub(lambda match: _exchange(match[0]), keypoint)
    return keypoint


def _exchange(side: str) -> str:
    opposite = _OPPOSITE[side.lower()]
    if side.isupper():
        return opposite.upper()
    return opposite.capitalize() if side[0].isupper() else opposite


def mirror_partners(keypoints: Sequence[str]) -> tuple[int, ...]:
    """For each keypoint the index of its mirror partner.

    A keypoint without a side is its own partner; one whose partner is not in the table gets -1 (a
    mirrored row does not label it).
    """
    index = {keypoint: k for k, keypoint in enumerate(keypoints)}
    partners = [index.get(mirrored_name(keypoint), -1) for keypoint in keypoints]
    return tuple(p if p >= 0 and partners[p] == k else -1 for k, p in enumerate(partners))


def declared_mirror_partners(keypoints: Sequence[str], pairs: Sequence[tuple[str, str]]) -> tuple[int, ...]:
    """Mirror partners from declared pairs; a keypoint in no pair is its own partner.

    Raises
    ------
    DataError
        If a pair names a keypoint that the table does not have, or a keypoint stands in two pairs.
    """
    index = {keypoint: k for k, keypoint in enumerate(keypoints)}
    partners = list(range(len(keypoints)))
    seen: set[str] = set()
    for pair in pairs:
        for name in pair:
            if name not in index:
                raise DataError(f"mirror pair {pair[0]},{pair[1]}: the table has no keypoint {name!r}")
        if seen & set(pair):
            raise DataError(f"mirror pair {pair[0]},{pair[1]}: a keypoint may stand in one pair only")
        seen.update(pair)
        partners[index[pair[0]]], partners[index[pair[1]]] = index[pair[1]], index[pair[0]]
    return tuple(partners)


@dataclass(frozen=True)
class KeypointSchema:
    """What a table's coordinates mean: keypoint names in order, and the image they lie on.

    Attributes
    ----------
    mirror_shift
        By how many px labels lie right of what they mark, as `labelfill.mirroring` finds it; only
        mirroring needs to know.
    """

    keypoints: tuple[str, ...]
    image_size: ImageSize
    mirror_shift: float = 0.0

    @property
    def count(self) -> int:
        return len(self.keypoints)

    @property
    def columns(self) -> tuple[str, ...]:
        """Coordinate columns in keypoint order: ``a_x, a_y, b_x, ...``."""
        return tuple(f"{keypoint}_{axis}" for keypoint in self.keypoints for axis in AXES)

    def index(self, keypoint: str) -> int:
        return self.keypoints.index(keypoint)

    def to_units(self, xy: Array) -> Array:
        """Pixels ``(..., 2)`` to units."""
        return (xy - self.image_size.centre) / self.image_size.unit

    def to_pixels(self, xy: Array) -> Array:
        """Units ``(..., 2)`` to pixels."""
        return xy * self.image_size.unit + self.image_size.centre

    def mirror(self, xy: Array, partners: Sequence[int]) -> Array:
        """Coordinates ``(..., K, 2)`` in px of the mirrored image; NaN where there is no partner."""
        order = np.asarray(partners)
        mirrored = np.where((order >= 0)[:, None], xy[..., order, :], np.nan)
        mirrored[..., 0] = (self.image_size.width - 1) + 2 * self.mirror_shift - mirrored[..., 0]
        return mirrored

    def on_image(self, xy: Array) -> NDArray[np.bool_]:
        """Whether points ``(..., 2)`` in px lie on the image, its outermost pixels' edges included."""
        low, high = -0.5, np.array([self.image_size.width, self.image_size.height]) - 0.5
        inside: NDArray[np.bool_] = np.all((xy >= low) & (xy <= high), axis=-1)
        return inside
