"""Reading a table cold: labelfill to labels and pixels, beside pandas, which leaves the pixels as text."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from labelfill.data.dataset import read_dataset

REPETITIONS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True, help="a folder for the cache; is emptied")
    arguments = parser.parse_args()
    data, cache = arguments.data, arguments.scratch

    def into_the_cache() -> None:
        shutil.rmtree(cache, ignore_errors=True)
        read_dataset(data, cache_dir=cache)

    ways: dict[str, Callable[[], object]] = {
        "pandas.read_csv": lambda: pd.read_csv(data),
        "labelfill, into memory": lambda: read_dataset(data),
        "labelfill, into the cache": into_the_cache,
        "labelfill, from the cache": lambda: read_dataset(data, cache_dir=cache),
    }
    rows = read_dataset(data, cache_dir=cache).table.rows  # the file is in the system's memory from now on
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(REPETITIONS):  # in turn: other work on the machine disturbs all alike
        for name, work in ways.items():
            begun = time.perf_counter(), time.process_time()
            work()
            took[name].append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    shutil.rmtree(cache, ignore_errors=True)
    told = {
        name: {
            "seconds": statistics.median(wall for wall, _ in each),
            "processor seconds": statistics.median(used for _, used in each),
        }
        for name, each in took.items()
    }
    print(json.dumps({"rows": rows, "ways": told}))


if __name__ == "__main__":
    main()
