"""SIGINT and SIGTERM: one sentence and exit code 130, from the first moment of the program to its last."""

from __future__ import annotations

import _thread
import signal
import time
from types import FrameType

STOPPED = "labelfill: stopped; run the same command again to start over"
EXIT_INTERRUPTED = 130

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
# While a first signal's stop is under way (files are removed, threads come to their ends) further ones are
# passed over. A later one counts again: a finaliser, or a library, may have swallowed the first.
_UNDER_WAY = 10.0
_IMPORT = "<frozen importlib._bootstrap>"


class Signals:
    """What a signal does, by how far the program is."""

    def __init__(self) -> None:
        self._last: float | None = None

    @property
    def arrived(self) -> bool:
        """Whether the program was asked to stop."""
        return self._last is not None

    def catch(self) -> None:
        """From now on a signal is raised as `KeyboardInterrupt`, once nothing is being imported."""
        for number in _NUMBERS:
            # A shell starts its background jobs, and `nohup` its command, with signals that are not for them.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)

    def ignore(self) -> None:
        """From now on signals do nothing: all is done, and the exit code is known."""
        for number in _NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if _imports(frame):
            # An exception would come out as anything: PyTorch, half imported, aborts the process.
            _thread.start_new_thread(_come_again, (signal.Signals(number),))
            return
        now = time.monotonic()
        if self._last is None or now > self._last + _UNDER_WAY:
            self._last = now
            raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    """Whether a frame is of an import that has not ended."""
    while frame is not None and frame.f_code.co_filename != _IMPORT:
        frame = frame.f_back
    return frame is not None


def _come_again(number: signal.Signals) -> None:
    time.sleep(0.02)
    _thread.interrupt_main(number)


SIGNALS = Signals()
