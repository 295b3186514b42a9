"""Every failure a person can cause or meet, each knowing the exit code it ends the program with.

Exit codes: 0 done, 2 usage, 3 bad data, 4 device or memory, 5 input/output, 6 finished but some
cells had to stay blank (returned by a command, never raised), 130 interrupted.
"""

from __future__ import annotations

import csv
import difflib
import errno
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_SHOWN_CHARACTERS = 40


EXIT_DONE = 0
EXIT_CELLS_LEFT_BLANK = 6


class LabelfillError(Exception):
    """Base of all errors that are meant to be read by a person."""

    exit_code = 1


class UsageError(LabelfillError):
    """The command line or a setting asks for something that cannot be done."""

    exit_code = 2


class DataError(LabelfillError):
    """A table, an image or a stored artefact does not hold what it should."""

    exit_code = 3


class ModelError(DataError):
    """Trained models are missing, unfinished, damaged or made for other data."""


class DamagedFile(DataError):
    """A file of a run directory does not hold what labelfill writes; whoever reads it names the file."""


class DeviceError(LabelfillError):
    """The device asked for is not there, or its memory does not suffice."""

    exit_code = 4


class OutOfMemory(DeviceError):
    """The memory does not suffice, even for one row at a time."""


class StorageError(LabelfillError):
    """A file or folder cannot be read, written or locked."""

    exit_code = 5


class Interrupted(LabelfillError):
    """The job was asked to stop and has stopped at a safe point."""

    exit_code = 130


_REASONS = {
    errno.ENOSPC: "the disk is full; free some space and run the command again, finished work is kept",
    errno.EDQUOT: "the disk quota is used up; free some space and run the command again, "
    "finished work is kept",
    errno.EFBIG: "the file would be larger than the system allows; raise the limit or choose another disk",
    errno.EROFS: "the file system is read-only; choose a folder that can be written",
    errno.EACCES: "permission is denied; change the permissions or choose another folder",
    errno.EPERM: "permission is denied; change the permissions or choose another folder",
    errno.ENOENT: "the folder does not exist (or has been removed); create it and run the command again",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.EEXIST: "something else exists there; choose another path",
    errno.EISDIR: "a folder exists there; choose another path",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EIO: "the disk reported a read or write error; check the disk",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
}


def refusal(error: OSError) -> str:
    """Why the system refused to read or write, and what to do about it."""
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """A block that reads a file, whose refusals by the system become a `StorageError`."""
    try:
        refuse_endless(path)
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error


@contextmanager
def reading_csv(path: Path) -> Iterator[None]:
    """A block that reads a file as csv, whose refusals by Python's reader become a `DataError`."""
    try:
        yield
    except csv.Error as error:
        raise DataError(f"{path} is not csv: {error}") from error


def refuse_endless(path: Path) -> None:
    """Refuse a device or a pipe, which may never end, or never begin."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise StorageError(
            f"{path} cannot be read: it is a device or a pipe; save its output to a file first"
        )


def real_path(path: Path) -> Path:
    """Where a path leads, without links and dots.

    Raises
    ------
    StorageError
        If its links lead in a circle, or the system refuses it.
    """
    try:
        return path.resolve()
    except RuntimeError as error:  # how Python before 3.13 tells of a circle
        raise StorageError(f"{path} cannot be resolved: its links form a loop; correct it") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be resolved: {error.strerror}") from error


def place(path: Path, *, row: int | None = None, line: int | None = None, column: str | None = None) -> str:
    """``training.csv, row 3 (line 5), column 'nose_x'``: row 0-based, line 1-based."""
    parts = [str(path)]
    if row is not None:
        parts.append(f"row {row} (line {line})" if line is not None else f"row {row}")
    elif line is not None:
        parts.append(f"line {line}")
    if column is not None:
        parts.append(f"column {shown(column)}")
    return ", ".join(parts)


def shown(text: bytes | str) -> str:
    """Text as found in a file, quoted, on one line and short; control characters as escapes."""
    if isinstance(text, bytes):
        text = text[: 4 * _SHOWN_CHARACTERS].decode("utf-8", "backslashreplace")
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
    # A lone surrogate (a byte that is not UTF-8) cannot be printed: `ascii` escapes it.
    return repr(cut) if cut.isprintable() else ascii(cut)


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, quoted, and how many more there are."""
    rest = len(names) - most
    return ", ".join(shown(name) for name in names[:most]) + (f" and {rest} more" if rest > 0 else "")


def differing_column(found: Sequence[str], expected: Sequence[str]) -> str:
    """``field 3 is 'kp', expected 'keypoint'``: the first column in which two headers differ."""
    pairs = enumerate(itertools.zip_longest(found, expected), 1)
    number, (name, wanted) = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
    what = "is missing" if name is None else f"is {shown(name)}"
    return f"field {number} {what}, expected {'none' if wanted is None else shown(wanted)}"


def counted(count: int, noun: str) -> str:
    """``1 row``, ``1,200 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is spelt nearly like this one, if there is one."""
    return next(iter(difflib.get_close_matches(word, list(known), 1)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'nose_tip_x'?`` if a known word is spelt nearly like this one, else nothing."""
    near = nearest(word, known)
    return "" if near is None else f"; did you mean {shown(near)}?"
