"""The command ``labelfill`` as a process: its signals and its streams; the work is `labelfill.cli.main`'s."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from labelfill.cli._signals import EXIT_INTERRUPTED, SIGNALS, STOPPED
from labelfill.cli._streams import end_streams, replace_streams


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command in a process of its own, which ends after it; the exit code."""
    replace_streams()
    try:
        SIGNALS.catch()
        # Here, because it takes a quarter of a second, in which signals shall be caught.
        from labelfill.cli.main import main as run_command

        return run_command(argv)
    except KeyboardInterrupt:  # in the moments before and after that in which a command tells of it
        print(STOPPED, file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        SIGNALS.ignore()
        # CPython remembers a KeyboardInterrupt that came out of executed text, which named tuples are made
        # of, though it was caught, and would end by that signal, not our exit code. Executing text resets it.
        exec("")
        end_streams()
