"""`labelfill impute` of a table that was not read before, beside its reading and its inference alone.

A part of ``scripts/bench``. The command is run as a person runs it, start-up included. It tells
its inference; reading alone is measured before and after it, without start-up.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from bench import output

from labelfill.data.dataset import read_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="whose keypoint models fill the table")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder; is emptied")
    parser.add_argument("--device", required=True)
    arguments = parser.parse_args()
    reading = [read(arguments.data, arguments.scratch)]
    with tempfile.TemporaryDirectory(dir=arguments.run.parent) as folder:
        run = Path(folder) / "run"  # of its own: a table that was read lies in its run's cache
        shutil.copytree(arguments.run, run, ignore=shutil.ignore_patterns("cache"))
        where = ["--run-dir", run, "--out", Path(folder) / "filled.csv"]
        how = ["--device", arguments.device, "-q", "--json"]
        begun = time.perf_counter()
        told = json.loads(output("-m", "labelfill", "impute", "--data", arguments.data, *where, *how))
        wall = time.perf_counter() - begun
    reading.append(read(arguments.data, arguments.scratch))
    alone = statistics.median(reading)
    largest = max(alone, told["inference_seconds"])
    print(
        json.dumps({
            "rows": told["rows"], "cells": told["filled"], "seconds": wall, "reading": alone,
            "inference": told["inference_seconds"], "times the larger": wall / largest,
        })
    )  # fmt: skip


def read(data: Path, scratch: Path) -> float:
    """Seconds of reading a table into an empty cache."""
    shutil.rmtree(scratch, ignore_errors=True)
    begun = time.perf_counter()
    read_dataset(data, cache_dir=scratch)
    took = time.perf_counter() - begun
    shutil.rmtree(scratch, ignore_errors=True)
    return took


if __name__ == "__main__":
    main()
