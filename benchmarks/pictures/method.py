"""Draws the pictures of docs/how-it-works.md on faces of the embedded sample; trains nothing.

Usage: python -m benchmarks.pictures.method FOLDER docs/images (FOLDER/data: drawn by labelfill demo-data)
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle

from benchmarks.pictures.filled import FILLED, OBSERVED, save, show_image
from labelfill.data.dataset import Dataset
from labelfill.data.dataset_reading import read_dataset
from labelfill.shape.prior import fit_shape_prior
from labelfill.sources.anchors import labels_as_anchors

_SIGMAS_OF_90 = 2.146  # of a two-dimensional Gaussian: the ellipse that holds 90%
_PATCH = 22  # px: about the side of a patch on a face of the sample
DISPUTED = ("nose_tip", "mouth_center_bottom_lip")


def draw_prior(dataset: Dataset, row: int) -> Figure:
    """A row with four labels: what it knows, where the shape prior expects the rest, what is looked at."""
    anchors = labels_as_anchors(dataset.labels)
    # Only what both sources mean alike: the prior of the program sees corrected labels instead.
    trusted = [k for k, name in enumerate(dataset.schema.keypoints) if name not in DISPUTED]
    complete = anchors.exact.all(axis=1)
    prior = fit_shape_prior(anchors.xy[complete], anchors.noise[complete])
    noise = anchors.noise[[row]].copy()
    noise[:, [k for k in range(dataset.schema.count) if k not in trusted]] = np.inf
    expected = prior.condition(anchors.xy[[row]], noise)
    known = anchors.exact[row]
    figure = Figure(figsize=(9, 3.7), facecolor="white", layout="constrained")
    axes = figure.subplots(1, 3)
    titles = (
        "1. the row's labels: its anchors",
        "2. where the shape prior\nexpects the others (90%)",
        "3. patches that the\nregressors look at",
    )
    for axis, title in zip(axes, titles, strict=True):
        show_image(axis, dataset, row)
        axis.set_title(title, fontsize=10)
        axis.plot(*dataset.labels[row][known].T, linestyle="none", **OBSERVED)
    for k in np.flatnonzero(~known):
        values, vectors = np.linalg.eigh(expected.covariance[0, k])
        width, height = 2 * _SIGMAS_OF_90 * np.sqrt(values)
        angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
        middle = expected.xy[0, k]
        style = {"fill": False, "color": FILLED["color"], "linewidth": 1.2}
        axes[1].add_patch(Ellipse(middle, width, height, angle=angle, **style))
        axes[2].add_patch(Rectangle(middle - _PATCH / 2, _PATCH, _PATCH, **style, alpha=0.8))
    return figure


def draw_sources(dataset: Dataset, rows: tuple[int, int]) -> Figure:
    """The same keypoints as two label sources mark them."""
    figure = Figure(figsize=(6, 3.3), facecolor="white", layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, row, name in zip(axes, rows, ("source 1", "source 2"), strict=True):
        show_image(axis, dataset, row)
        axis.set_title(f"a row of {name}", fontsize=10)
        for k, keypoint in enumerate(dataset.schema.keypoints):
            if keypoint in DISPUTED:
                axis.plot(*dataset.labels[row, k], linestyle="none", **FILLED)
                axis.annotate(
                    keypoint, dataset.labels[row, k], (4, -3), textcoords="offset points", color="white",
                    fontsize=7,
                )  # fmt: skip
    return figure


def main(folder: Path, pictures: Path) -> None:
    dataset = read_dataset(folder / "data" / "training.csv")
    labelled = dataset.table.labelled.sum(axis=1)
    sparse, complete = np.flatnonzero(labelled == 4), np.flatnonzero(labelled == dataset.schema.count)
    save(draw_prior(dataset, int(sparse[2])), pictures / "prior.png")
    save(draw_sources(dataset, (int(complete[1]), int(sparse[2]))), pictures / "sources.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
