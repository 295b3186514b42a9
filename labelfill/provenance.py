"""The sidecar of a filled table: where each filled coordinate comes from."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from labelfill.dataset import Dataset
from labelfill.filling import METHODS, Fills
from labelfill.model_files import Sources
from labelfill.table import coordinate_text

PROVENANCE_COLUMNS = (
    "row", "line", "keypoint", "x", "y", "filled", "method", "convention", "sigma", "radius", "model",
    "flags",
)  # fmt: skip


def provenance_path(table: Path) -> Path:
    """The sidecar of a filled table: ``filled.csv`` -> ``filled.provenance.csv``."""
    return table.with_name(f"{_stem(table)[0]}.provenance.csv")


def distrust_path(table: Path) -> Path:
    """Where the labels stand that were not trusted when a table was filled: ``filled.distrust.csv``."""
    return table.with_name(f"{_stem(table)[0]}.distrust.csv")


def _stem(table: Path) -> tuple[str, str]:
    """A table's name without its suffix, and the suffix."""
    name = table.name
    for suffix in (".csv.gz", ".csv", ".zip"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    return name, ""


def write_provenance(out: BinaryIO, dataset: Dataset, fills: Fills, sources: Sources, model: str) -> None:
    """The sidecar: one line per filled keypoint, in row and keypoint order."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", errors="surrogateescape", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PROVENANCE_COLUMNS)
    for line in _provenance(dataset, fills, sources, model):
        writer.writerow(line)
    text.flush()
    text.detach()


def _provenance(dataset: Dataset, fills: Fills, sources: Sources, model: str) -> Iterator[list[str]]:
    table = dataset.table
    several = len(sources.groups.names) > 1
    for row, k in zip(*np.nonzero(np.isfinite(fills.xy).any(axis=2)), strict=True):
        new = np.isfinite(fills.xy[row, k])
        x, y = np.where(new, fills.xy[row, k], table.labels[row, k])
        yield [
            str(row), str(table.lines[row]), dataset.schema.keypoints[k],
            coordinate_text(x).decode(), coordinate_text(y).decode(),
            "xy" if new.all() else "x" if new[0] else "y",
            METHODS[fills.method[row, k]],
            sources.groups.names[fills.conventions[row, k]] if several else "",
            f"{fills.sigma[row, k]:.3f}", f"{fills.radius[row, k]:.3f}", model, fills.flags[row, k],
        ]  # fmt: skip
