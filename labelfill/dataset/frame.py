"""Whether the labels lie on the images."""

from __future__ import annotations

import logging
import math

import numpy as np
from numpy.typing import NDArray

from labelfill.errors import DataError
from labelfill.images import likely_sizes
from labelfill.schema import ImageSize, KeypointSchema
from labelfill.table import KeypointTable

# A few labels beyond the image are people's guesses at what the frame cuts off.
_MOST_OUTSIDE = 0.01

_log = logging.getLogger("labelfill")


def check_frame(table: KeypointTable, size: ImageSize, *, assumed: bool) -> None:
    """Check that at most 1% of the observed coordinates lie beyond the image.

    Raises
    ------
    DataError
        If they do and the size was only assumed; a size that is known to be right is kept, with a
        warning.
    """
    observed = table.observed
    outside = observed & ~_inside(table.labels, KeypointSchema(table.keypoints, size))
    count, total = int(outside.sum()), int(observed.sum())
    if count <= _MOST_OUTSIDE * total:
        return
    row = int(np.flatnonzero(outside.any((1, 2)))[0])
    assumption = " (a square was assumed)" if assumed else ""
    found = (
        f"{table.path}: {count} of {total} coordinates ({count / total:.0%}) lie beyond the {size} image"
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


def smallest_square(table: KeypointTable) -> ImageSize:
    """The square that holds a table's labels, for tables without images.

    Raises
    ------
    DataError
        If the table has no label either.
    """
    if not table.observed.any():
        raise DataError(
            f"{table.path} has neither images nor labels to tell the image size from; "
            "give it with --image-size HxW"
        )
    side = max(1, math.ceil(np.nanmax(table.labels)))
    return ImageSize(side, side)


def _inside(labels: NDArray[np.float64], schema: KeypointSchema) -> NDArray[np.bool_]:
    """(n, K, 2): each coordinate on its own, since a point may have only one of them."""
    centre = np.broadcast_to(schema.image_size.centre, labels.shape)
    x_only = np.stack([labels[..., 0], centre[..., 1]], -1)
    y_only = np.stack([centre[..., 0], labels[..., 1]], -1)
    return np.stack([schema.on_image(x_only), schema.on_image(y_only)], -1)


def _likely_size(table: KeypointTable, size: ImageSize) -> ImageSize | None:
    """The most nearly square size of as many pixels on which the labels lie."""
    observed = table.observed
    for candidate in likely_sizes(size.pixels, most=size.pixels):
        inside = _inside(table.labels, KeypointSchema(table.keypoints, candidate))
        if (observed & ~inside).sum() <= _MOST_OUTSIDE * observed.sum():
            return candidate
    return None
