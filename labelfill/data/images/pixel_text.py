"""Grey values as text, ``238 236 237 ...``, to pixels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Images
from labelfill.data.images.decoding import Decoder, UnusableError, decode_one_by_one
from labelfill.data.images.storage import ImageStore
from labelfill.data.table import IMAGE_COLUMN, ImageTexts
from labelfill.errors import DataError, place
from labelfill.schema import ImageSize

_ANY_BLANK_TO_SPACE = bytes.maketrans(b"\t\n\r", b"   ")

# A spreadsheet cell holds no more.
_EXCEL_CELL = 32_767


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
        self._decoder = Decoder()

    def finish(self) -> Images:
        """All images, (n, H, W) uint8, read-only."""
        assert self._size is not None, "no row was decoded yet"
        return self._store.finish(self._size)

    def add(self, block: ImageTexts) -> None:
        """Decode one block of rows.

        Raises
        ------
        DataError
            If a row has no pixels, another number of them than its image size says, or one that is
            not a whole number in 0..255.
        """
        buffer, starts, ends = block.buffer, block.starts, block.ends
        row = 0
        while row < len(starts):
            # Up to a row that needs a closer look, as the very first does.
            if self._size is not None:
                images = self._decoder.decode_rows(buffer, starts[row:], ends[row:], self._size.pixels)
                if len(images):
                    self._store.append(images)
                    row += len(images)
                    continue
            try:
                self._store.append(self._decode(memoryview(buffer)[starts[row] : ends[row]]))
            except UnusableError as error:
                number, line = block.first_row + row, int(block.lines[row])
                last = block.cut_short and row == len(starts) - 1
                cut = "; the file ends there without a line end: it may be cut short" if last else ""
                where = place(self._path, row=number, line=line, column=IMAGE_COLUMN)
                raise DataError(f"{where}: {error}{cut}") from error
            row += 1

    def _decode(self, text: memoryview) -> NDArray[np.uint8]:
        """The pixels of one row, looked at closely."""
        spaced = text.tobytes().translate(_ANY_BLANK_TO_SPACE)
        decoded = self._decoder.decode([memoryview(spaced)])
        pixels = decoded[0] if decoded is not None else decode_one_by_one(spaced)
        if not len(pixels):
            raise UnusableError("the image is missing; fill in its grey values, or remove the row")
        fits = math.isqrt(len(pixels)) ** 2 if self._size is None else self._size.pixels
        if len(text) == _EXCEL_CELL and len(pixels) != fits:
            raise UnusableError(
                f"the cell has {_EXCEL_CELL:,} characters, the most that Excel keeps, and {len(pixels)} "
                "pixels: Excel has cut it; export the table again from the original"
            )
        if self._size is None:
            self._size = _square(len(pixels))
        elif len(pixels) != self._size.pixels:
            raise UnusableError(_wrong_number(len(pixels), self._size, self._models, assumed=self.assumed))
        return pixels


def _square(count: int) -> ImageSize:
    side = math.isqrt(count)
    if side * side != count:
        sizes = likely_sizes(count)
        example = f", for example {' or '.join(map(str, sizes))}" if sizes else ""
        raise UnusableError(
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
            sizes += dict.fromkeys([ImageSize(height, width), ImageSize(width, height)])  # a square once
    return sizes[:most]


def _wrong_number(count: int, expected: ImageSize, models: Path | None, *, assumed: bool) -> str:
    found = f"found {count} pixel{'s' * (count != 1)}, expected {expected.pixels} ({expected}, "
    if models is not None:
        return (
            f"{found}which the models in {models} are for); complete the row, or train models for other "
            "images in another --run-dir"
        )
    found += "as in the first row)" if assumed else "the size asked for)"
    sizes = [str(size) for size in likely_sizes(count)]
    if sizes and not assumed:
        return f"{found}; if all images are {' or '.join(sizes)}, say so with --image-size"
    return f"{found}; all images of a table have one size: complete the row or remove it"
