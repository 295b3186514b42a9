"""Contrast equalisation, image by image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Images
from labelfill.errors import UsageError

Equalization = Literal["none", "stretch", "histogram", "adaptive"]


def equalize(images: Images, how: Equalization) -> Images:
    """Equalised copies of (n, H, W) uint8 images; ``none`` gives back the array itself.

    ``stretch`` maps each image's darkest and brightest value to 0 and 255, ``histogram`` makes all
    grey values equally frequent, ``adaptive`` does so within tiles (CLAHE, Zuiderveld 1994).
    """
    if how == "none":
        return images
    method = _method(how)
    equalized = np.empty(images.shape, np.uint8)
    for image, out in zip(images, equalized, strict=True):
        # A flat image has no contrast to equalise, and dividing by its range would warn.
        out[:] = image if image.min() == image.max() else method(image)
    return equalized


def _method(how: str) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    from skimage import exposure

    def stretch(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        low, high = float(image.min()), float(image.max())
        return np.round((image - low) * (255 / (high - low))).astype(np.uint8)

    methods: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
        "stretch": stretch,
        "histogram": lambda image: _to_grey(exposure.equalize_hist(image)),
        "adaptive": lambda image: _to_grey(exposure.equalize_adapthist(image)),
    }
    if how not in methods:
        raise UsageError(f"equalisation {how!r} is not one of {', '.join(get_args(Equalization))}")
    return methods[how]


def _to_grey(unit: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.round(np.clip(unit, 0, 1) * 255).astype(np.uint8)
