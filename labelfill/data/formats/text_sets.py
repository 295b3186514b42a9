"""Data sets of many text files, in a folder or packed in a zip, with some of their words replaced.

`impute` writes such a set as one zip: it appears whole or not at all, has one hash, and is unpacked over a
copy of the folder.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from labelfill.errors import DataError, StorageError, reading, shown

_ZIP_MAGIC = b"PK\x03\x04"
# A set of a million images has text files of some hundred MB in all; more is made to fill the memory.
_MOST_BYTES = 1 << 30
# The first date a zip can hold; a fixed one makes equal sets equal files.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_DAMAGE = (
    EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, struct.error, ValueError, OverflowError,
    NotImplementedError, RuntimeError, IndexError,
)  # fmt: skip


def packed_names(path: Path) -> list[str]:
    """The names of files in a zip; none if it is no zip, or a damaged one."""
    if not path.is_file():  # opening a pipe would wait for its writer
        return []
    try:
        with open(path, "rb") as file:
            if file.read(4) != _ZIP_MAGIC:
                return []
            return [info.filename for info in zipfile.ZipFile(file).infolist() if not info.is_dir()]
    except (*_DAMAGE, OSError):
        return []  # whoever reads it says what is wrong


def unpacked(path: Path) -> dict[str, bytes]:
    """Every file of a zip by its name.

    Raises
    ------
    DataError
        If it is damaged, encrypted, or unpacks to more than text files of a data set have.
    """
    with reading(path), open(path, "rb") as file:
        try:
            archive = zipfile.ZipFile(file)
            files = [info for info in archive.infolist() if not info.is_dir()]
            if sum(info.file_size for info in files) > _MOST_BYTES:
                raise DataError(
                    f"{path} unpacks to over {_MOST_BYTES >> 30} GB; unpack it and give the folder"
                )
            return {info.filename: archive.read(info) for info in files}
        except _DAMAGE as error:
            raise DataError(
                f"{path} is a damaged or unsupported zip file ({str(error)!a}); copy it again, or run "
                "`labelfill impute` again"
            ) from error


def packed(members: Mapping[str, bytes]) -> bytes:
    """A zip of files by their names, the same bytes for the same files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name, _ZIP_EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return out.getvalue()


def read_text(path: Path) -> bytes:
    """A text file of a set.

    Raises
    ------
    StorageError
        If it cannot be read.
    """
    with reading(path):
        if path.stat().st_size > _MOST_BYTES:
            raise StorageError(f"{path} is larger than {_MOST_BYTES >> 30} GB, as no text file of a set is")
        return path.read_bytes()


def sha256_of(members: Mapping[str, bytes]) -> str:
    """One hash of files and their names, whether they lie in a folder or in a zip."""
    sha256 = hashlib.sha256()
    for name, content in members.items():
        sha256.update(f"{name!a} {len(content)}\n".encode())
        sha256.update(content)
    return sha256.hexdigest()


def spliced(content: bytes, places: Sequence[tuple[int, int]], texts: Sequence[bytes]) -> bytes:
    """The bytes of a file with texts in some places (begin and end), which follow each other."""
    pieces, position = [], 0
    for (begin, end), text in zip(places, texts, strict=True):
        pieces += [content[position:begin], text]
        position = end
    return b"".join([*pieces, content[position:]])


def number(word: bytes, where: str, what: str) -> float:
    """A word as a finite number.

    Raises
    ------
    DataError
        If it is none; `where` and `what` say which.
    """
    try:
        value = float(word)
    except ValueError:
        value = float("inf")
    if value in (float("inf"), float("-inf")):
        raise DataError(f"{where}: {what} is {shown(word)}, expected a finite number")
    return value
