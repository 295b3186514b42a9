"""Reading a table cold: labelfill to labels and pixels, beside pandas, which leaves the pixels as text."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.measuring import Figures, tell
from labelfill.data.dataset_reading import read_dataset

REPETITIONS = 3


def measure(data: str, scratch: str) -> Figures:
    """Median seconds of each way; the folder `scratch`, where the cache is, is emptied."""
    table, cache = Path(data), Path(scratch)

    def into_the_cache() -> None:
        shutil.rmtree(cache, ignore_errors=True)
        read_dataset(table, cache_dir=cache)

    ways: dict[str, Callable[[], object]] = {
        "pandas.read_csv": lambda: pd.read_csv(table),
        "labelfill, into memory": lambda: read_dataset(table),
        "labelfill, into the cache": into_the_cache,
        "labelfill, from the cache": lambda: read_dataset(table, cache_dir=cache),
    }
    rows = read_dataset(table, cache_dir=cache).table.rows  # the file is in the system's memory from now on
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(REPETITIONS):  # in turn: other work on the machine disturbs all alike
        for name, work in ways.items():
            begun = time.perf_counter(), time.process_time()
            work()
            took[name].append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    shutil.rmtree(cache, ignore_errors=True)
    told: Figures = {}
    for name, each in took.items():
        wall, used = map(statistics.median, zip(*each, strict=True))
        told[name] = {"seconds": wall, "processor seconds": used}
    return {"rows": rows, "ways": told}


if __name__ == "__main__":
    tell(measure)
