"""Fills the blank cells of a table from another table's answers for its rows, in their order."""

from __future__ import annotations

import argparse
from pathlib import Path

from labelfill.data.table import read_table, write_filled
from labelfill.reports.scores import coordinates_of
from labelfill.runs import atomic_write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("table", "answers", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    table = read_table(arguments.table, require_images=False)
    answers = read_table(arguments.answers, require_images=False)
    with atomic_write(arguments.out) as file:
        write_filled(table, coordinates_of(answers, table.keypoints), file)


if __name__ == "__main__":
    main()
