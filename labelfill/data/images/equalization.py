"""Contrast equalisation, image by image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

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
    from skimage import exposure

    def stretch(image: NDArray[np.uint8]) -> NDArray[Any]:
        low, high = float(image.min()), float(image.max())
        return (image - low) * (255 / (high - low))

    methods: dict[str, Callable[[NDArray[np.uint8]], NDArray[Any]]] = {
        "stretch": stretch,
        "histogram": lambda image: np.clip(exposure.equalize_hist(image), 0, 1) * 255,
        "adaptive": lambda image: np.clip(exposure.equalize_adapthist(image), 0, 1) * 255,
    }
    if how not in methods:
        raise UsageError(f"equalisation {how!r} is not one of {', '.join(get_args(Equalization))}")
    equalized = np.empty(images.shape, np.uint8)
    for image, out in zip(images, equalized, strict=True):
        # A flat image has no contrast to equalise, and dividing by its range would warn.
        flat = image.min() == image.max()
        out[:] = image if flat else np.round(methods[how](image)).astype(np.uint8)
    return equalized
