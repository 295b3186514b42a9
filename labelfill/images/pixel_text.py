"""Grey values as text, ``238 236 237 ...``, to pixels."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfill.errors import DataError
from labelfill.images.storage import Images, ImageStore
from labelfill.place import place, shown
from labelfill.schema import ImageSize

Positions = NDArray[np.int64]

_COLUMN = "Image"
_SPACE, _ZERO = b" 0"
_WHOLE = re.compile(rb"\+?0*(\d{1,3})(?:\.0*)?")
_ANY_BLANK_TO_SPACE = bytes.maketrans(b"\t\n\r", b"   ")
_WORD = re.compile(rb"[^ ]+")
_LARGEST = 255


class PixelText:
    """Decodes the ``Image`` text of a table's rows into a store; an image sink of `read_table`.

    Parameters
    ----------
    table_path
        For error messages.
    image_size
        Of every image; None assumes a square, from the first row.
    store
        Gets one image per row.
    models
        The run directory whose models ask for that size, if it is not a person who states it.
    """

    def __init__(
        self, table_path: Path, image_size: ImageSize | None, store: ImageStore, models: Path | None = None
    ) -> None:
        self.assumed = image_size is None
        self._models = models
        self._path = table_path
        self._size = image_size
        self._store = store

    @property
    def image_size(self) -> ImageSize:
        """As given, or as assumed from the first row."""
        assert self._size is not None, "no row was decoded yet"
        return self._size

    def finish(self) -> Images:
        """All images, (n, H, W) uint8, read-only."""
        return self._store.finish(self.image_size)

    def add(
        self,
        buffer: bytes,
        starts: Positions,
        ends: Positions,
        rows: Positions,
        lines: Positions,
        *,
        cut_short: bool = False,
    ) -> None:
        """Decode one block of rows; see `labelfill.table.ImageSink`.

        Raises
        ------
        DataError
            If a row has no pixels, another number of them than its image size says, or one that is
            not a whole number in 0..255.
        """
        last = len(rows) - 1
        for i in range(len(rows)):
            text = memoryview(buffer)[starts[i] : ends[i]]
            try:
                self._store.append(self._decode(text))
            except _BadPixels as error:
                where = place(self._path, row=int(rows[i]), line=int(lines[i]), column=_COLUMN)
                cut = (
                    "; the file ends there without a line end: it may be cut short"
                    if cut_short and i == last
                    else ""
                )
                raise DataError(f"{where}: {error}{cut}") from error

    def _decode(self, text: memoryview) -> NDArray[np.uint8]:
        pixels = decode_at_once(np.frombuffer(text, np.uint8))
        if pixels is None:
            spaced = text.tobytes().translate(_ANY_BLANK_TO_SPACE)
            pixels = decode_at_once(np.frombuffer(spaced, np.uint8))
            if pixels is None:
                pixels = decode_one_by_one(spaced)
        if not len(pixels):
            raise _BadPixels("the image is missing; fill in its grey values, or remove the row")
        if self._size is None:
            self._size = _square(len(pixels))
        elif len(pixels) != self._size.pixels:
            raise _BadPixels(_wrong_number(len(pixels), self._size, self._models, assumed=self.assumed))
        return pixels


class _BadPixels(ValueError):
    """What is wrong with the pixels of a row; the place is added by whoever knows it."""


def decode_at_once(text: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Pixels of text that holds nothing but numbers of up to three digits and spaces; None for other text."""
    # Two bytes that are no digits in front, so that every last digit has two bytes before it.
    digits = np.full(len(text) + 2, _LARGEST, np.uint8)
    np.subtract(text, np.uint8(_ZERO), out=digits[2:])
    is_digit = digits < 10
    if not (is_digit[2:] | (text == _SPACE)).all():
        return None
    last = np.flatnonzero(np.append(is_digit[:-1] > is_digit[1:], is_digit[-1]))
    tens, hundreds = digits.take(last - 1), digits.take(last - 2)
    has_tens = tens < 10
    has_hundreds = has_tens & (hundreds < 10)
    if len(last) + np.count_nonzero(has_tens) + np.count_nonzero(has_hundreds) != np.count_nonzero(is_digit):
        return None  # a number of four digits or more
    hundreds *= has_hundreds
    tens *= has_tens
    pixels = digits.take(last)
    pixels += tens * np.uint8(10)
    pixels += hundreds * np.uint8(100)
    # Above 255 the sum has wrapped around.
    if (hundreds > 2).any() or ((hundreds == 2) & (pixels < 200)).any():
        return None
    return pixels


def decode_one_by_one(text: bytes) -> NDArray[np.uint8]:
    """Pixels of any text; takes ``12.0`` and ``0012`` too, and says what is wrong with the rest."""
    pixels = bytearray()
    for number, match in enumerate(
        _WORD.finditer(text)
    ):  # a list of words would take fifty times their space
        word = match[0]
        whole = _WHOLE.fullmatch(word)
        if whole is None or int(whole[1]) > _LARGEST:
            raise _BadPixels(
                f"pixel {number} is {shown(word)}, expected a whole number in 0..{_LARGEST}; "
                "correct it or remove the row"
            )
        pixels.append(int(whole[1]))
    return np.frombuffer(pixels, np.uint8)


def _square(count: int) -> ImageSize:
    side = math.isqrt(count)
    if side * side != count:
        sizes = likely_sizes(count)
        example = f", for example {' or '.join(map(str, sizes))}" if sizes else ""
        raise _BadPixels(
            f"found {count} pixels, which make no square image; give the size with --image-size HxW{example}"
        )
    return ImageSize(side, side)


def likely_sizes(count: int, most: int = 3) -> list[ImageSize]:
    """Image sizes of so many pixels, those nearest to a square first; strips thinner than 1:4 left out."""
    sizes: list[ImageSize] = []
    for height in range(math.isqrt(count), 0, -1):
        if len(sizes) >= most or 4 * height * height < count:
            break
        if count % height == 0:
            width = count // height
            sizes += (
                [ImageSize(height, width)]
                if height == width
                else [ImageSize(height, width), ImageSize(width, height)]
            )
    return sizes[:most]


def _wrong_number(count: int, expected: ImageSize, models: Path | None, *, assumed: bool) -> str:
    why = "as in the first row" if assumed else "the size asked for"
    if models is not None:
        return (
            f"found {count} pixel{'s' * (count != 1)}, expected {expected.pixels} ({expected}, which the "
            f"models in {models} are for); complete the row, or train models for other images in another "
            "--run-dir"
        )
    found = f"found {count} pixel{'s' * (count != 1)}, expected {expected.pixels} ({expected}, {why})"
    sizes = [str(size) for size in likely_sizes(count)]
    hint = (
        f"; if all images are {' or '.join(sizes)}, say so with --image-size" if sizes and not assumed else ""
    )
    return f"{found}{hint or '; all images of a table have one size: complete the row or remove it'}"
