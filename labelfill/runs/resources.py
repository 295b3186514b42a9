"""What work costs: seconds, and peak memory of this process and its workers; interrupted attempts add up."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from labelfill.errors import DamagedFile
from labelfill.runs.records import read_record

T = TypeVar("T")

_PAUSE = 0.25  # seconds between two looks at the memory, at least
# Adding up the pages of large processes takes long: between two looks pass so many times what a look takes.
_PAUSE_PER_LOOK = 100
_PROC = Path("/proc")


@dataclass(frozen=True)
class Cost:
    """Seconds of wall clock, and the largest memory (bytes) seen; None where the system does not tell."""

    seconds: float = 0.0
    peak_memory: int | None = None
    finished: bool = False

    def __add__(self, other: Cost) -> Cost:
        """Of work that was done before other work: finished if that is."""
        peaks = [peak for peak in (self.peak_memory, other.peak_memory) if peak is not None]
        return Cost(self.seconds + other.seconds, max(peaks, default=None), other.finished)


def measured(work: Callable[[], T]) -> tuple[T, Cost]:
    """Do some work; also what it cost."""
    begun = time.perf_counter()
    with _Sampler() as sampler:
        result = work()
    return result, Cost(time.perf_counter() - begun, sampler.peak, finished=True)


def measured_once(
    work: Callable[[], T], file: Path, write: Callable[[Path, bytes], object], *, anew: bool = False
) -> tuple[T, Cost]:
    """Do resumable work; what it cost when it was first done, kept in `file`.

    Work that was interrupted adds up; doing it again after it was finished costs nothing more.

    Parameters
    ----------
    write
        Writes a file whole or not at all.
    anew
        Forget what an earlier attempt cost.
    """
    before = Cost()
    if not anew:
        with suppress(OSError, DamagedFile):  # a figure is lost, no result is
            before = read_record(Cost, file.read_bytes())
    if before.finished:
        return work(), before
    begun, sampler = time.perf_counter(), _Sampler()

    def keep(*, finished: bool) -> Cost:
        cost = before + Cost(time.perf_counter() - begun, sampler.peak, finished)
        if file.parent.is_dir():
            write(file, json.dumps(asdict(cost)).encode())
        return cost

    try:
        with sampler:
            result = work()
    except BaseException:
        keep(finished=False)
        raise
    return result, keep(finished=True)


class _Sampler:
    """Looks at the memory of this process and its children now and then."""

    def __init__(self) -> None:
        self.peak: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            begun = time.perf_counter()
            now = memory_of_tree()
            if now is not None:
                self.peak = max(now, self.peak or 0)
            if self._ended.wait(max(_PAUSE, _PAUSE_PER_LOOK * (time.perf_counter() - begun))):
                return


def memory_of_tree() -> int | None:
    """Bytes that this process and its descendants hold (proportional set size: shared pages count once)."""
    children: dict[int, list[int]] = {}
    try:
        for folder in _PROC.iterdir():
            if folder.name.isdigit():
                try:
                    parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:  # it has just ended
                    continue
                children.setdefault(parent, []).append(int(folder.name))
    except OSError:
        return None
    total, waiting, known = 0, [os.getpid()], False
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        held = _held_by(process)
        total += held or 0
        known |= held is not None
    return total if known else None


def _held_by(process: int) -> int | None:
    try:
        for line in (_PROC / str(process) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None
