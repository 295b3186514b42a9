"""Generated shapes and blob images, shared by the tests of sources, anchors, patches and regressors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.schema import ImageSize, KeypointSchema, mirror_partners

NAMES = ("left_eye", "right_eye", "nose", "lip", "left_brow", "right_brow", "chin")
LEFT_EYE, RIGHT_EYE, NOSE, LIP, LEFT_BROW, RIGHT_BROW, CHIN = range(7)
FRONT = np.array([(13.0, -9), (-13, -9), (0, 3), (0, 18), (14, -15), (-14, -15), (0, 28)])
DEPTH = np.array([2.0, 2, 10, 5, 3, 3, 3])  # what turning the head moves most
FACE = KeypointSchema(NAMES, ImageSize(64, 64))
PARTNERS = mirror_partners(NAMES)


def faces(rows: int, rng: np.random.Generator, scatter: float = 0.5) -> Array:
    """(rows, 7, 2) px: faces that move, grow, lean and look aside, each point with its own scatter."""
    grow = 1 + 0.07 * rng.standard_normal((rows, 1, 1))
    lean = 0.08 * rng.standard_normal(rows)
    turn = np.stack(
        [np.stack([np.cos(lean), np.sin(lean)], -1), np.stack([-np.sin(lean), np.cos(lean)], -1)], 1
    )
    aside = np.stack([0.25 * rng.standard_normal((rows, 1)) * DEPTH, np.zeros((rows, len(FRONT)))], -1)
    place = np.array([31.5, 27.5]) + 2 * rng.standard_normal((rows, 1, 2))
    return (grow * FRONT + aside) @ turn + place + scatter * rng.standard_normal((rows, len(FRONT), 2))


def blobs(xy: Array, size: ImageSize, radius: float = 2.0) -> NDArray[np.uint8]:
    """(n, H, W): images with a bright blob at each keypoint, brighter ones later in the list."""
    down, right = np.mgrid[: size.height, : size.width]
    squared = (right[None, None] - xy[..., 0, None, None]) ** 2 + (
        down[None, None] - xy[..., 1, None, None]
    ) ** 2
    strength = np.linspace(0.4, 1.0, xy.shape[1])[None, :, None, None]
    bright = (strength * np.exp(-squared / (2 * radius**2))).max(axis=1)
    return (40 + 200 * bright).round().astype(np.uint8)
