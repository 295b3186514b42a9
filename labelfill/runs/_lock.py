"""One run at a time in a run directory."""

from __future__ import annotations

import json
import logging
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from labelfill.errors import StorageError
from labelfill.runs._files import is_alive, storage_error, write_bytes

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
            raise StorageError(
                f"the run directory {folder} is in use by {_holder(folder)}; "
                "wait for it to end, or choose another --run-dir"
            ) from None
        except OSError as error:
            raise storage_error(error, folder / LOCK_FILE) from error
        self._inode = self._current_inode()
        try:
            write_bytes(folder / HOLDER_FILE, _about_this_process())
        except BaseException:
            self._lock.release()
            raise

    def check(self) -> None:
        """Raise `StorageError` if the run directory was deleted or replaced since the lock was taken."""
        if self._inode is None or self._current_inode() != self._inode:
            raise StorageError(
                f"the run directory {self._folder} was deleted or replaced while this run was working; "
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


def warn_if_held(folder: Path) -> None:
    """Tell of a living process of this machine that works in a run directory, without touching its lock."""
    try:
        about = json.loads((folder / HOLDER_FILE).read_bytes())
        held = about["host"] == socket.gethostname() and is_alive(int(about["pid"]))
    except (OSError, ValueError, TypeError, KeyError):
        return  # nobody, or somebody who has only just begun
    if held:
        _log.warning(
            "the run directory %s is in use by %s: until that ends the command would be refused",
            folder,
            _holder(folder),
        )


def _about_this_process() -> bytes:
    since = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode()


def _holder(folder: Path) -> str:
    try:
        about = json.loads((folder / HOLDER_FILE).read_bytes())
        return f"process {about['pid']} on {about['host']} (since {about['since']})"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process that has only just begun"
