"""Images that lie in files beside the table, grey or colour, as uint8 grey."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from labelfill.data.images.decoding import UnusableError
from labelfill.data.images.frames import Frames
from labelfill.data.images.orientation import (
    AS_STORED,
    orientation_in_header,
    turned,
    turned_size,
)
from labelfill.data.images.pixels import Decoded, bits_of, decoded
from labelfill.data.table import IMAGE_PATH_COLUMN
from labelfill.errors import DataError, StorageError, counted, place, real_path, shown
from labelfill.runs.progress import bar
from labelfill.schema import ImageSize

# How many missing files are named.
_NAMED = 3
# How much the shape of an image may differ from that of the one that was labelled, beside rounding.
_SHAPE_TOLERANCE = 0.01

_log = logging.getLogger("labelfill")


T = TypeVar("T")


class BitsUnknownError(Exception):
    """An image states 16 bits, and nobody has said yet how many of them the table's images use."""


@dataclass
class Findings:
    """What was found of files as they were read, by their names.

    Attributes
    ----------
    sizes
        Height and width, the way round that labels refer to.
    turned
        Those that were turned or mirrored.
    too_bright
        Those with values above white, and the largest of each.
    """

    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    turned: set[str] = field(default_factory=set)
    too_bright: dict[str, int] = field(default_factory=dict)


