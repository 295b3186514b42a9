"""Files that appear whole or not at all, and the sentences for when the system refuses."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from labelfill.errors import StorageError, refusal

_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789")]
)
_LONGEST = 150


_TEMPORARY = re.compile(r"\.tmp-(?P<pid>\d+)-(?P<host>[0-9a-f]{8})-[0-9a-f]{8}$")
_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_in_flight: set[Path] = set()  # this process's own unfinished files: same pid as an orphan's after a restart


def storage_error(error: OSError, path: Path, doing: str = "write") -> StorageError:
    """A sentence for a refusal of the system, to be raised ``from`` it.

    The file that `error` names wins over `path`, unless it is one of our own temporary files.
    """
    named = error.filename
    if isinstance(named, str) and not _TEMPORARY.search(named):
        path = Path(named)
    reason = refusal(error)
    if error.errno == errno.ENOENT and doing == "read":
        reason = "there is no such file"
    return StorageError(f"cannot {doing} {path}: {reason}")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` when the block ends well.

    Until then it has another name in the same folder; if the block fails, nothing is left of it.
    Permissions are those the umask gives; a link at `path` is followed.

    Raises
    ------
    StorageError
        Whenever the system refuses: disk full, read-only, no such folder.
    """
    with staged_write(path) as staged:
        yield staged.file
        staged.finish()
        staged.publish()


@dataclass(frozen=True)
class StagedFile:
    """A temporary file that is to take the place of `path`."""

    path: Path
    temporary: Path
    file: BinaryIO

    def finish(self) -> None:
        """Bring what was written to the disk and close the file."""
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
        except OSError as error:
            raise storage_error(error, self.path) from error

    def publish(self) -> None:
        """Put the finished file in its place and make the change of name durable."""
        target = destination(self.path)
        try:
            os.replace(self.temporary, target)
        except OSError as error:
            raise storage_error(error, self.path) from error
        with suppress(OSError):  # not every file system lets a folder be synced; the file itself is whole
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


@contextmanager
def staged_write(path: Path) -> Iterator[StagedFile]:
    """A temporary file beside `path`, open for writing; removed in the end if still there."""
    target = destination(path)
    temporary = target.with_name(f"{temporary_prefix(target)}{os.getpid()}-{_HOST}-{secrets.token_hex(4)}")
    _in_flight.add(temporary)
    file: BinaryIO | None = None
    try:
        # 0o666 and not tempfile's 0o600: the umask decides who may read the result.
        descriptor = os.open(
            temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
        )
        file = cast(BinaryIO, open(descriptor, "w+b"))  # noqa: SIM115 - closed below, before the file is removed
        yield StagedFile(path, temporary, file)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        if file is not None:
            with suppress(OSError):  # the bytes that could not be flushed belong to a file that goes now
                file.close()
        with suppress(OSError):  # already in place, or its folder is gone: nothing to tidy
            temporary.unlink()
        _in_flight.discard(temporary)


def destination(path: Path) -> Path:
    """Where a file written to `path` ends up, links followed; refuses what is not a plain file."""
    try:
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        if target.exists() and not target.is_file():
            kind = "a folder" if target.is_dir() else "a device or pipe"
            raise StorageError(f"cannot write {path}: {kind} exists there; choose another path")
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise storage_error(error, path) from error
    return target


def temporary_prefix(path: Path) -> str:
    """How the names of temporary files for `path` begin; names stay under 255 bytes with their ending."""
    return f".{os.fsdecode(os.fsencode(path.name)[:180])}.tmp-"


def write_bytes(path: Path, data: bytes) -> str:
    """Write a whole file atomically; its SHA-256."""
    with atomic_write(path) as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def make_folder(path: Path) -> None:
    """Create a folder and its parents; `StorageError` where that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, path, "create the folder") from error


def refuse_unwritable(folder: Path) -> None:
    """`StorageError` if a folder, or the one it would have to be made in, may not be written to."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise StorageError(f"cannot create the folder {folder}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise StorageError(f"cannot write {folder}: {there} is not writable; choose another --run-dir")


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise storage_error(error, path, "read") from error


def remove_orphans(folder: Path) -> None:
    """Remove what killed runs left unfinished anywhere in a run directory whose lock is ours.

    Nobody else writes there, so only files of this process and of living processes of this machine
    (an ``--out`` of another run that points here) are spared.
    """
    for root, folders, files in os.walk(folder):
        for name in [*files, *folders]:
            _remove_if_orphan(Path(root) / name, foreign_hosts=True)


def remove_orphans_of(path: Path) -> None:
    """Remove what killed runs of this machine left unfinished of one output file."""
    target = destination(path)
    prefix = temporary_prefix(target)
    with suppress(OSError):  # a folder that cannot be listed gets its sentence when it is written to
        for entry in list(target.parent.iterdir()):
            if entry.name.startswith(prefix):
                _remove_if_orphan(entry, foreign_hosts=False)


def _remove_if_orphan(path: Path, *, foreign_hosts: bool) -> None:
    match = _TEMPORARY.search(path.name)
    if match is None or path in _in_flight:
        return
    this_host, pid = match["host"] == _HOST, int(match["pid"])
    if (this_host and (pid == os.getpid() or not is_alive(pid))) or (not this_host and foreign_hosts):
        with suppress(OSError):  # tidying must never stop a run; the next one tries again
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def is_alive(pid: int) -> bool:
    """Whether a process of this machine lives."""
    if os.name == "nt":
        return False  # os.kill would end it; an open file cannot be removed there anyway
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def safe_file_name(name: str) -> str:
    """A file name for any name, different names giving different file names.

    Lower-case letters, digits, ``_`` and ``-`` stay; a capital ``L`` becomes ``=l`` (so that names
    which differ in case alone stay apart where the file system ignores case); any other character
    becomes ``~`` and two hexadecimal digits per UTF-8 byte. Names that Windows reserves have their
    first letter written that way, and the end of a very long name is replaced by ``~~`` and its SHA-256.
    """
    if not name:
        return "~"
    plain = re.sub(r"[^A-Za-z0-9_-]", lambda match: _hex(match[0]), name)
    safe = re.sub(r"[A-Z]", lambda match: f"={match[0].lower()}", plain)
    if safe in _RESERVED:
        safe = _hex(safe[0]) + safe[1:]
    if len(safe) > _LONGEST:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        safe = f"{safe[: _LONGEST - 66]}~~{digest}"
    return safe


def _hex(character: str) -> str:
    return "".join(f"~{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
