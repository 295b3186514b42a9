"""Grey values as text, ``238 236 237 ...``, to pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
_ONE_SIZE = "all images of a table have one size"
_COMPLETE = f"{_ONE_SIZE}: complete the row or remove it"


@dataclass(frozen=True)
class _Row:
    """A row that was looked at closely.

    Attributes
    ----------
    number, line, where
        Its place, and how messages call that.
    pixels
        How many it has.
    full_cell
        Whether its text is as long as a spreadsheet's cell can be.
    cut
        What is to be said if the file ends with it, without a line end.
    """

    number: int
    line: int
    where: str
    pixels: int
    full_cell: bool
    cut: str

    def bad(self, what: str) -> DataError:
        return DataError(f"{self.where}: {what}{self.cut}")


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
        # A first row of another size: what to advise depends on the rows after it.
        self._unfit: _Row | None = None

    def finish(self) -> Images:
        """All images, (n, H, W) uint8, read-only.

        Raises
        ------
        DataError
            If all rows have the same number of pixels, and it is not that of the size asked for; where none
            was asked for, not that of a square.
        """
        if self._unfit is not None:
            raise self._unfit.bad(self._other_size(self._unfit.pixels))
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
            if self._size is not None and self._unfit is None:
                images = self._decoder.decode_rows(buffer, starts[row:], ends[row:], self._size.pixels)
                if len(images):
                    self._store.append(images)
                    row += len(images)
                    continue
            number, line = block.first_row + row, int(block.lines[row])
            last = block.cut_short and row == len(starts) - 1
            cut = "; the file ends there without a line end: it may be cut short" if last else ""
            where = place(self._path, row=number, line=line, column=IMAGE_COLUMN)
            text = memoryview(buffer)[starts[row] : ends[row]]
            try:
                pixels = self._decode(text)
            except UnusableError as error:
                raise DataError(f"{where}: {error}{cut}") from error
            self._take(pixels, _Row(number, line, where, len(pixels), len(text) == _EXCEL_CELL, cut))
            row += 1

    def _decode(self, text: memoryview) -> NDArray[np.uint8]:
        """The pixels of one row, looked at closely."""
        spaced = text.tobytes().translate(_ANY_BLANK_TO_SPACE)
        decoded = self._decoder.decode([memoryview(spaced)])
        pixels = decoded[0] if decoded is not None else decode_one_by_one(spaced)
        if not len(pixels):
            raise UnusableError("the image is missing; fill in its grey values, or remove the row")
        return pixels

    def _take(self, pixels: NDArray[np.uint8], row: _Row) -> None:
        """Store a row, or say why its number of pixels is wrong."""
        first, side = self._unfit, math.isqrt(row.pixels)
        if self._size is None and first is None and side * side == row.pixels:
            self._size = ImageSize(side, side)
        fits = self._size is not None and row.pixels == self._size.pixels
        if fits and first is None:
            self._store.append(pixels)
        elif fits and first is not None:
            raise first.bad(f"{self._found(first.pixels)}; {_COMPLETE}")
        elif first is not None and row.pixels == first.pixels:
            pass  # `finish` tells, once all rows are known to be alike
        elif row.full_cell:
            raise row.bad(
                f"the cell has {_EXCEL_CELL:,} characters, the most that Excel keeps, and {row.pixels} "
                "pixels: Excel has cut it; export the table again from the original"
            )
        elif first is not None:
            raise row.bad(
                f"found {_pixels(row.pixels)}, but the first row (line {first.line}) has {first.pixels}; "
                f"{_ONE_SIZE}: complete the one that is wrong, or remove it"
            )
        elif row.number == 0:
            self._unfit = row
        else:
            raise row.bad(f"{self._found(row.pixels)}; {_COMPLETE}")

    def _found(self, count: int) -> str:
        assert self._size is not None, "else there is nothing to expect"
        if self._models is not None:
            whose = f"which the models in {self._models} are for"
        else:
            whose = "as in the first row" if self.assumed else "the size asked for"
        return f"found {_pixels(count)}, expected {self._size.pixels} ({self._size}, {whose})"

    def _other_size(self, count: int) -> str:
        """What is wrong with a table whose rows all have so many pixels."""
        if self._models is not None:
            return f"{self._found(count)}; complete the images, or train models for such in another --run-dir"
        found = f"found {_pixels(count)}, which make no square image" if self.assumed else self._found(count)
        likely = " or ".join(map(str, likely_sizes(count)))
        if not likely:
            return (
                f"{found} and no image of usual shape; export the images again, or give the size with "
                "--image-size HxW if they are as narrow as that"
            )
        if self.assumed:
            return f"{found}; give the size with --image-size HxW, for example {likely}"
        return f"{found}; if all images are {likely}, say so with --image-size"


def _pixels(count: int) -> str:
    return f"{count} pixel{'s' * (count != 1)}"


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
