"""Images that lie in files beside the table, grey or colour, as uint8 grey."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Images
from labelfill.data.images.decoding import UnusableError
from labelfill.data.images.pixels import read_grey
from labelfill.data.images.storage import ImageStore
from labelfill.data.table import IMAGE_PATH_COLUMN
from labelfill.errors import DataError, StorageError, place, real_path, shown
from labelfill.runs.progress import bar
from labelfill.schema import ImageSize

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)
# How many missing files are named.
_NAMED = 3


@dataclass(frozen=True)
class ImageFiles:
    """The image files that a table's rows name.

    Attributes
    ----------
    table_path
        For error messages; names are relative to its folder unless `beside` is given.
    names, lines
        Of each row: the file, and the 1-based line.
    beside
        Another table whose folder names are relative to.
    allow_outside
        Take names that lead out of the table's folder.
    """

    table_path: Path
    names: Sequence[str]
    lines: Sequence[int] | NDArray[np.int64]
    beside: Path | None = None
    allow_outside: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def where(self, row: int) -> str:
        return place(self.table_path, row=row, line=int(self.lines[row]), column=IMAGE_PATH_COLUMN)

    def read(self, row: int) -> NDArray[np.uint8]:
        """(h, w) grey; see `read_grey`."""
        path, where = self.file(row), self.where(row)
        try:
            return read_grey(path)
        except PermissionError as error:
            raise StorageError(f"{where}: {path} cannot be read: {error.strerror}") from error
        except UnusableError as error:
            raise DataError(f"{where}: {shown(self.names[row])} {error}") from error

    def sizes(self, *, show_progress: bool = False) -> NDArray[np.float64]:
        """(n, 2): height and width of each row's image; a file that several rows name is looked at once."""
        known: dict[str, tuple[int, int]] = {}
        for row in bar(range(len(self)), desc="measuring images", unit="image", show=show_progress):
            if self.names[row] not in known:
                known[self.names[row]] = self._size(row)
        return np.array([known[name] for name in self.names], np.float64).reshape(-1, 2)

    def _size(self, row: int) -> tuple[int, int]:
        """Height and width, from the image's header if that tells it."""
        from PIL import Image

        path = self.file(row)
        with suppress(Exception), warnings.catch_warnings():  # whatever it is, reading the image says it
            warnings.simplefilter("ignore")
            with Image.open(path) as header:
                return header.height, header.width
        height, width = self.read(row).shape
        return height, width

    def file(self, row: int) -> Path:
        """Where the image lies; the first call looks for the files of all rows.

        Raises
        ------
        DataError
            If any of them is not there, or lies outside where that is not allowed.
        """
        return self._files[self.names[row]]

    @cached_property
    def _folder(self) -> Path:
        return real_path((self.beside or self.table_path).parent)

    @cached_property
    def _files(self) -> dict[str, Path]:
        """The file of each name; none is read before all are known to be there."""
        first_rows: dict[str, int] = {}
        for row, name in enumerate(self.names):
            first_rows.setdefault(name, row)
        found = {name: self._found(name, row) for name, row in first_rows.items()}
        files = {name: file for name, file in found.items() if file is not None}
        missing = [name for name in first_rows if name not in files]
        if missing:
            raise self._missing(missing, first_rows[missing[0]], len(found))
        return files

    def _found(self, name: str, row: int) -> Path | None:
        """The file of a name that `row` is the first to name; None if there is none."""
        folder = self._folder
        try:
            real = real_path(folder / name)
            if "\\" in name and not real.exists():  # a table made on Windows
                real = real_path(folder / PureWindowsPath(name).as_posix())
            if not self.allow_outside and not real.is_relative_to(folder):
                raise DataError(
                    f"{self.where(row)}: {shown(name)} leads out of the table's folder {folder}; "
                    "pass --allow-outside if that is meant"
                )
            return real if real.is_file() else None
        except (OSError, ValueError, StorageError) as error:  # too long, with a NUL byte, a circle of links
            raise DataError(
                f"{self.where(row)}: {shown(name)} is no file name ({error}); correct it"
            ) from error

    def _missing(self, names: Sequence[str], row: int, total: int) -> DataError:
        """Names without a file, the first of which stands in `row`, of so many different ones."""
        found = f"{self.where(row)}: no file {shown(names[0])} in {self._folder}"
        if len(names) > 1:
            further = ", ".join(map(shown, names[1:_NAMED]))
            found += f", nor {further}: {len(names)} of {total} image files are missing"
        start = "the table's folder" if self.beside is None else "that folder"
        # Where some are found, names start from the right folder.
        otherwise = "name theirs by --image-folder" if len(names) == total else "remove their rows"
        return DataError(f"{found}; names are relative to {start}: put the files there, or {otherwise}")


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
