"""Coordinates in px, as shares of the image (0 to 1), or centred (-1 to 1): told apart, and converted.

A share is a coordinate divided by the image's width or height. Centred ones are half of that beside the
middle: ``(x - width / 2) / (width / 2)``.
"""

from __future__ import annotations

import numpy as np

from labelfill.arrays import Array
from labelfill.data.table import KeypointTable
from labelfill.schema import AXES
from labelfill.settings import Coordinates

# As fine as four decimals of a px on images of 10,000 px.
SHARE_DECIMALS = 8
# Smaller images may have all labels within a px or two.
_LEAST_SIDE = 16
_MOST_LABELS = 0.99
_FARTHEST = 2.0
# Of shares hardly one is negative.
_FEW_NEGATIVE = 0.1
# Of the image's longer side: labels that cover less of it are likely those of another image size.
_SMALL_EXTENT = 0.05


def to_px(written: Array, coordinates: Coordinates, sizes: Array) -> Array:
    """Coordinates (n, K, 2) of a unit as px of images of some sizes, (n, 2) height and width."""
    lengths = sizes[:, None, ::-1]
    if coordinates == "share":
        return written * lengths
    return (written + 1) / 2 * lengths if coordinates == "centred" else written


def from_px(px: Array, coordinates: Coordinates, sizes: Array) -> Array:
    """The other way round."""
    lengths = sizes[:, None, ::-1]
    if coordinates == "share":
        return px / lengths
    return px / lengths * 2 - 1 if coordinates == "centred" else px


def likely_unit(labels: Array, sizes: Array) -> Coordinates:
    """The unit that labels (n, K, 2) are in by their range, on images of some sizes (n, 2) in px."""
    found = labels[np.isfinite(labels)]
    too_small = float(np.median(sizes.max(axis=-1))) < _LEAST_SIDE
    if too_small or not len(found) or (found == np.rint(found)).all():
        return "px"
    within = np.abs(found) <= 1
    if within.mean() < _MOST_LABELS or np.abs(found).max() > _FARTHEST:
        return "px"
    return "share" if (found < 0).mean() < _FEW_NEGATIVE else "centred"


def looks_like_shares(labels: Array) -> bool:
    """Whether labels (n, K, 2) are shares of images whose size is not known."""
    return likely_unit(labels, np.full((1, 2), float(_LEAST_SIDE))) != "px"


def advised_unit(table: KeypointTable, sizes: Array) -> tuple[Coordinates, str] | None:
    """Another unit than that of the table, and the sentence that says so; None if nothing speaks for one."""
    written = from_px(table.labels, table.coordinates, sizes)
    unit = likely_unit(written, sizes)
    if unit == "px" or unit == table.coordinates or (unit, table.coordinates) == ("share", "centred"):
        return None
    found = written[np.isfinite(written)]
    what = "shares of the image" + (" from its middle" if unit == "centred" else "")
    height, width = np.median(sizes, axis=0)
    return unit, (
        f"{table.path}: all coordinates lie within {found.min():.3g} and {found.max():.3g}, on images of "
        f"{height:.0f}x{width:.0f} px: they look like {what}; pass --coordinates {unit} to have them read "
        "and filled so"
    )


def small_extent(table: KeypointTable, sizes: Array) -> str | None:
    """A sentence on labels that cover hardly any of their images; None if they cover more."""
    if len(table.keypoints) < 2 or not table.observed.any():
        return None
    lengths = np.median(sizes, axis=0)
    spans = [
        np.ptp(np.quantile(found, [0.01, 0.99])) if len(found := values[np.isfinite(values)]) else 0.0
        for values in (table.labels[..., axis] for axis in range(len(AXES)))
    ]
    if max(spans) >= _SMALL_EXTENT * lengths.max():
        return None
    return (
        f"{table.path}: all labels lie within {spans[0]:.3g} x {spans[1]:.3g} px, on images of "
        f"{lengths[0]:.0f}x{lengths[1]:.0f}: check that they are in px of these images"
    )
