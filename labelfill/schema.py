"""Keypoint names, mirror partners, image size and coordinate frames.

The only place that knows a coordinate system. Three of them exist:

* **pixels** (px): x to the right, y down, the centre of the top left pixel at (0, 0). Tables and
  provenance are in pixels of each row's own image.
* **pixels of the frame**: where the images of a table differ in size, each is scaled by one factor so
  that it just fits into the frame, and centred in it. Everything that learns works in the frame
  (`Placements`); where all images have one size, the frame is the image.
* **units**: the frame's centre at (0, 0) and half of its longer side at 1, the same scale in x and
  y. Networks see and answer units.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.errors import DataError, UsageError, did_you_mean, nearest

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


def coordinate_columns(keypoints: Sequence[str]) -> tuple[str, ...]:
    """Coordinate columns in keypoint order: ``a_x, a_y, b_x, ...``."""
    return tuple(f"{keypoint}_{axis}" for keypoint in keypoints for axis in AXES)


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
                f"{_misspelt(partner, column, columns)}Add the column, or rename {column!r} if it is not a "
                "coordinate"
            )
        keypoints[stem] = None
    return tuple(keypoints)


def _misspelt(missing: str, column: str, columns: Sequence[str]) -> str:
    """``If 'nose_tipx' holds it, rename that. ``, if another column that is in no pair is spelt nearly so."""
    stems = [name[:-2] for name in columns]
    pairs = coordinate_columns([stem for stem in stems if {f"{stem}_x", f"{stem}_y"} <= set(columns)])
    near = nearest(missing, [name for name in columns if name not in (column, *pairs)])
    return "" if near is None else f"If {near!r} holds it, rename that. "


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
                raise DataError(
                    f"mirror pair {pair[0]},{pair[1]}: the table has no keypoint {name!r}"
                    f"{did_you_mean(name, keypoints)}"
                )
        if seen & set(pair):
            raise DataError(f"mirror pair {pair[0]},{pair[1]}: a keypoint may be in one pair only")
        seen.update(pair)
        partners[index[pair[0]]], partners[index[pair[1]]] = index[pair[1]], index[pair[0]]
    return tuple(partners)


@dataclass(frozen=True)
class KeypointSchema:
    """What a table's coordinates mean: keypoint names in order, and the image they lie on.

    Attributes
    ----------
    mirror_shift
        By how many px labels lie right of what they mark, or without images of the frame's middle, as
        `labelfill.shape.mirror_axis` finds it; only mirroring needs to know.
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
        return coordinate_columns(self.keypoints)

    def mirror(self, xy: Array, partners: Sequence[int]) -> Array:
        """Coordinates ``(..., K, 2)`` in px of the mirrored image; NaN where there is no partner."""
        order = np.asarray(partners, np.int64)
        mirrored = np.where((order >= 0)[:, None], xy[..., order, :], np.nan)
        mirrored[..., 0] = (self.image_size.width - 1) + 2 * self.mirror_shift - mirrored[..., 0]
        return mirrored

    def on_image(self, xy: Array) -> NDArray[np.bool_]:
        """Whether points ``(..., 2)`` in px lie on the image, its outermost pixels' edges included."""
        low, high = -0.5, np.array([self.image_size.width, self.image_size.height]) - 0.5
        inside: NDArray[np.bool_] = np.all((xy >= low) & (xy <= high), axis=-1)
        return inside

    def clipped(self, xy: Array) -> Array:
        """Points ``(..., 2)`` in px moved onto the image: between the centres of its outermost pixels."""
        moved: Array = np.clip(xy, 0.0, [self.image_size.width - 1.0, self.image_size.height - 1.0])
        return moved


# Frames larger than this would cost memory and teach the networks nothing: they look at fewer samples.
_LONGEST_FRAME_SIDE = 256


def common_frame(sizes: NDArray[np.float64]) -> ImageSize:
    """A frame for images of heights and widths ``(n, 2)`` in px: of middling shape and size, at most 256 px.

    Every image is scaled into it, so it needs to be neither the largest nor the smallest of them.
    """
    sizes = np.maximum(sizes, 1.0)
    aspect = float(np.exp(np.median(np.log(sizes[:, 1] / sizes[:, 0]))))
    longer = min(float(np.median(sizes.max(axis=1))), _LONGEST_FRAME_SIDE)
    height, width = (longer / aspect, longer) if aspect >= 1 else (longer, longer * aspect)
    return ImageSize(max(1, round(height)), max(1, round(width)))


@dataclass(frozen=True)
class Placements:
    """Where the image of each row lies in the frame that all of them share.

    Attributes
    ----------
    frame
        Its size.
    corners
        (n, 4) float64, own px: left, top, right and bottom edge of the image, or of the box in it that is
        looked at; an image of width w reaches from -0.5 to w - 0.5.
    """

    frame: ImageSize
    corners: Array

    @classmethod
    def of_whole_images(cls, frame: ImageSize, sizes: NDArray[np.float64]) -> Placements:
        """Images of heights and widths ``(n, 2)`` in px, all of each."""
        low = np.full((len(sizes), 2), -0.5)
        return cls(frame, np.hstack([low, low + sizes[:, ::-1]]))

    def take(self, rows: NDArray[np.intp] | slice) -> Placements:
        return Placements(self.frame, self.corners[rows])

    @property
    def extents(self) -> Array:
        """(n, 2), own px: height and width of each row's image or box."""
        return self.corners[:, [3, 2]] - self.corners[:, [1, 0]]

    @property
    def scale(self) -> Array:
        """(n,): how many px of the frame one own px is."""
        room = np.array([self.frame.height, self.frame.width], np.float64)
        scale: Array = np.min(room / self.extents, axis=1)
        return scale

    @property
    def shift(self) -> Array:
        """(n, 2): where the centre of each image's top left pixel lies in the frame."""
        middle = (self.corners[:, :2] + self.corners[:, 2:]) / 2
        return self.frame.centre - middle * self.scale[:, None]

    def to_frame(self, xy: Array) -> Array:
        """Points ``(n, K, 2)`` of each row's own px to px of the frame."""
        return xy * self.scale[:, None, None] + self.shift[:, None]

    def to_own(self, xy: Array) -> Array:
        """Points ``(n, K, 2)`` in px of the frame to each row's own px."""
        return (xy - self.shift[:, None]) / self.scale[:, None, None]

    def lengths_to_frame(self, lengths: Array) -> Array:
        """Lengths ``(n, K)``, such as sigma, of own px to px of the frame."""
        return lengths * self.scale[:, None]

    def lengths_to_own(self, lengths: Array) -> Array:
        return lengths / self.scale[:, None]

    def on_image(self, xy: Array) -> NDArray[np.bool_]:
        """Whether points ``(n, K, 2)`` in own px lie on their own image (in their box), edges included."""
        low, high = self.corners[:, None, :2], self.corners[:, None, 2:]
        inside: NDArray[np.bool_] = np.all((xy >= low) & (xy <= high), axis=-1)
        return inside

    def clipped(self, xy: Array) -> Array:
        """Points ``(n, K, 2)`` in own px moved onto their own image, between its outermost pixels."""
        low, high = self.corners[:, None, :2] + 0.5, self.corners[:, None, 2:] - 0.5
        return np.clip(xy, low, np.maximum(low, high))
