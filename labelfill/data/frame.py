"""Whether the labels lie on the images, and what stands in for images that are not there."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Mask
from labelfill.data.images.pixel_text import likely_sizes
from labelfill.data.table import KeypointTable
from labelfill.errors import DataError
from labelfill.schema import ImageSize, KeypointSchema, Placements

# A few labels beyond the image are people's guesses at what the frame cuts off.
_MOST_OUTSIDE = 0.01
_FAR_OUT = 2.0

_log = logging.getLogger("labelfill")


def check_frame(
    table: KeypointTable, size: ImageSize, placements: Placements | None = None, *, assumed: bool
) -> None:
    """Check that at most 1% of the observed coordinates lie beyond the image, each row's own if they differ.

    Raises
    ------
    DataError
        If they do and the size was only assumed; a size that is known to be right is kept, with a
        warning.
    """
    if placements is None:
        what, outside = f"the {size} image", _beyond(table, size)
    else:
        centres = (placements.corners[:, :2] + placements.corners[:, 2:])[:, None] / 2
        what, outside = "their images", table.observed & ~_inside(table.labels, centres, placements.on_image)
    count, total = int(outside.sum()), int(table.observed.sum())
    if count <= _MOST_OUTSIDE * total:
        return
    row = int(np.flatnonzero(outside.any((1, 2)))[0])
    assumption = " (a square was assumed)" if assumed else ""
    found = (
        f"{table.path}: {count} of {total} coordinates ({count / total:.0%}) lie beyond {what}"
        f"{assumption}, first in row {row} (line {table.lines[row]})"
    )
    if not assumed:
        _log.warning("%s; check the image size and the labels", found)
        return
    likely = _likely_size(table, size)
    if likely:
        raise DataError(f"{found}; the images are probably {likely}: pass --image-size {likely}")
    raise DataError(
        f"{found}, and no other shape of {size.pixels} pixels holds them; check the labels and images"
    )


def assumed_frame(labels: Array, name: str) -> ImageSize:
    """The square that stands in for the images of a table that has none: by its labels (n, K, 2).

    It reaches from 0 to the largest coordinate, and from the smallest if one is negative, slips of the pen
    left out: what lies twice as far out as 99% do.

    Raises
    ------
    DataError
        If there is no label either.
    """
    found = labels[np.isfinite(labels)]
    if not len(found):
        raise DataError(f"{name} has neither images nor labels, so nothing can be found; add one of the two")
    kept = found[np.abs(found) <= _FAR_OUT * np.quantile(np.abs(found), 0.99)]
    side = max(1, math.ceil(max(kept.max(), 0.0) - min(kept.min(), 0.0)))
    return ImageSize(side, side)


def _inside(
    labels: NDArray[np.float64],
    centre: NDArray[np.float64],
    on_image: Callable[[NDArray[np.float64]], NDArray[np.bool_]],
) -> NDArray[np.bool_]:
    """(n, K, 2): each coordinate on its own, since a point may have only one of them."""
    centre = np.broadcast_to(centre, labels.shape)
    x_only = np.stack([labels[..., 0], centre[..., 1]], -1)
    y_only = np.stack([centre[..., 0], labels[..., 1]], -1)
    return np.stack([on_image(x_only), on_image(y_only)], -1)


def _beyond(table: KeypointTable, size: ImageSize) -> Mask:
    """(n, K, 2): coordinates beyond images of one size."""
    schema = KeypointSchema(table.keypoints, size)
    return table.observed & ~_inside(table.labels, size.centre, schema.on_image)


def _likely_size(table: KeypointTable, size: ImageSize) -> ImageSize | None:
    """The most nearly square size of as many pixels on which the labels lie."""
    most = _MOST_OUTSIDE * table.observed.sum()
    candidates = likely_sizes(size.pixels, most=size.pixels)
    return next((candidate for candidate in candidates if _beyond(table, candidate).sum() <= most), None)
