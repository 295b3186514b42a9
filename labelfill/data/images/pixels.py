"""One image file as grey pixels: colour by what the file says of it, and nothing that would fill the memory.

A file is one image. Its size is checked as the decoder states it, before a pixel is decoded.
"""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from labelfill.data.images.decoding import UnusableError
from labelfill.data.images.orientation import AS_STORED, TAG, stated_orientation, turned_back

if TYPE_CHECKING:
    from PIL import Image
    from tifffile import TiffPage

# Larger files are refused before they are decoded: a small file can unpack to gigabytes.
MAX_IMAGE_PIXELS = 64_000_000
MAX_IMAGE_BYTES = 200_000_000
_PIXELS_AT_ONCE = 1 << 18
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TOO_MANY = f"has more than {MAX_IMAGE_PIXELS // 1_000_000} megapixels, the most that is read; scale it down"
_SEVERAL = "holds several images; give one image per file"
# Modes of Pillow whose arrays are taken as they are; the others by what they are converted to.
_AS_IT_IS = ("L", "LA", "RGB", "RGBA", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_CONVERTED = {"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA"}
# Of TIFF's tag: black is 0, white is 0, red green blue. An extra sample of these kinds is alpha.
_BLACK_IS_ZERO, _WHITE_IS_ZERO, _RGB = 1, 0, 2
_ALPHA = (1, 2)
# Of what states 16 bits, as many are used.
_BIT_DEPTHS = (8, 10, 12, 14, 16)
_PNG_HEADER = 26
# Of red, green and blue: ITU-R BT.709, rounded as scikit-image has it.
_LUMINANCE, _GREY = (0.2125, 0.7154, 0.0721), (1.0,)


@dataclass(frozen=True)
class Decoded:
    """One image as its file stores it.

    Attributes
    ----------
    values
        (h, w) or (h, w, 1..4), of any kind of number; of two or four channels the last is alpha.
    white
        The value that is white; None: the file states 16 bits, and its images tell how many of them are used.
    orientation
        By EXIF.
    halved
        Whether of 16 bits the decoder gives only the upper 8.
    """

    values: NDArray[Any]
    white: float | None
    orientation: int = AS_STORED
    halved: bool = False

    @property
    def largest(self) -> int:
        """The largest value but alpha's."""
        channels = self.values.shape[2] if self.values.ndim == 3 else 1
        colours = self.values[..., : channels - 1] if channels in (2, 4) else self.values
        return (int(colours.max()) + 1) * 256 - 1 if self.halved else int(colours.max())

    def grey(self, white: float) -> NDArray[np.uint8]:
        """(h, w) grey; what is brighter than white is white.

        Raises
        ------
        UnusableError
            If of what is used of 16 bits too little was decoded.
        """
        if self.white is None and self.halved:
            if white < np.iinfo(np.uint16).max:
                raise UnusableError(
                    "is a 16-bit colour PNG that is too dark to be read by its upper 8 bits; save it as "
                    "TIFF, or as PNG of 8 bits"
                )
            white = np.iinfo(np.uint8).max
        return _grey(self.values, self.white or white)


def decoded(path: Path) -> Decoded:
    """One image file.

    Raises
    ------
    UnusableError
        If it is no image, several, or too large.
    PermissionError
        If the file cannot be opened.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata; pixels are what counts
            with open(path, "rb") as file:
                is_tiff = file.read(4) in _TIFF
            return _of_tiff(path) if is_tiff else _by_pillow(path)
    except (PermissionError, MemoryError, UnusableError):
        raise
    except Exception as error:  # every decoder has exceptions of its own
        # How Python shows an open file tells nobody anything.
        lines = re.sub(r"`?<_io\.[^>]*>`?", "it", str(error)).strip().splitlines()
        brief = f"{type(error).__name__}: {lines[0][:100]}" if lines else type(error).__name__
        raise UnusableError(f"is no image that can be read ({brief}); replace it") from error


def bits_of(largest: int) -> int:
    """The fewest bits of a camera or scanner that hold a value."""
    return next(bits for bits in _BIT_DEPTHS if largest < 2**bits)


def _by_pillow(path: Path) -> Decoded:
    from PIL import Image

    try:
        with open(path, "rb") as file, Image.open(file) as image:
            # A phone's MPO photograph holds a preview as well; its first image is the photograph.
            if getattr(image, "is_animated", False) and image.format != "MPO":
                raise UnusableError(_SEVERAL)
            kind, orientation = image.format, AS_STORED
            halved = kind == "PNG" and _is_deep_colour(file)
            if kind == "TIFF":
                orientation = stated_orientation(image)  # decoding turns it, and forgets that
                array = turned_back(_array(image, as_it_is=False), orientation)
            else:
                array = _array(image, as_it_is=halved)
                orientation = stated_orientation(image)
    except Image.DecompressionBombError as error:  # so far beyond the bound that Pillow does not open it
        raise UnusableError(_TOO_MANY) from error
    # Pillow itself scales Netpbm's 16 bits to the largest value that they state.
    white = None if halved else _white(array, whole=kind == "PPM")
    return Decoded(array, white, orientation, halved)


def _is_deep_colour(file: BinaryIO) -> bool:
    """Whether a PNG has 16 bits for each of several channels."""
    position = file.tell()
    file.seek(0)
    header = file.read(_PNG_HEADER)
    file.seek(position)
    return header[24] == 16 and header[25] != 0


def _array(image: Image.Image, *, as_it_is: bool) -> NDArray[Any]:
    """The pixels of an image of no more than is read, colour by its mode; 8 bits as grey unless asked."""
    from PIL import Image

    mode = image.mode
    if mode == "P":
        mode = "RGBA" if "transparency" in image.info else "RGB"
    elif mode not in _AS_IT_IS:
        mode = _CONVERTED.get(mode, "RGB")
    item = 2 if mode.startswith("I;16") else 4 if mode in ("I", "F") else 1
    samples = max(len(image.getbands()), Image.getmodebands(mode))
    # Of several bands Pillow keeps four.
    _check_size(image.width * image.height, item if samples == 1 else 4)
    if as_it_is or samples == 1:
        return np.asarray(image if mode == image.mode else image.convert(mode))
    image.load()
    grey = np.empty((image.height, image.width), np.uint8)
    rows = max(1, _PIXELS_AT_ONCE // image.width)
    for top in range(0, image.height, rows):  # a copy of all bands would take as much memory again
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        grey[top : top + rows] = _grey(np.asarray(band if mode == image.mode else band.convert(mode)), 255.0)
    return grey


def _of_tiff(path: Path) -> Decoded:
    """A TIFF's one page, and no other file that its metadata names."""
    from tifffile import TiffFile

    with TiffFile(path) as tiff:
        page = tiff.pages.first
        if len(tiff.pages) > 1 and not getattr(tiff.pages[1], "is_reduced", False):  # a preview is none
            raise UnusableError(_SEVERAL)
        pixels = int(np.prod(page.shape)) // max(page.samplesperpixel, 1)
        if page.dtype is not None:
            _check_size(pixels, page.samplesperpixel * page.dtype.itemsize)
            if page.photometric in (_BLACK_IS_ZERO, _WHITE_IS_ZERO, _RGB):
                array = None
                with suppress(ValueError):  # packed in a way that only the other decoder knows
                    array = page.asarray()
                if array is not None:
                    return _of_page(page, array)
    return _by_pillow(path)  # which knows other colours, too


def _of_page(page: TiffPage, array: NDArray[Any]) -> Decoded:
    if page.axes == "SYX":  # plane by plane
        array = np.moveaxis(array, 0, -1)
    if page.axes not in ("YX", "YXS", "SYX"):
        raise UnusableError(f"is an array of {_told(array)}, expected one grey or colour image")
    whole = array.dtype.kind in "ui" and page.bitspersample < 8 * array.dtype.itemsize
    white = float(2**page.bitspersample - 1) if whole else _white(array)
    if array.ndim == 3:
        alpha = page.extrasamples[0] in _ALPHA if page.extrasamples else False
        array = array[..., : (3 if page.photometric == _RGB else 1) + alpha]
    if page.photometric == _WHITE_IS_ZERO:
        white = white or float(np.iinfo(np.uint16).max)
        array = np.asarray(white, array.dtype) - array if array.dtype != bool else ~array
    tag = page.tags.get(TAG)
    orientation = int(tag.value) if tag is not None and tag.value in range(1, 9) else AS_STORED
    return Decoded(array, white, orientation)


def _check_size(pixels: int, bytes_each: int) -> None:
    if pixels > MAX_IMAGE_PIXELS:
        raise UnusableError(_TOO_MANY)
    if pixels * bytes_each > MAX_IMAGE_BYTES:
        most = MAX_IMAGE_BYTES // 1_000_000
        raise UnusableError(f"takes more than {most} MB unpacked, the most that is read; scale it down")


def _told(array: NDArray[Any]) -> str:
    return "x".join(map(str, array.shape))


def _grey(pixels: NDArray[Any], white: float) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 1..4) of any kind of number -> (H, W) uint8."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or channels > 4 or not pixels.size:
        raise UnusableError(f"is an array of {_told(pixels)}, expected one grey or colour image")
    if pixels.dtype == np.uint8 and channels == 1 and white == 255:
        return pixels.reshape(pixels.shape[:2])
    opaque = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind in "ui" else white
    grey = np.empty(pixels.shape[:2], np.uint8)
    step = max(1, _PIXELS_AT_ONCE // max(1, pixels.shape[1]))
    for begin in range(0, len(pixels), step):  # numbers of double precision take eight times the memory
        part = pixels[begin : begin + step]
        unit = _luminance(part, white, opaque)
        grey[begin : begin + step] = np.round(np.clip(unit, 0, 1) * 255).astype(np.uint8)
    return grey


def _luminance(pixels: NDArray[Any], white: float, opaque: float) -> NDArray[np.float64]:
    """(h, W) in 0..1 of grey or colours (h, W) or (h, W, 1..4), those with alpha on white."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    planes = [pixels[..., k] for k in range(channels)] if pixels.ndim == 3 else [pixels]
    weights = _LUMINANCE if channels > 2 else _GREY
    luminance: NDArray[np.float64] = np.zeros(pixels.shape[:2])
    for plane, weight in zip(planes, weights, strict=False):
        luminance += np.minimum(plane, white) * (weight / white)
    if channels in (2, 4):
        alpha = planes[-1] / opaque
        luminance = luminance * alpha + (1 - alpha)
    return luminance


def _white(pixels: NDArray[Any], *, whole: bool = False) -> float | None:
    """What is white: of bytes 255, of floats and of true and false 1, of 16 bits None unless all are used."""
    if pixels.dtype == np.bool_ or not pixels.size:
        return 1.0
    if pixels.dtype == np.uint8:
        return 255.0
    if pixels.dtype.kind in "ui":
        # Pillow gives some 16-bit files as 32-bit numbers.
        if pixels.min() >= 0 and pixels.max() <= np.iinfo(np.uint16).max:
            return float(np.iinfo(np.uint16).max) if whole else None
    elif pixels.dtype.kind == "f" and np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1:
        return 1.0
    raise UnusableError(
        f"has {pixels.dtype} values from {pixels.min()} to {pixels.max()}, "
        "expected 8 or 16 bits, or floats in 0..1; convert it"
    )
