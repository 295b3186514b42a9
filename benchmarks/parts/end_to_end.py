"""`labelfill impute` of a table that was not read before, beside its reading and its inference alone.

The command is run as a person runs it, start-up included. It tells its inference; reading alone is measured
before and after it, without start-up.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import Figures, labelfill, tell
from labelfill.data.dataset_reading import read_dataset


def measure(data: str, run: str, scratch: str, device: str) -> Figures:
    """`run` fills the table by its keypoint models; the folder `scratch` is emptied."""
    reading = [read(Path(data), Path(scratch))]
    with tempfile.TemporaryDirectory(dir=Path(run).parent) as folder:
        copy = Path(folder) / "run"  # a table that was read lies in its run's cache
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("cache"))
        where = ["--data", data, "--run-dir", copy, "--out", Path(folder) / "filled.csv"]
        ended = labelfill("impute", *where, "--device", device, "-q", "--json")
    reading.append(read(Path(data), Path(scratch)))
    told, alone = json.loads(ended.printed), statistics.median(reading)
    inference = told["inference_seconds"]
    return {
        "rows": told["rows"], "cells": told["filled"], "seconds": ended.seconds, "reading": alone,
        "inference": inference, "times the larger": ended.seconds / max(alone, inference),
    }  # fmt: skip


def read(data: Path, scratch: Path) -> float:
    """Seconds of reading a table into an empty cache."""
    shutil.rmtree(scratch, ignore_errors=True)
    begun = time.perf_counter()
    read_dataset(data, cache_dir=scratch)
    took = time.perf_counter() - begun
    shutil.rmtree(scratch, ignore_errors=True)
    return took


if __name__ == "__main__":
    tell(measure)
