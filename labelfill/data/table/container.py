"""The bytes of a table, whatever it is packed in: plain text, gzip, or a zip that holds one csv."""

from __future__ import annotations

import errno
import gzip
import io
import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath
from typing import IO, BinaryIO, cast

from labelfill.errors import DataError, StorageError, UsageError, listed, shown

# Grey values as text shrink four to ten times, even all-black images little more than a thousand
# times. Text that is both large and shrunk this much is no table but a decompression bomb.
BOMB_BYTES = 1 << 30
BOMB_RATIO = 250

# What the standard library says of archives that are damaged, or made to break it.
_DAMAGE = (
    EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile, struct.error,
    ValueError, OverflowError, NotImplementedError, RuntimeError, IndexError,
)  # fmt: skip
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP_MAGIC = b"\x1f\x8b"
# Names of files in a zip that is no packed table, and what it is.
_PACKED = (
    (r"xl/workbook\.(xml|bin)", "an Excel workbook; save its sheet as CSV (UTF-8) and give that file"),
    (r"content\.xml", "an OpenDocument file; save its sheet as CSV (UTF-8) and give that file"),
    (r"word/document\.xml", "a Word document; save its table as CSV (UTF-8) and give that file"),
    (r".*\.npy", "arrays of numpy, an .npz; write a csv table with a header of them and give that file"),
    (r".*/data\.pkl", "a file of PyTorch, which is not opened; write a csv table of it and give that file"),
)
_PLAIN_SUFFIXES = (".csv", ".tsv", ".txt")
# The first date a zip can hold; a fixed one makes equal tables equal files.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


class DecompressedReader(io.RawIOBase):
    """The decompressed bytes of a table, read once from begin to end, with errors a person can read."""

    def __init__(self, path: Path, packed: BinaryIO, text: IO[bytes], packed_size: int, kind: str) -> None:
        super().__init__()
        self._path, self._packed, self._text = path, packed, text
        self._packed_size, self._kind = packed_size, kind
        self._length = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, all of the rest if it is negative; empty at the end."""
        if size < 0:
            return self.readall()
        try:
            data = self._text.read(size)
        except _DAMAGE as error:
            raise self._damaged(error) from error
        except OSError as error:
            if _is_damage(error):
                raise self._damaged(error) from error
            raise StorageError(f"{self._path} cannot be read: {error.strerror}") from error
        self._length += len(data)
        self.refuse_bomb(self._length)
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # a bytearray serves as well
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def refuse_bomb(self, size: int) -> None:
        """Stop if what was unpacked has so many bytes, here or in memory, and shrank as no table does."""
        if size > BOMB_BYTES and self._kind and self._length > BOMB_RATIO * self._packed_size:
            raise DataError(
                f"{self._path} unpacks to over {BOMB_RATIO} times its size, {size >> 20} MB or more, "
                "as no real table does; if it is one, unpack it yourself and give the .csv file"
            )

    @property
    def packed_position(self) -> int:
        """How many bytes of the file itself were read, for a progress bar."""
        return self._packed.tell() if self._kind else self._length

    def close(self) -> None:
        if not self.closed:
            self._text.close()
            self._packed.close()
        super().close()

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f"{self._path} is a damaged or truncated {self._kind} file ({_printable(error)}); "
            "copy or download it again"
        )


def open_decompressed(path: Path) -> DecompressedReader:
    """Open a ``.csv``, ``.csv.gz`` or ``.zip`` table for one pass over its decompressed bytes.

    The file's first bytes decide how it is packed, not its name.

    Raises
    ------
    DataError
        If there is no such file, or it is a zip that holds no csv, several, or an encrypted one.
    StorageError
        If it cannot be opened.
    """
    with ExitStack() as undo:
        packed = undo.enter_context(_open_regular(path))
        try:
            magic = packed.read(4)
            packed.seek(0)
            size = path.stat().st_size
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}") from error
        if magic in _ZIP_MAGIC:
            text, size = _open_only_csv(path, packed)
            reader = DecompressedReader(path, packed, text, size, "zip")
        elif magic[:2] == _GZIP_MAGIC:
            unpacked = cast("IO[bytes]", gzip.GzipFile(fileobj=packed, mode="rb"))
            reader = DecompressedReader(path, packed, unpacked, size, "gzip")
        elif path.suffix.lower() in (".zip", ".gz") and size > 0:
            raise DataError(
                f"{path} is named {path.suffix} but its content is not {path.suffix[1:]}; download it again, "
                "or rename it to .csv if it is plain text"
            )
        else:
            reader = DecompressedReader(path, packed, packed, size, "")
        undo.pop_all()
    return reader


def _open_regular(path: Path) -> BinaryIO:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DataError(
                f"{path} is a folder; give the table's file in it, for example {path}/training.csv"
            )
        if not stat.S_ISREG(mode):
            raise DataError(
                f"{path} is not a regular file, and a table is read more than once; save it first"
            )
        return open(path, "rb")  # the caller closes it
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path}: no such file; check the path, given relative to {Path.cwd()}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"{shown(str(path))} cannot be opened: {reason}") from error


def _open_only_csv(path: Path, packed: BinaryIO) -> tuple[IO[bytes], int]:
    try:
        archive = zipfile.ZipFile(packed)
        files = [info for info in archive.infolist() if not info.is_dir()]
        # macOS adds a hidden twin of every file that it packs.
        tables = [
            info
            for info in files
            if info.filename.lower().endswith(".csv")
            and not info.filename.startswith("__MACOSX/")
            and not PurePath(info.filename).name.startswith("._")
        ]
        if len(tables) != 1:
            found = [info.filename for info in tables or files]
            for pattern, kind in _PACKED:
                if not tables and any(re.fullmatch(pattern, info.filename) for info in files):
                    raise DataError(f"{path} is {kind}")
            what = f"holds {len(tables)} csv files" if tables else "holds no csv file"
            raise DataError(
                f"{path} {what} ({listed(found) or 'it is empty'}); expected exactly one: "
                "unpack it and give the table's own file"
            )
        if tables[0].flag_bits & 1:
            raise DataError(
                f"{path}: {shown(tables[0].filename)} in it is encrypted; unpack it and give the file"
            )
        return archive.open(tables[0]), tables[0].compress_size
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and not _is_damage(error):
            raise StorageError(f"{path} cannot be read: {error.strerror}") from error
        raise DataError(
            f"{path} is a damaged or unsupported zip file ({_printable(error)}); download it again"
        ) from error


def _is_damage(error: OSError) -> bool:
    """Whether it comes of what stands in the file: a decompressor's, or of a position that cannot be."""
    return error.errno in (None, errno.EINVAL)


