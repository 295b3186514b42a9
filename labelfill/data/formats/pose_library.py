"""The one place where sleap-io and HDF5 are asked: what they raise becomes a sentence.

SLEAP's, NWB's and JABS' files are HDF5, YOLO's data sets begin with YAML. The library and what it builds on
come with the extra ``pose``.
"""

from __future__ import annotations

import errno
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from labelfill.errors import DataError, LabelfillError, StorageError, UsageError, reading, refusal

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
# What the system says of a file that ends too early, or names another one, is no refusal to read it.
_OF_CONTENT = (None, 0, errno.ENOENT, errno.EINVAL)


@contextmanager
def asking(path: Path, title: str) -> Iterator[Any]:
    """A block that asks the library, which it is given, about a file.

    Raises
    ------
    UsageError
        If the library is not installed.
    DataError
        If it cannot make sense of the file.
    StorageError
        If the system refuses to read or write.
    """
    try:
        import sleap_io
    except ImportError as error:
        raise UsageError(
            f"{path} is {title}, which needs sleap-io; install it by: pip install 'labelfill[pose]'"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about videos that are elsewhere; who needs them says so
            yield sleap_io
    except (LabelfillError, KeyboardInterrupt):
        raise
    except Exception as error:  # each of its readers, and HDF5 below them, has exceptions of its own
        if isinstance(error, OSError) and error.errno not in _OF_CONTENT:
            raise StorageError(f"{path} cannot be read: {refusal(error)}") from error
        raise DataError(
            f"{path} is damaged, or no file that sleap-io {sleap_io.__version__} takes for {title} "
            f"({_brief(error)}); export it anew"
        ) from error


def _brief(error: Exception) -> str:
    """The first line of what was raised, printable and short."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return re.sub(r"[^ -~]", "?", text)[:120]


def content_of(path: Path) -> tuple[bytes, str]:
    """All bytes of a file and their SHA-256."""
    with reading(path):
        content = path.read_bytes()
    return content, sha256(content).hexdigest()


@contextmanager
def open_hdf5(content: bytes, path: Path, title: str) -> Iterator[Any]:
    """An HDF5 file of some bytes, read from `path`, in memory."""
    with asking(path, title):
        import h5py

        with h5py.File(io.BytesIO(content), "r") as file:
            yield file


@contextmanager
def edited_hdf5(content: bytes, path: Path, title: str) -> Iterator[tuple[Any, io.BytesIO]]:
    """A copy of an HDF5 file in memory that can be written to, and its bytes once the block has ended."""
    with asking(path, title):
        import h5py

        copy = io.BytesIO(content)
        with h5py.File(copy, "r+") as file:
            yield file, copy
