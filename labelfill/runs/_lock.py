"""One run at a time in a run directory."""

from __future__ import annotations

import json
import logging
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from labelfill.errors import DamagedFile, StorageError
from labelfill.runs._files import is_alive, storage_error, write_bytes
from labelfill.runs.records import read_record

if TYPE_CHECKING:
    from filelock import BaseFileLock

_log = logging.getLogger("labelfill")

LOCK_FILE = ".lock"
HOLDER_FILE = ".lock-holder.json"


class RunLock:
    """Held from creation to `release`; the system lets go of it when the process dies, however it dies.

    Raises
    ------
    StorageError
        If another run holds it; the sentence names its process, machine and when it began.
    """

    def __init__(self, folder: Path) -> None:
        from filelock import FileLock, Timeout  # here, because `labelfill --help` shall stay quick

        self._folder = folder
        self._lock: BaseFileLock = FileLock(folder / LOCK_FILE, timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            holder = _holder(folder) or "another process that has only just begun"
            raise StorageError(
                f"the run directory {folder} is in use by {holder}; "
                "wait for it to end, or choose another --run-dir"
            ) from None
        except OSError as error:
            raise storage_error(error, folder / LOCK_FILE) from error
        self._inode = self._current_inode()
        try:
            since = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
            about = _Holder(os.getpid(), socket.gethostname(), since)
            write_bytes(folder / HOLDER_FILE, json.dumps(vars(about)).encode())
        except BaseException:
            self._lock.release()
            raise

    def check(self) -> None:
        """Raise `StorageError` if the run directory was deleted or replaced since the lock was taken."""
        if self._inode is None or self._current_inode() != self._inode:
            raise StorageError(
                f"the run directory {self._folder} was deleted or replaced during the run; "
                "run the command again to start over"
            )

    def release(self) -> None:
        """Let the next run in; safe to call twice, and after the folder is gone."""
        if not self._lock.is_locked:
            return
        with suppress(OSError):  # a deleted run directory leaves nothing to remove
            if self._current_inode() == self._inode:
                (self._folder / HOLDER_FILE).unlink()
        self._lock.release()

    def _current_inode(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._folder / LOCK_FILE)
        except OSError:
            return None
        return status.st_dev, status.st_ino


@dataclass(frozen=True)
class _Holder:
    """The process that holds the lock."""

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


def warn_if_held(folder: Path) -> None:
    """Tell of a living process of this machine that works in a run directory, without touching its lock."""
    holder = _holder(folder)
    if holder is not None and holder.host == socket.gethostname() and is_alive(holder.pid):
        _log.warning(
            "the run directory %s is in use by %s: the command would be refused until that ends",
            folder,
            holder,
        )


def _holder(folder: Path) -> _Holder | None:
    """Who holds the lock; None: nobody, or somebody who has only just begun."""
    try:
        return read_record(_Holder, (folder / HOLDER_FILE).read_bytes())
    except (OSError, DamagedFile):
        return None
