"""Fills the blank cells of a table from another table's answers for its rows, in their order."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measuring import Figures, tell
from labelfill.data.table import read_table, write_filled
from labelfill.reports.scores import coordinates_of
from labelfill.runs import atomic_write


def measure(table: str, answers: str, out: str) -> Figures:
    blank = read_table(Path(table), require_images=False)
    answered = read_table(Path(answers), require_images=False)
    with atomic_write(Path(out)) as file:
        write_filled(blank, coordinates_of(answered, blank.keypoints), file)
    return {}


if __name__ == "__main__":
    tell(measure)
