"""Draws faces of the embedded sample with their observed and filled points."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from labelfill.data.dataset import Dataset
from labelfill.data.dataset_reading import read_dataset

OBSERVED = {"marker": "o", "color": "#56B4E9", "markeredgecolor": "black", "markersize": 5.5}
FILLED = {"marker": "D", "color": "#E69F00", "markeredgecolor": "black", "markersize": 4.5}
FACES = 4


def main(folder: Path, pictures: Path) -> None:
    before = read_dataset(folder / "data" / "training.csv")
    after = read_dataset(folder / "filled.csv")
    radius = np.full(before.table.labels.shape[:2], np.nan)  # (n, K) px
    with open(folder / "filled.provenance.csv", newline="", encoding="utf-8") as file:
        for fill in csv.DictReader(file):
            radius[int(fill["row"]), before.table.keypoints.index(fill["keypoint"])] = float(fill["radius"])
    save(draw_faces(before, after, radius, choose_rows(before)), pictures / "filled.png", dpi=120)


def choose_rows(dataset: Dataset) -> list[int]:
    """One row that lacks a few labels, then rows that lack most, evenly spaced over the table."""
    labelled = dataset.table.observed.all(axis=2).sum(axis=1)
    many, most = labelled > dataset.schema.count / 2, dataset.schema.count
    few = np.flatnonzero(many & (labelled < most))
    sparse = np.flatnonzero(~many)
    return [int(few[0]), *sparse[np.linspace(0, len(sparse) - 1, FACES + 1).astype(int)[1:-1]].tolist()]


def draw_faces(before: Dataset, after: Dataset, radius: np.ndarray, rows: list[int]) -> Figure:
    figure = Figure(figsize=(2.3 * len(rows), 5.1), facecolor="white", layout="constrained")
    axes = figure.subplots(2, len(rows))
    for column, row in enumerate(rows):
        for axis, dataset in zip(axes[:, column], (before, after), strict=True):
            show_image(axis, dataset, row)
        labels, filled = before.table.labels[row], after.table.labels[row]  # (K, 2)
        observed = np.isfinite(labels).all(axis=1)
        for axis in axes[:, column]:
            axis.plot(*labels[observed].T, linestyle="none", **OBSERVED)
        for (x, y), extent in zip(filled[~observed], radius[row, ~observed], strict=True):
            circle = Circle((x, y), extent, fill=False, color=FILLED["color"], linewidth=0.8, alpha=0.8)
            axes[1, column].add_patch(circle)
        axes[1, column].plot(*filled[~observed].T, linestyle="none", **FILLED)
    axes[0, 0].set_ylabel("the table as it is")
    axes[1, 0].set_ylabel("filled")
    ring = Line2D([], [], marker="o", color=FILLED["color"], markersize=9, fillstyle="none", linestyle="none")
    handles = [Line2D([], [], linestyle="none", **style) for style in (OBSERVED, FILLED)]
    names = ["observed label", "filled by labelfill", "error radius (holds in 90% of cases)"]
    figure.legend([*handles, ring], names, loc="outside lower center", ncols=3, frameon=False)
    return figure


def save(figure: Figure, path: Path, dpi: int = 110) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    print(f"wrote {path}")


def show_image(axis: Axes, dataset: Dataset, row: int) -> None:
    assert dataset.images is not None
    axis.imshow(dataset.images[row], cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axis.set(xticks=[], yticks=[])
    axis.set_xlim(-0.5, dataset.schema.image_size.width - 0.5)
    axis.set_ylim(dataset.schema.image_size.height - 0.5, -0.5)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
