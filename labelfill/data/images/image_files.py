"""The images of a table that names files: as they are if all have one size, else placed in one frame."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfill.errors import DataError
from labelfill.data.images import ImageFiles, Images, ImageStore, SizesDifferError, load_image_files, load_placed
from labelfill.schema import ImageSize, Placements, common_frame

_log = logging.getLogger("labelfill")


def read_image_files(
    files: ImageFiles,
    boxes: NDArray[np.float64] | None,
    store: ImageStore,
    *,
    image_size: ImageSize | None,
    framed: bool | None,
    models: Path | None,
    show_progress: bool,
) -> tuple[Images, Placements | None]:
    """The images (n, H, W), and where each lies in their frame: None if all are of one size and whole.

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
    if not framed and boxes is None:
        try:
            images = load_image_files(files, show_progress=show_progress, store=store)
        except SizesDifferError as error:
            if framed is not None:
                raise DataError(_not_for_models(str(error), image_size, models)) from error
            store.clear()
        else:
            _check_size(files.table_path, ImageSize(*images.shape[1:]), image_size, models)
            return images, None
    corners = Placements.of_whole_images(ImageSize(1, 1), files.sizes(show_progress=show_progress)).corners
    if boxes is not None:
        corners = np.where(np.isnan(boxes), corners, boxes)
    frame = image_size or common_frame(corners[:, [3, 2]] - corners[:, [1, 0]])
    placements = Placements(frame, corners)
    return load_placed(files, placements, store, show_progress=show_progress), placements


def _check_size(path: Path, size: ImageSize, asked: ImageSize | None, models: Path | None) -> None:
    if asked in (None, size):
        return
    if models is not None:
        raise DataError(_not_for_models(f"{path}: its image files are {size}", asked, models))
    raise DataError(
        f"{path}: its image files are {size}, not {asked} as --image-size says; "
        "leave the option out, image files tell their own size"
    )


def _not_for_models(found: str, asked: ImageSize | None, models: Path | None) -> str:
    return f"{found}, the models in {models} are for {asked}; train models for it in another --run-dir"
