"""How the three commands' cost grows with rows, keypoints and image size: processor seconds on drawn tables.

Around one table (1,600 rows, 10 keypoints, 96x96 px, 30% random gaps) each of the three is halved and doubled
by itself. Networks are trained with few epochs, and with more: the straight line through what they take tells
what grows with epochs from what does not, and goes on to the default's epochs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from pathlib import Path

import numpy as np

from benchmarks.measuring import THREADS, as_markdown, labelfill, numbers, once, parser, write_results
from labelfill.data.synthetic import LANDMARKS, draw_table, write_table
from labelfill.runs import make_folder
from labelfill.schema import ImageSize
from labelfill.settings import PRESETS, KeypointModelSettings

ROWS, KEYPOINTS, SIDE = 1600, 10, 96
GAPS = 0.3
STAGES = ("train-keypoint-models", "impute", "train-final")
# Of fewer than 1,400 rows the final network takes more epochs than this: 800 steps at least.
DEFAULT_EPOCHS = {
    "train-keypoint-models": KeypointModelSettings().epochs,
    "train-final": int(PRESETS["default"]["epochs"]),
}

Size = tuple[int, int, int]


def main() -> None:
    options = parser(__doc__, "scripts/growth --out outputs/growth")
    options.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="keeps figures")
    options.add_argument(
        "--epochs", type=numbers, default=[1, 6], metavar="N,N,...", help="of every network (default: 1,6)"
    )
    options.add_argument("--rows", type=int, default=ROWS, metavar="N", help=f"default: {ROWS}")
    arguments = options.parse_args()
    if len(set(arguments.epochs)) < 2:
        options.error("--epochs needs two different numbers: from one, nothing tells what grows with epochs")
    make_folder(arguments.out)
    rows = arguments.rows
    sizes = [(rows, KEYPOINTS, SIDE)]
    for factor in (0.5, 2):
        sizes += [
            (round(rows * factor), KEYPOINTS, SIDE),
            (rows, round(KEYPOINTS * factor), SIDE),
            (rows, KEYPOINTS, round(SIDE * factor)),
        ]
    for size in sizes:
        for epochs in arguments.epochs:
            file = kept(arguments.out, size, epochs)
            once(file, f"{file.stem} epochs", measure, size, file, epochs)
    report(sizes, arguments)


def kept(folder: Path, size: Size, epochs: int) -> Path:
    return folder / f"{'x'.join(map(str, size))} {epochs}.json"


def measure(size: Size, file: Path, epochs: int) -> dict[str, float]:
    """Processor seconds of each stage, workers included; done in a folder beside the file that keeps them."""
    (rows, keypoints, side), folder = size, file.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    table, run = folder / "table.csv", folder / "run"
    drawn = draw_table(rows, keypoints=LANDMARKS[:keypoints], image_size=ImageSize(side, side), gaps=GAPS)
    write_table(table, drawn)
    took = {}
    for stage in STAGES:
        options = ["--data", table] if stage == STAGES[0] else []
        options += [] if stage == "impute" else ["--epochs", epochs]
        command = [stage, "--run-dir", run, *options, "--device", "cpu", "-q"]
        took[stage] = labelfill(*command, threads=THREADS).processor_seconds
    shutil.rmtree(folder)
    return took


def report(sizes: list[Size], arguments: argparse.Namespace) -> None:
    """Each table's seconds as measured and with the default's epochs, and these beside the middle table's."""
    head = ["rows", "keypoints", "image"]
    for stage in STAGES:
        head += [f"{stage}, s with {' / '.join(map(str, arguments.epochs))} epochs", "default", "ratio"]
    rows = []
    middle = measured(sizes[0], arguments)
    for size in sorted(sizes):
        found = measured(size, arguments)
        cells = [f"{size[0]:,}", str(size[1]), f"{size[2]}x{size[2]}"]
        for stage in STAGES:
            default = whole(stage, found, arguments)
            ratio = default / whole(stage, middle, arguments)
            cells += [" / ".join(f"{one:.0f}" for one in found[stage]), f"{default:.0f}", f"{ratio:.2f}"]
        rows.append(cells)
    text = as_markdown(head, rows)
    write_results(arguments.out, text)
    print(text)


def measured(size: Size, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each stage, for each number of epochs."""
    took = [json.loads(kept(arguments.out, size, epochs).read_text()) for epochs in arguments.epochs]
    return {stage: [one[stage] for one in took] for stage in STAGES}


def whole(stage: str, found: dict[str, list[float]], arguments: argparse.Namespace) -> float:
    """Seconds of a stage; where they grow with epochs, carried on to the default's."""
    if stage not in DEFAULT_EPOCHS:
        return statistics.mean(found[stage])
    line = np.polynomial.Polynomial.fit(arguments.epochs, found[stage], 1)
    return float(line(DEFAULT_EPOCHS[stage]))


if __name__ == "__main__":
    main()
