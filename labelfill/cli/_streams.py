"""Standard streams that may be closed, full or gone: sentences may be lost, results may not.

What cannot be said on stderr is passed over, so that no exit code depends on it. What cannot be written to
stdout is a `StorageError`, raised once; the rest is passed over, also by the interpreter when it ends.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import Any, TextIO

from labelfill.errors import StorageError, refusal


class _Sentences(io.FileIO):
    """Bytes of stderr; no buffer before it, which would write again what a signal found just written."""

    def write(self, data: Any) -> int:
        left = memoryview(data)
        with suppress(OSError):
            while left and (written := super().write(left)) is not None:
                left = left[written:]
        return len(data)


class _Results(io.FileIO):
    """Bytes of stdout."""

    _lost = False

    def write(self, data: Any) -> int:
        if self._lost:
            return len(data)
        try:
            while (written := super().write(data)) is None:  # a full pipe that does not block its writer
                select.select([], [self], [])
        except (BrokenPipeError, KeyboardInterrupt):
            # The reader has left (``labelfill ... | head``), which is no failure; or a signal has come, after
            # which what was written already would be written again.
            self._lost = True
            raise
        except OSError as error:
            self._lost = True
            reason = "it is closed" if error.errno == errno.EBADF else refusal(error)
            raise StorageError(f"the results cannot be written to standard output: {reason}") from error
        return written


def replace_streams() -> None:
    """Let stdout and stderr keep the rules of this module; a descriptor that is closed is opened first.

    Otherwise the next file that is opened would take its number, and get what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one. What is only to be read refuses the results.
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
    sys.stdout = _text(io.BufferedWriter(_Results(1, "w", closefd=False)), sys.stdout)
    sys.stderr = _text(_Sentences(2, "w", closefd=False), sys.stderr, line_buffering=True)


def end_streams() -> None:
    """Write what is still held back; if that fails, what failed before it has its exit code."""
    with suppress(OSError, StorageError):
        sys.stdout.flush()


def _text(buffer: Any, before: TextIO | None, *, line_buffering: bool = False) -> io.TextIOWrapper:
    """Text as the interpreter would write it; `before` is its own stream, None if that was closed."""
    if not isinstance(before, io.TextIOWrapper):
        return io.TextIOWrapper(buffer, "utf-8", line_buffering=line_buffering)
    return io.TextIOWrapper(
        buffer, before.encoding, before.errors, line_buffering=line_buffering or before.line_buffering,
        write_through=before.write_through,
    )  # fmt: skip
