"""What single images look like: flat ones, brightness and contrast."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from labelfill.arrays import Array, Images, Mask

FLAT = 3.0  # grey levels: an image of so small a standard deviation shows nothing
_IMAGES_AT_ONCE = 256


def brightness_and_contrast(images: Images) -> tuple[Array, Array]:
    """(n, H, W) -> mean and standard deviation of the grey levels of each image, (n,) each."""
    brightness, contrast = np.empty(len(images)), np.empty(len(images))
    for rows in blocks(len(images)):
        pixels = images[rows].reshape(len(images[rows]), -1)
        brightness[rows] = pixels.mean(axis=1)
        contrast[rows] = pixels.std(axis=1, dtype=np.float32)
    return brightness, contrast


def flat_images(images: Images) -> Mask:
    """(n,): images without anything to see, black ones for example."""
    flat: Mask = brightness_and_contrast(images)[1] < FLAT
    return flat


def blocks(count: int, size: int = _IMAGES_AT_ONCE) -> Iterator[slice]:
    for begin in range(0, count, size):
        yield slice(begin, min(begin + size, count))
