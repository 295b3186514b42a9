"""Where decoded images are gathered while their number is not known yet: in memory, or in a ``.npy`` file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Images
from labelfill.errors import StorageError, refusal
from labelfill.schema import ImageSize


class MemoryStore:
    """Images in memory; growing does not copy what a list of arrays would copy at the end."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def append(self, pixels: NDArray[np.uint8]) -> None:
        """Take one image or several."""
        self._bytes += pixels.ravel().data

    def clear(self) -> None:
        """Forget the images appended so far."""
        self._bytes = bytearray()

    def finish(self, size: ImageSize) -> Images:
        """All of them as one read-only (n, H, W) array."""
        images = np.frombuffer(self._bytes, np.uint8).reshape(-1, size.height, size.width)
        images.flags.writeable = False
        return images

    def close(self) -> None:
        """Nothing to close."""


class FileStore:
    """Images in a ``.npy`` file that grows, made with the first of them; given back memory-mapped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._length = 0
        self._file: BinaryIO | None = None

    def append(self, pixels: NDArray[np.uint8]) -> None:
        with self._storage_errors():
            if self._file is None:
                self._file = open(self._path, "wb")  # noqa: SIM115  # `finish` or `close` closes it
                # Its shape is known only in the end; a header has the same length whatever the shape.
                self._file.write(_header(0, ImageSize(1, 1)))
            self._file.write(np.ascontiguousarray(pixels).data)
        self._length += pixels.size

    def clear(self) -> None:
        """Forget the images appended so far; the next one makes the file anew."""
        self.close()
        self._length, self._file = 0, None

    def finish(self, size: ImageSize) -> Images:
        assert self._file is not None, "no image was appended"
        with self._storage_errors():
            self._file.seek(0)
            self._file.write(_header(self._length // size.pixels, size))
            self._file.close()
            return np.load(self._path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]  # untyped

    def close(self) -> None:
        if self._file is not None:
            with self._storage_errors():
                self._file.close()

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {refusal(error)}") from error


ImageStore = MemoryStore | FileStore


def let_go(images: Images) -> None:
    """Give back the memory of what was read of memory-mapped images; it is read again when it is needed.

    The pages would be reclaimed anyway, but until then they count as this process's.
    """
    base: object = images
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def _header(count: int, size: ImageSize) -> bytes:
    """A ``.npy`` (version 1.0) header of 128 bytes, whatever the shape."""
    shape = f"({count}, {size.height}, {size.width})"
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n"
