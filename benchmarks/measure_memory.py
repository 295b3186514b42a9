"""Fills a table of ten times Kaggle's size and tells the most memory that `labelfill impute` took.

The table repeats the embedded sample, every row with other labels and pixels. Exit code 1 above --most.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
from pathlib import Path

from benchmarks import measuring
from labelfill.errors import EXIT_DONE

KAGGLE_TIMES_TEN = 70_490
CHANGED_PIXELS = 24


def grow(sample: Path, table: Path, rows: int) -> None:
    """So many rows: those of the sample again and again, labels moved by up to a px, some new pixels."""
    chance = random.Random(0)
    with open(sample, newline="", encoding="utf-8") as file:
        header, *known = csv.reader(file)
    image = header.index("Image")
    coordinates = [c for c, name in enumerate(header) if name.endswith(("_x", "_y"))]
    divided = [row[image].split(" ", CHANGED_PIXELS) for row in known]
    with open(table, "w", encoding="utf-8") as out:
        out.write(",".join(header) + "\n")
        for number in range(rows):
            row = list(known[number % len(known)])
            pixels = [str(chance.randrange(256)) for _ in range(CHANGED_PIXELS)]
            row[image] = " ".join([*pixels, divided[number % len(known)][-1]])
            for c in coordinates:
                if row[c]:
                    row[c] = f"{float(row[c]) + chance.uniform(-1, 1):.3f}"
            out.write(",".join(row) + "\n")


def labelfill(*arguments: object) -> measuring.Ended:
    """A command that must leave no cell blank."""
    return measuring.labelfill(*arguments, "-q", allowed=[EXIT_DONE])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=KAGGLE_TIMES_TEN, help=f"default: {KAGGLE_TIMES_TEN}")
    parser.add_argument("--regressors", action="store_true", help="fill by (tiny) regressors, not the prior")
    parser.add_argument("--most", type=float, default=1.5, help="GB that are allowed (default: 1.5)")
    arguments = parser.parse_args()
    models = ["--epochs", 1] if arguments.regressors else ["--method", "prior"]
    with tempfile.TemporaryDirectory(prefix="labelfill-memory-") as scratch:
        folder = Path(scratch)
        labelfill("demo-data", "--rows", 200, "--out", folder)
        sample, grown, run = folder / "training.csv", folder / "grown.csv", folder / "run"
        labelfill("train-keypoint-models", "--data", sample, "--run-dir", run, *models)
        grow(sample, grown, arguments.rows)
        size = grown.stat().st_size
        ended = labelfill("impute", "--data", grown, "--run-dir", run)
    peak, seconds = ended.peak_memory / 2**20, round(ended.seconds)
    told = {"rows": arguments.rows, "table MB": size >> 20, "peak MB": round(peak), "seconds": seconds}
    print(json.dumps({"filled by": "regressors" if arguments.regressors else "the shape prior", **told}))
    return 0 if peak <= arguments.most * 1024 else 1


if __name__ == "__main__":
    sys.exit(main())
