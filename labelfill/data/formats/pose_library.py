"""The one place where sleap-io and HDF5 are asked: what they raise becomes a sentence.

SLEAP's, NWB's and JABS' files are HDF5, YOLO's data sets begin with YAML. The library and what it builds on
come with the extra ``pose``.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from labelfill.errors import DataError, LabelfillError, StorageError, UsageError, reading, refusal

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
# What the system says of a file that ends too early, or names another one, is no refusal to read it.
_OF_CONTENT = (None, 0, errno.ENOENT, errno.EINVAL)
_BLOCK = 1 << 20


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
def open_hdf5(path: Path, title: str) -> Iterator[Any]:
    """An HDF5 file, to be read."""
    with asking(path, title):
        import h5py

        with h5py.File(path, "r", locking=False) as file:
            yield file


def edited_hdf5(path: Path, title: str, edit: Callable[[Any], None]) -> Iterator[bytes]:
    """The bytes of a copy of an HDF5 file into which something was written; it may not fit in memory."""
    with tempfile.TemporaryDirectory(prefix="labelfill-") as folder, asking(path, title):
        import h5py

        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as file:
            edit(file)
        yield from blocks_of(copy)


def blocks_of(path: Path) -> Iterator[bytes]:
    """A file's bytes, some at a time."""
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            yield block