def _printable(error: Exception) -> str:
    text = str(error)
    return text if text.isprintable() else ascii(text)


def check_suffix(name: str) -> None:
    """Refuse a name by which `compressed_writer` would not know how to write.

    Raises
    ------
    UsageError
        If the suffix is none of ``.csv``, ``.tsv``, ``.txt``, ``.gz`` and ``.zip``.
    """
    if PurePath(name).suffix.lower() not in (*_PLAIN_SUFFIXES, ".gz", ".zip"):
        raise UsageError(
            f"{shown(name)}: a table is written as .csv, .csv.gz or .zip; choose one of these suffixes"
        )


@contextmanager
def compressed_writer(out: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """A stream that packs what is written to it into `out` as the suffix of `name` asks.

    ``.csv.gz`` and ``.zip`` get fixed time stamps, so that equal tables are equal files.

    Raises
    ------
    UsageError
        If `check_suffix` refuses the name.
    """
    check_suffix(name)
    suffix, stem = PurePath(name).suffix.lower(), PurePath(name).stem
    if suffix in _PLAIN_SUFFIXES:
        yield out
    elif suffix == ".gz":
        with gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=6, mtime=0) as packed:
            yield cast(BinaryIO, packed)
    else:
        member = zipfile.ZipInfo(stem if stem.lower().endswith(".csv") else stem + ".csv", _ZIP_EPOCH)
        member.compress_type = zipfile.ZIP_DEFLATED
        member.external_attr = 0o644 << 16
        with zipfile.ZipFile(out, "w") as archive, archive.open(member, "w", force_zip64=True) as entry:
            yield cast(BinaryIO, entry)
