"""Images that lie in files beside the table, grey or colour, as uint8 grey."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Images
from labelfill.data.images.decoding import UnusableError
from labelfill.data.images.storage import ImageStore
from labelfill.data.table import IMAGE_PATH_COLUMN
from labelfill.errors import DataError, StorageError, place, shown
from labelfill.runs.progress import bar
from labelfill.schema import ImageSize

# Larger files are refused before they are decoded: a small file can unpack to gigabytes.
MAX_IMAGE_PIXELS = 64_000_000

# scikit-image reads these by another library.
_TIFF = (".tif", ".tiff")


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
        """(h, w) grey; colour becomes luminance, 16-bit and float values are scaled to 0..255."""
        path, where = self.file(row), self.where(row)
        try:
            return _grey(_read(path))
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

        with suppress(Exception), warnings.catch_warnings():  # whatever it is, reading the image says it
            warnings.simplefilter("ignore")
            with Image.open(self.file(row)) as header:
                return header.height, header.width
        height, width = self.read(row).shape
        return height, width

    def file(self, row: int) -> Path:
        """Where the image lies; refused if it is not there, or lies outside where that is not allowed."""
        where, name = self.where(row), self.names[row]
        folder = (self.beside or self.table_path).parent.resolve()
        try:
            real = (folder / name).resolve()
            if "\\" in name and not real.exists():  # a table made on Windows
                real = (folder / PureWindowsPath(name).as_posix()).resolve()
            if not self.allow_outside and not real.is_relative_to(folder):
                raise DataError(
                    f"{where}: {shown(name)} leads out of the table's folder {folder}; "
                    "pass --allow-outside if that is meant"
                )
            if not real.is_file():
                raise DataError(
                    f"{where}: no file {shown(name)} in {folder}; names are relative to the table's folder"
                )
        except (OSError, ValueError) as error:  # a name too long, or with a NUL byte
            raise DataError(f"{where}: {shown(name)} is no file name ({error}); correct it") from error
        return real


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


def _read(path: Path) -> NDArray[Any]:
    from skimage import io

    _refuse_too_large(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata; pixels are what counts
            if path.suffix.lower() in _TIFF:  # which are told by their names
                return np.asarray(io.imread(path))
            with open(path, "rb") as file:  # opened here: imread leaves open what it cannot read
                return np.asarray(io.imread(file))
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # every plugin behind imread has exceptions of its own
        # How Python shows an open file tells nobody anything.
        lines = re.sub(r"`?<_io\.[^>]*>`?", "it", str(error)).strip().splitlines()
        brief = f"{type(error).__name__}: {lines[0][:100]}" if lines else type(error).__name__
        raise UnusableError(f"is no image that can be read ({brief}); replace it") from error


def _refuse_too_large(path: Path) -> None:
    """Look at the header alone; formats whose header Pillow does not know are bounded by their file size."""
    from PIL import Image

    several = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, larger bound
            with Image.open(path) as header:
                pixels = header.width * header.height
                # A phone's MPO photograph holds a preview as well; imread takes the first image.
                several = getattr(header, "is_animated", False) and header.format != "MPO"
    except PermissionError:
        raise
    except Image.DecompressionBombError:  # so far beyond the bound that Pillow does not open it
        pixels = Image.MAX_IMAGE_PIXELS or MAX_IMAGE_PIXELS + 1
    except Exception:  # not Pillow's; imread decides
        pixels = path.stat().st_size
    if several:
        raise UnusableError("holds several images; give one image per file")
    if pixels > MAX_IMAGE_PIXELS:
        raise UnusableError(
            f"has more than {MAX_IMAGE_PIXELS // 1_000_000} megapixels, the most that is read; scale it down"
        )


def _grey(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 1..4) of any kind of number -> (H, W) uint8."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or channels > 4 or not pixels.size:
        shape = "x".join(map(str, pixels.shape))
        raise UnusableError(f"is an array of {shape}, expected one grey or colour image")
    if pixels.dtype == np.uint8 and channels == 1:
        return pixels.reshape(pixels.shape[:2])
    unit = _unit_range(pixels)
    if channels == 2:  # grey and alpha, on white as for colours
        unit = unit[..., 0] * unit[..., 1] + (1 - unit[..., 1])
    elif channels >= 3:
        from skimage import color

        unit = color.rgb2gray(color.rgba2rgb(unit) if channels == 4 else unit)
    return np.round(np.clip(unit.reshape(pixels.shape[:2]), 0, 1) * 255).astype(np.uint8)


def _unit_range(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Values as 0..1: whole numbers by the range of their type, floats as they are."""
    if pixels.dtype == np.bool_:
        return pixels.astype(np.float64)
    if pixels.dtype.kind in "ui":
        # Pillow gives some 16-bit files as 32-bit numbers.
        largest = np.iinfo(pixels.dtype).max if pixels.dtype.itemsize <= 2 else np.iinfo(np.uint16).max
        if pixels.min() >= 0 and pixels.max() <= largest:
            return pixels / float(largest)
    elif pixels.dtype.kind == "f" and np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1:
        return pixels.astype(np.float64)
    raise UnusableError(
        f"has {pixels.dtype} values from {pixels.min()} to {pixels.max()}, "
        "expected 8 or 16 bits, or floats in 0..1; convert it"
    )