def folder_of(path: Path) -> Path:
    """The folder from which images are named: that of a file, or a folder itself."""
    return real_path(path if path.is_dir() else path.parent)


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
    column
        What the table calls the names.
    stated_sizes
        (n, 2), px: height and width that the table states, NaN where it states none; None: nowhere.
    by_shape
        Whether stated sizes hold for the shape alone, as labels are in shares of the image.
    exif_turn
        Whether files are turned as their EXIF orientation says.
    bits
        Of 16, how many are used; None: not known.
    frames
        Reads images that lie in the table's own file or in a video; None: there are none.
    """

    table_path: Path
    names: Sequence[str]
    lines: Sequence[int] | NDArray[np.int64]
    beside: Path | None = None
    allow_outside: bool = False
    column: str = IMAGE_PATH_COLUMN
    stated_sizes: NDArray[np.float64] | None = None
    by_shape: bool = False
    exif_turn: bool = True
    bits: int | None = None
    frames: Frames | None = None
    findings: Findings = field(default_factory=Findings)

    def __len__(self) -> int:
        return len(self.names)

    def where(self, row: int) -> str:
        return place(self.table_path, row=row, line=int(self.lines[row]), column=self.column)

    def read(self, row: int) -> NDArray[np.uint8]:
        """(h, w) grey, the way round that the labels refer to.

        Raises
        ------
        BitsUnknownError
            If it states 16 bits, and how many are used is not known.
        DataError
            If it is no image that can be read, or not of the size that the table states.
        """
        image = self._decoded(row)
        if image.white is None and self.bits is None:
            raise BitsUnknownError
        white = 2.0 ** (self.bits or 8) - 1
        if image.white is None and image.largest > white:
            self.findings.too_bright[self.names[row]] = image.largest
        height, width = image.values.shape[:2]
        orientation = self._orientation(row, height, width, image.orientation)
        self.findings.sizes[self.names[row]] = turned_size(height, width, orientation)
        if orientation != AS_STORED:
            self.findings.turned.add(self.names[row])
        with self._naming(row):
            return turned(image.grey(white), orientation)

    def with_bits(self, *, show_progress: bool = False) -> ImageFiles:
        """The same with the fewest bits that hold the largest value of all images that state 16."""
        deep = [image.largest for image in self._once(self._decoded, show_progress) if image.white is None]
        bits = bits_of(max(deep))
        _log.info(
            "%s: 16-bit images up to %s: %d bits are used, so %s is white",
            self.table_path, f"{max(deep):,}", bits, f"{2**bits - 1:,}",
        )  # fmt: skip
        return replace(self, bits=bits)

    def tell(self) -> None:
        """Say, once all images were read, what was done to some of them."""
        if self.findings.turned:
            _log.info(
                "%s: %s turned as the EXIF orientation says, as labelling tools show them; --no-exif-turn "
                "takes them as they are stored",
                self.table_path, counted(len(self.findings.turned), "image file"),
            )  # fmt: skip
        if self.findings.too_bright:
            name, largest = max(self.findings.too_bright.items(), key=lambda item: item[1])
            _log.warning(
                "%s: %s brighter than those that the models learnt from, up to %s (%s) where %s is white: "
                "what is above is cut off",
                self.table_path, counted(len(self.findings.too_bright), "image"), f"{largest:,}", shown(name),
                f"{2 ** (self.bits or 8) - 1:,}",
            )  # fmt: skip

    def _decoded(self, row: int) -> Decoded:
        path, where = self.file(row), self.where(row)
        if self.frames is not None and self._is_frame(row):
            with self._naming(row):
                return Decoded(self.frames.read(self.names[row]), white=255.0)
        try:
            with self._naming(row):
                return decoded(path)
        except PermissionError as error:
            raise StorageError(f"{where}: {path} cannot be read: {error.strerror}") from error

    def _is_frame(self, row: int) -> bool:
        return self.frames is not None and self.frames.file(self.names[row]) is not None

    @contextmanager
    def _naming(self, row: int) -> Iterator[None]:
        try:
            yield
        except UnusableError as error:
            raise DataError(f"{self.where(row)}: {shown(self.names[row])} {error}") from error

    def _orientation(self, row: int, height: int, width: int, orientation: int) -> int:
        """How a stored file of a size is turned to be what the labels refer to."""
        orientation = orientation if self.exif_turn else AS_STORED
        stated = None if self.stated_sizes is None else self.stated_sizes[row]
        if stated is None or np.isnan(stated).any():
            return orientation
        seen = turned_size(height, width, orientation)
        for size, way in ((seen, orientation), ((height, width), AS_STORED)):
            if self._fits(stated, size):
                return way
        wanted, found = ImageSize(*map(int, stated)), ImageSize(*seen)
        raise DataError(
            f"{self.where(row)}: {shown(self.names[row])} is {found} (height x width), and {self.table_path} "
            f"says that its labels are for {wanted}; give the images that were labelled, or correct the size "
            "that is stated if the labels are for these"
        )

    def _fits(self, stated: NDArray[np.float64], size: tuple[int, int]) -> bool:
        if not self.by_shape:
            return (stated == size).all()  # type: ignore[no-any-return]  # numpy's bool
        ratio = stated[0] * size[1] / (stated[1] * size[0])
        return bool(abs(ratio - 1) <= _SHAPE_TOLERANCE + 1 / min(*stated, *size))

    def sizes(self, *, show_progress: bool = False) -> NDArray[np.float64]:
        """(n, 2): height and width of each row's image."""
        by_name = self.findings.sizes
        by_name |= zip(self._first_rows, self._once(self._size, show_progress), strict=True)
        return np.array([by_name[name] for name in self.names], np.float64).reshape(-1, 2)

    def _once(self, look: Callable[[int], T], show_progress: bool) -> Iterator[T]:
        """What is found by looking at each file, by the first row that names it."""
        rows = self._first_rows.values()
        for row in bar(rows, desc="measuring images", unit="image", show=show_progress):
            yield look(row)

    def _size(self, row: int) -> tuple[int, int]:
        """Height and width; if the image was not read yet, from its header if that tells it."""
        known = self.findings.sizes.get(self.names[row])
        if known is not None:
            return known
        height, width, orientation = self._stored_size(row)
        return turned_size(height, width, self._orientation(row, height, width, orientation))

    def _stored_size(self, row: int) -> tuple[int, int, int]:
        """Height, width and orientation of the file as it is stored."""
        from PIL import Image

        path = self.file(row)
        if self._is_frame(row):
            return *self._decoded(row).values.shape[:2], AS_STORED
        with suppress(Exception), warnings.catch_warnings():  # whatever it is, reading the image says it
            warnings.simplefilter("ignore")
            with Image.open(path) as header:
                orientation = orientation_in_header(header, path)
                size = header.height, header.width
                if header.format == "TIFF":  # whose size Pillow gives as it is to be seen
                    size = turned_size(*size, orientation)
                return *size, orientation
        image = self._decoded(row)
        return *image.values.shape[:2], image.orientation

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
        return folder_of(self.beside or self.table_path)

    @cached_property
    def _first_rows(self) -> dict[str, int]:
        """The first row that names each file."""
        rows: dict[str, int] = {}
        for row, name in enumerate(self.names):
            rows.setdefault(name, row)
        return rows

    @cached_property
    def _files(self) -> dict[str, Path]:
        """The file of each name; none is read before all are known to be there."""
        found = {name: self._found(name, row) for name, row in self._first_rows.items()}
        files = {name: file for name, file in found.items() if file is not None}
        missing = [name for name in found if name not in files]
        if missing:
            raise self._missing(missing, self._first_rows[missing[0]], len(found))
        return files

    def _found(self, name: str, row: int) -> Path | None:
        """The file of a name that `row` is the first to name; None if there is none."""
        folder = self._folder
        lies_in = None if self.frames is None else self.frames.file(name)
        try:
            real = real_path(lies_in or folder / name)
            if "\\" in name and not real.exists():  # a table made on Windows
                real = real_path(folder / PureWindowsPath(name).as_posix())
            inside = real.is_relative_to(folder) or real == real_path(self.table_path)
            if not self.allow_outside and not inside:
                raise DataError(
                    f"{self.where(row)}: {shown(str(lies_in or name))} leads out of the table's folder "
                    f"{folder}; pass --allow-outside if that is meant"
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
