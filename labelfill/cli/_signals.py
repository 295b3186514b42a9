"""SIGINT and SIGTERM: one sentence and exit code 130, from the first moment of the program to its last."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from types import FrameType

STOPPED = "labelfill: stopped; run the same command again to start over"
EXIT_INTERRUPTED = 130

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
# While a first signal's stop is under way (files are removed, threads come to their ends) further ones are
# passed over. A later one counts again: a finaliser, or a library, may have swallowed the first.
_UNDER_WAY = 10.0


class Signals:
    """What a signal does, by how far the program is."""

    def __init__(self) -> None:
        self._loading = True
        self._last: float | None = None

    @property
    def arrived(self) -> bool:
        """Whether the program was asked to stop."""
        return self._last is not None

    def catch(self) -> None:
        """From now on a signal ends the program with a sentence."""
        for number in _NUMBERS:
            # A shell starts its background jobs, and `nohup` its command, with signals that are not for them.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)

    def loaded(self) -> None:
        """From now on a signal is raised as `KeyboardInterrupt`: there may be something to tidy."""
        self._loading = False

    def ignore(self) -> None:
        """From now on signals do nothing: all is done, and the exit code is known."""
        for number in _NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._loading:
            # An exception could come out of an import as anything; nothing has been begun, so just end.
            with suppress(OSError):
                os.write(2, f"{STOPPED}\n".encode())
            os._exit(EXIT_INTERRUPTED)
        now = time.monotonic()
        if self._last is None or now > self._last + _UNDER_WAY:
            self._last = now
            raise KeyboardInterrupt


SIGNALS = Signals()
