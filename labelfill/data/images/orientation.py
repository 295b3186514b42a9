"""Images turned as their EXIF orientation says: 1 as stored, 2 to 8 mirrored or turned by quarters.

The eight values are those of the tag Orientation (274) of Exif 2.32 and TIFF 6.0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

TAG = 274
AS_STORED = 1
# From this one on, height and width change places.
FIRST_SWAPPED = 5
_BACK = {6: 8, 8: 6}
# Of a PNG: what tells an orientation that stands behind the pixels; looking for it decodes nothing.
_BEHIND_PIXELS = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type")

Pixels = TypeVar("Pixels", bound=NDArray[Any])


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Stored pixels (h, w, ...) as they are to be seen."""
    if orientation >= FIRST_SWAPPED:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]  # type: ignore[assignment]  # as above
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]  # type: ignore[assignment]  # as above
    return pixels


def turned_back(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels as they are to be seen (h, w, ...) as they are stored."""
    return turned(pixels, _BACK.get(orientation, orientation))


def turned_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Height and width of an image as it is to be seen."""
    return (width, height) if orientation >= FIRST_SWAPPED else (height, width)


def stated_orientation(image: Any) -> int:
    """What an open image of Pillow states; 1 if nothing or nonsense."""
    try:
        found = int(image.getexif().get(TAG, AS_STORED))
    except Exception:  # damaged metadata harm no pixels, and have many exceptions
        return AS_STORED
    return found if found in range(1, 9) else AS_STORED


def orientation_in_header(image: Any, path: Path) -> int:
    """The same of an image at `path` that was opened, without decoding its pixels."""
    if image.format == "PNG" and "exif" not in image.info:
        data = path.read_bytes()
        if not any(mark in data for mark in _BEHIND_PIXELS):
            return AS_STORED
    return stated_orientation(image)
