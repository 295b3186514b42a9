"""Draws new faces of the embedded sample: the final network's own answers, and the second look's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import labelfill
from benchmarks.pictures.filled import FILLED, save, show_image
from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.table import read_table

OWN = {"marker": "x", "color": "#CC3311", "markersize": 6, "markeredgewidth": 1.6}
TRUTH = {"marker": "o", "color": "none", "markeredgecolor": "white", "markersize": 9}
FACES = 3


def main(folder: Path, run: Path, pictures: Path) -> None:
    test, truth = folder / "data" / "test.csv", folder / "data" / "test_truth.csv"
    own, refined = (
        labelfill.predict(
            test, run,
            settings=labelfill.PredictSettings(source_from=f"{truth}:source", no_refine=no_refine),
        ).xy
        for no_refine in (True, False)
    )  # fmt: skip
    dataset = read_dataset(test, TableRequest(require_keypoints=False))
    places = read_table(truth, require_images=False).labels
    off = np.nanmean(np.linalg.norm(own - places, axis=2), axis=1)
    rows = np.argsort(off)[np.linspace(len(off) // 2, len(off) - 2, FACES).astype(int)]
    figure = Figure(figsize=(3.4 * FACES, 3.9), facecolor="white", layout="constrained")
    for axis, row in zip(figure.subplots(1, FACES), rows, strict=True):
        show_image(axis, dataset, int(row))
        axis.plot(*places[row].T, linestyle="none", **TRUTH)
        axis.plot(*own[row].T, linestyle="none", **OWN)
        axis.plot(*refined[row].T, linestyle="none", **FILLED)
        moved = [float(np.nanmean(np.linalg.norm(xy[row] - places[row], axis=1))) for xy in (own, refined)]
        axis.set_xlabel(f"{moved[0]:.1f} px off, then {moved[1]:.1f}")
    handles = [Line2D([], [], linestyle="none", **style) for style in (OWN, FILLED)]
    handles.append(Line2D([], [], linestyle="none", **(TRUTH | {"markeredgecolor": "grey"})))
    names = ["final network's own answer", "after the second look", "true place"]
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
    save(figure, pictures / "second-look.png", dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
