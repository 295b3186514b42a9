"""How the three commands' cost grows with rows, keypoints and image size: processor seconds on drawn tables.

Around one table (1,600 rows, 10 keypoints, 96x96 px, 30% random gaps) each of the three is halved and doubled
by itself. Networks take few epochs, and twice as many: so what grows with epochs is told from what does not,
and carried on to the default's.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
from pathlib import Path

from bench import output

from labelfill.runs import atomic_write, make_folder
from labelfill.schema import ImageSize
from labelfill.synthetic import LANDMARKS, draw_table, write_table

ROWS, KEYPOINTS, SIDE = 1600, 10, 96
GAPS = 0.3
STAGES = ("train-keypoint-models", "impute", "train-final")
DEFAULT_EPOCHS = {"train-keypoint-models": 20, "train-final": 40}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  scripts/growth --out outputs/growth",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="keeps figures")
    parser.add_argument("--epochs", type=int, default=2, metavar="N", help="of every network (default: 2)")
    parser.add_argument("--rows", type=int, default=ROWS, metavar="N", help=f"default: {ROWS}")
    arguments = parser.parse_args()
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
        name = "x".join(map(str, size))
        if not (arguments.out / f"{name}.json").is_file():
            print(f"== {size[0]} rows, {size[1]} keypoints, {size[2]}x{size[2]} px", file=sys.stderr)
            took = measure(size, arguments.out / name, arguments.epochs)
            with atomic_write(arguments.out / f"{name}.json", "w") as file:
                json.dump(took, file, indent=1)
    report(sizes, arguments)


def measure(size: tuple[int, int, int], folder: Path, epochs: int) -> dict[str, list[float]]:
    """Processor seconds of each stage, with `epochs` and with twice as many."""
    rows, keypoints, side = size
    make_folder(folder)
    table = folder / "table.csv"
    drawn = draw_table(rows, keypoints=LANDMARKS[:keypoints], image_size=ImageSize(side, side), gaps=GAPS)
    write_table(table, drawn)
    took: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for number, count in enumerate((epochs, 2 * epochs)):
        run = folder / f"run-{number}"
        for stage in STAGES:
            options = ["--data", table] if stage == STAGES[0] else []
            options += [] if stage == "impute" else ["--epochs", count]
            took[stage].append(seconds(stage, "--run-dir", run, *options))
    shutil.rmtree(folder)
    return took


def seconds(*arguments: object) -> float:
    """Processor seconds of a command and its workers."""
    before = used_by_children()
    output("-m", "labelfill", *arguments, "--device", "cpu", "-q")
    return used_by_children() - before


def used_by_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(sizes: list[tuple[int, int, int]], arguments: argparse.Namespace) -> None:
    """Each table's seconds with the default's epochs, and how they compare with the middle table's."""
    head = ["rows", "keypoints", "image"]
    for stage in STAGES:
        head += [f"{stage}, s", "ratio"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    middle = whole(sizes[0], arguments)
    for size in sorted(sizes):
        found = whole(size, arguments)
        cells = [f"{size[0]:,}", str(size[1]), f"{size[2]}x{size[2]}"]
        for stage in STAGES:
            cells += [f"{found[stage]:.0f}", f"{found[stage] / middle[stage]:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    with atomic_write(arguments.out / "results.md", "w") as file:
        file.write(text)
    print(text)


def whole(size: tuple[int, int, int], arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of each stage, those that grow with epochs carried on to the default's epochs."""
    took = json.loads((arguments.out / f"{'x'.join(map(str, size))}.json").read_text())
    found = {}
    for stage, (short, longer) in took.items():
        epochs = DEFAULT_EPOCHS.get(stage)
        each = (longer - short) / arguments.epochs
        found[stage] = short if epochs is None else short + each * (epochs - arguments.epochs)
    return found


if __name__ == "__main__":
    main()
