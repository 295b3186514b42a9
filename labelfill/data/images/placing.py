"""Images of different sizes, each scaled into its place in one frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Images
from labelfill.data.images.files import BitsUnknownError, ImageFiles
from labelfill.data.images.storage import ImageStore
from labelfill.errors import DataError, shown
from labelfill.runs.progress import bar
from labelfill.schema import ImageSize, Placements, common_frame

_log = logging.getLogger("labelfill")


_LINES_AT_ONCE = 512
# Sums of equal terms in another order may differ in their last digits: a half is rounded up whatever they
# are, so that a mirrored image becomes exactly the mirror image of its original.
_TIE = 1e-6


class SizesDifferError(DataError):
    """Two image files of a table have different sizes."""


def load_image_files(files: ImageFiles, store: ImageStore, *, show_progress: bool = False) -> Images:
    """Read image files of one size: (n, H, W) uint8, grey.

    Raises
    ------
    SizesDifferError
        If two images differ in size.
    DataError
        If a file is missing, lies outside, is no image, is larger than 64 megapixels or holds several
        images.
    """
    first: tuple[int, ...] | None = None
    for row in bar(range(len(files)), desc="reading images", unit="image", show=show_progress):
        image = files.read(row)
        first = first or image.shape
        if image.shape != first:
            raise SizesDifferError(
                f"{files.where(row)}: {shown(files.names[row])} is {ImageSize(*image.shape)}, but "
                f"{shown(files.names[0])} of the first row is {ImageSize(*first)}"
            )
        store.append(image)
    assert first is not None, "a table has at least one row"
    return store.finish(ImageSize(*first))


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


def read_image_files(
    files: ImageFiles,
    boxes: NDArray[np.float64] | None,
    store: ImageStore,
    *,
    image_size: ImageSize | None,
    framed: bool | None,
    models: Path | None,
    show_progress: bool,
) -> tuple[Images, Placements | None, ImageFiles]:
    """The images (n, H, W), where each lies in their frame (None if all are of one size and whole), and the
    files with how many of 16 bits they use.

    Parameters
    ----------
    boxes
        (n, 4), own px: left, top, right and bottom edge of what is to be looked at of each image; NaN for
        all of it. None for whole images.
    image_size
        Of every image, or of the frame; None: as the files are.
    framed
        True: `image_size` is a frame, whatever the images' sizes; False: every image must have it; None: a
        frame if the images differ in size.
    models
        The run directory whose models ask for `image_size`.

    Raises
    ------
    DataError
        If an image is not as it should be, or has another size than asked for.
    """
    read = partial(
        _read, boxes=boxes, store=store, image_size=image_size, framed=framed, models=models,
        show_progress=show_progress,
    )  # fmt: skip
    try:
        images, placements = read(files)
    except BitsUnknownError:
        store.clear()
        files = files.with_bits(show_progress=show_progress)
        images, placements = read(files)
    files.tell()
    return images, placements, files


def _read(
    files: ImageFiles,
    boxes: NDArray[np.float64] | None,
    store: ImageStore,
    image_size: ImageSize | None,
    framed: bool | None,
    models: Path | None,
    show_progress: bool,
) -> tuple[Images, Placements | None]:
    if not framed and boxes is None:
        try:
            images = load_image_files(files, store, show_progress=show_progress)
        except SizesDifferError as error:
            if framed is not None:
                raise DataError(_not_for_models(str(error), image_size, models)) from error
            store.clear()
        else:
            size = ImageSize(*images.shape[1:])
            if image_size in (None, size):
                return images, None
            found = f"{files.table_path}: its image files are {size}"
            if models is not None:
                raise DataError(_not_for_models(found, image_size, models))
            raise DataError(
                f"{found}, not {image_size} as --image-size says; "
                "leave the option out, image files tell their own size"
            )
    corners = Placements.of_whole_images(ImageSize(1, 1), files.sizes(show_progress=show_progress)).corners
    if boxes is not None:
        corners = np.where(np.isnan(boxes), corners, boxes)
    frame = image_size or common_frame(corners[:, [3, 2]] - corners[:, [1, 0]])
    placements = Placements(frame, corners)
    return load_placed(files, placements, store, show_progress=show_progress), placements


def _not_for_models(found: str, asked: ImageSize | None, models: Path | None) -> str:
    return f"{found}, the models in {models} are for {asked}; train models for it in another --run-dir"
