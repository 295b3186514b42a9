"""Images of different sizes, each scaled into its place in one frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.data.images.files import ImageFiles
from labelfill.data.images.storage import Images, ImageStore
from labelfill.runs.progress import bar
from labelfill.schema import Placements

_LINES_AT_ONCE = 512
# Sums of equal terms in another order may differ in their last digits: a half is rounded up whatever they
# are, so that a mirrored image becomes exactly the mirror image of its original.
_TIE = 1e-6


def load_placed(
    files: ImageFiles, placements: Placements, store: ImageStore, *, show_progress: bool
) -> Images:
    """Read image files into a frame: (n, H, W) uint8, grey; beyond an image its edge is continued.

    Rows that follow each other and name the same file read it once.

    Raises
    ------
    DataError
        As `load_image_files` does, sizes excepted.
    """
    scale, shift = placements.scale.tolist(), placements.shift.tolist()
    frame = placements.frame
    last: tuple[str, NDArray[np.uint8]] | None = None
    for row in bar(range(len(files)), desc="reading images", unit="image", show=show_progress):
        name = files.names[row]
        image = last[1] if last is not None and last[0] == name else files.read(row)
        last = (name, image)
        across = sampling(image.shape[1], frame.width, scale[row], shift[row][0])
        down = sampling(image.shape[0], frame.height, scale[row], shift[row][1])
        store.append(placed(image, across, down))
    return store.finish(frame)


@lru_cache(maxsize=64)  # many images have one size
def sampling(length: int, samples: int, scale: float, shift: float) -> NDArray[np.float64]:
    """Weights (samples, length) by which a line of pixels becomes a line of the frame.

    A triangle as wide as a sample or a pixel, whichever is wider: linear interpolation where the image is
    enlarged, means without aliasing where it is reduced.

    Parameters
    ----------
    scale, shift
        A pixel at p comes to lie at ``p * scale + shift``.
    """
    reach = max(1.0, 1.0 / scale)
    centres = (np.arange(samples) - shift) / scale
    # Whole numbers within reach of every centre; those beyond the line mean its first or last pixel.
    offsets = np.arange(-np.ceil(reach), np.ceil(reach) + 1)
    taps = np.rint(centres)[:, None] + offsets
    weights = np.maximum(0.0, 1.0 - np.abs(taps - centres[:, None]) / reach)
    weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((samples, length))
    np.add.at(matrix, (np.arange(samples)[:, None], np.clip(taps, 0, length - 1).astype(np.intp)), weights)
    return matrix


def placed(
    image: NDArray[np.uint8], across: NDArray[np.float64], down: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """An image (h, w) by its samplings (W, w) and (H, h): (H, W) uint8."""
    lines: Sequence[NDArray[Any]] = [
        image[begin : begin + _LINES_AT_ONCE].astype(np.float64) @ across.T
        for begin in range(0, len(image), _LINES_AT_ONCE)
    ]
    values = down @ np.concatenate(lines)
    grey: NDArray[np.uint8] = np.floor(values + (0.5 + _TIE)).clip(0, 255).astype(np.uint8)
    return grey
