"""What measuring programs share: options, processes and their cost, work that is done once, results."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelfill.errors import EXIT_CELLS_LEFT_BLANK, EXIT_DONE
from labelfill.runs import write_bytes

THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)

Figures = dict[str, Any]  # what JSON holds


def parser(description: str | None, *examples: str) -> argparse.ArgumentParser:
    """A parser that shows the description as it is written, and examples below the options."""
    epilog = "\n  ".join(["example:", *examples]) if examples else None
    as_written = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=as_written, epilog=epilog)


def some_of(known: Iterable[str], what: str) -> Callable[[str], list[str]]:
    """A type for argparse: words out of `known`, separated by commas; in errors each is a `what`."""
    words = list(known)

    def chosen(text: str) -> list[str]:
        asked = text.split(",")
        for word in asked:
            if word not in words:
                raise argparse.ArgumentTypeError(f"there is no {what} {word!r}; there are {', '.join(words)}")
        return asked

    return chosen


def numbers(text: str) -> list[int]:
    """A type for argparse: whole numbers separated by commas."""
    return [int(number) for number in text.split(",")]


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it and its workers took; of memory (bytes) what the largest took."""

    printed: str
    seconds: float
    processor_seconds: float
    peak_memory: int
    code: int = 0


def run_python(
    *arguments: object,
    threads: int | None = None,
    allowed: Collection[int] = (EXIT_DONE, EXIT_CELLS_LEFT_BLANK),
) -> Ended:
    """Run Python in a process of its own; another exit code than those allowed ends the program."""
    command = [sys.executable, *map(str, arguments)]
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - begun
    if process.returncode not in allowed:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Ended(printed, took, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, process.returncode)


def labelfill(*arguments: object, **how: Any) -> Ended:
    """Run a command as a person does, start-up included; `how` as `run_python` takes it."""
    return run_python("-m", "labelfill", *arguments, **how)


def say(text: str) -> None:
    print(text, file=sys.stderr)


def once(file: Path, title: str, work: Callable[..., object], *arguments: object) -> Any:
    """The stored result of some work, which is announced and done where nothing is stored yet."""
    if not file.is_file():
        say(f"== {title}")
        result = work(*arguments)
        write_bytes(file, json.dumps(result, indent=1).encode())
    return json.loads(file.read_text())


def as_markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"


def write_results(out: Path, text: str, figures: Figures | None = None) -> None:
    """Keep a text as results.md and, where there are any, figures as results.json."""
    write_bytes(out / "results.md", text.encode())
    if figures is not None:
        write_bytes(out / "results.json", json.dumps(figures, indent=1).encode())


def tell(measure: Callable[..., Figures]) -> None:
    """Print as JSON what a part measures; its arguments are the command line's first, as JSON."""
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
