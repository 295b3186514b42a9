"""Draws one keypoint's way through labelfill: its regressor, its error on rows not learnt from, its fills.

Usage: python -m benchmarks.pictures.keypoint FOLDER RUN PICTURES [KEYPOINT]: FOLDER holds data/training.csv,
data/truth.csv and filled.csv of the embedded sample, RUN is the run directory that filled it.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from benchmarks.pictures.filled import FILLED, OBSERVED, save, show_image
from labelfill.data.dataset import Dataset
from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.runs import RunDirectory

FACES = 6
TRUTH = {"marker": "+", "color": "#009E73", "markersize": 9, "markeredgewidth": 1.6}
PATCH = "#56B4E9"


def main(folder: Path, run: Path, pictures: Path, keypoint: str) -> None:
    before = read_dataset(folder / "data" / "training.csv")
    truth = read_dataset(folder / "data" / "truth.csv", TableRequest(require_images=False, with_images=False))
    with open(folder / "filled.provenance.csv", newline="", encoding="utf-8") as file:
        fills = [fill for fill in csv.DictReader(file) if fill["keypoint"] == keypoint]
    model = json.loads(model_file(run, keypoint).read_text())
    stage = RunDirectory.read_only(run).stages["train-keypoint-models"]
    k = before.table.keypoints.index(keypoint)
    found = np.array([[float(fill["x"]), float(fill["y"])] for fill in fills])  # (m, 2) px
    rows = [int(fill["row"]) for fill in fills]
    errors = np.linalg.norm(found - truth.table.labels[rows, k], axis=1)
    save(draw_regressor(keypoint, model, stage, fills, errors), pictures / "keypoint-regressor.png")
    save(draw_fills(before, truth, k, model, fills), pictures / "keypoint-fills.png")


def model_file(run: Path, keypoint: str) -> Path:
    for file in sorted((run / "keypoint-models").glob("*/model.json")):
        if json.loads(file.read_text())["keypoint"] == keypoint:
            return file
    raise SystemExit(f"{run} holds no regressor of {keypoint}: it is labelled in every row, or in too few")


def draw_regressor(
    keypoint: str, model: dict, stage: dict, fills: list[dict[str, str]], errors: np.ndarray
) -> Figure:
    """Its training, its error on rows not learnt from beside the prior's, its fills' error beside radii."""
    results, epochs = stage["results"], stage["inputs"]["settings"]["epochs"]
    figures = results["keypoints"][keypoint]
    figure = Figure(figsize=(10.5, 3.4), facecolor="white", layout="constrained")
    learning, held_out, filled = figure.subplots(1, 3)
    for fold, history in enumerate(model["history"]):
        steps = [epoch["rmse"] for epoch in history]
        (line,) = learning.plot(range(1, len(steps) + 1), steps, label=f"without fold {fold + 1}")
        best = model["best_epochs"][fold]
        learning.plot(best + 1, steps[best], marker="o", color=line.get_color())
    learning.set(xlabel="epoch", ylabel="RMSE on validation rows, px", title="its regressors learn")
    learning.set_ylim(bottom=0)
    learning.legend(frameon=False, fontsize=7, loc="lower left")
    names = [name for name in ("cross-fitted", "validation", "evaluation") if f"{name} rmse" in figures]
    places = np.arange(len(names))
    for shift, ending, colour, label in (
        (-0.2, " of the prior", "#999999", "shape prior alone"),
        (0.2, "", FILLED["color"], "labelfill"),
    ):
        values = [figures[f"{name} rmse{ending}"] for name in names]
        drawn = held_out.bar(places + shift, values, 0.38, color=colour, label=label)
        held_out.bar_label(drawn, [f"{value:.2f}" for value in values], fontsize=7, padding=2)
    held_out.set_xticks(places, [f"{name}\n{figures[f'{name} rows']} rows" for name in names], fontsize=8)
    held_out.set(ylabel="RMSE per coordinate, px", title="its error on rows not learnt from")
    held_out.margins(y=0.25)
    held_out.legend(frameon=False, fontsize=7, loc="upper right")
    radii = np.array([float(fill["radius"]) for fill in fills])
    filled.scatter(radii, errors, s=9, color=FILLED["color"], edgecolor="black", linewidth=0.3)
    end = max(radii.max(), errors.max()) * 1.05
    filled.plot([0, end], [0, end], color="#999999", linewidth=0.8)
    filled.set(xlim=(0, end), ylim=(0, end), xlabel="stated error radius, px", ylabel="true error, px")
    filled.set_title(f"its {len(fills)} fills: {np.mean(errors <= radii):.0%} within their radius")
    taught = f"{results['rows']} drawn rows of which {figures['labels']} teach it, {epochs} epochs"
    figure.suptitle(f"{keypoint}, {taught}", fontsize=10)
    return figure


def draw_fills(before: Dataset, truth: Dataset, k: int, model: dict, fills: list[dict[str, str]]) -> Figure:
    """Faces that lack the keypoint: labels, the fill in its circle, the truth, about what was looked at."""
    chosen = [fills[number] for number in np.linspace(0, len(fills) - 1, FACES).astype(int)]
    figure = Figure(figsize=(1.9 * FACES, 2.5), facecolor="white", layout="constrained")
    half = model["view"]["half"]
    for axis, fill in zip(figure.subplots(1, FACES), chosen, strict=True):
        row, place = int(fill["row"]), (float(fill["x"]), float(fill["y"]))
        show_image(axis, before, row)
        labels = before.table.labels[row]
        axis.plot(*labels[np.isfinite(labels).all(axis=1)].T, linestyle="none", **OBSERVED)
        corner = (place[0] - half, place[1] - half)
        axis.add_patch(Rectangle(corner, 2 * half, 2 * half, fill=False, color=PATCH, linestyle=":"))
        axis.add_patch(Circle(place, float(fill["radius"]), fill=False, color=FILLED["color"], linewidth=1))
        axis.plot(*place, linestyle="none", **FILLED, label="filled, in its error radius")
        axis.plot(*truth.table.labels[row, k], linestyle="none", **TRUTH, label="truth, never seen")
        axis.set_title(f"row {row}", fontsize=8)
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    arguments = [Path(argument) for argument in sys.argv[1:4]]
    main(*arguments, sys.argv[4] if len(sys.argv) > 4 else "left_eye_outer_corner")
