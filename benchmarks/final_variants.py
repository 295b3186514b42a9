"""Seven kinds of labels for the same final network, by paired seeds, on a test table of other people.

Variants: complete rows only; all rows with a masked loss; blank cells filled forward, by the iterative
imputer, by image-only regressors, by labelfill; true labels in the blank cells. Observed labels are treated
alike in all, what differs is what is learnt of blank cells. Simple ways fill from training rows only.

The folder of data holds training.zip, training_truth.csv, test.zip and test_truth.csv. The truth gives every
row in source 1's convention, so what the sources mean differently stays blank in the true labels of rows of
other sources.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.measuring import Figures, as_markdown, numbers, parser, say, some_of, write_results
from labelfill.data.dataset import ImageDataset
from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.joining import join_rows
from labelfill.data.table import read_table, write_filled
from labelfill.final.predict import Outputs, predict
from labelfill.reports.comparison.stages import (
    Setting,
    check_one_split,
    fill_by_models,
    train_final_on,
    train_models,
)
from labelfill.reports.scores import coordinates_of
from labelfill.runs import RunDirectory, atomic_write
from labelfill.settings import FinalModelSettings, KeypointModelSettings, PredictSettings, TableSettings

MIX = {"1": 0.649, "2": 0.351}  # Kaggle's
VARIANTS = {
    "complete": "complete rows only",
    "observed": "all rows, masked loss",
    "forward-fill": "filled forward",
    "iterative": "filled by the iterative imputer",
    "image-only": "filled by image-only regressors",
    "labelfill": "filled by labelfill",
    "true": "true labels in blank cells",
}
DRAWS = 2000


def main() -> None:
    arguments = parse()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    squares: dict[str, dict[int, np.ndarray]] = {}
    for seed in arguments.seeds:  # whole seeds first: a stopped run has paired figures
        for variant in arguments.variants:
            say(f"== seed {seed}, {VARIANTS[variant]}")
            predicted = train_and_predict(arguments, variant, seed)
            squares.setdefault(variant, {})[seed] = squared_errors(predicted, arguments)
        report(squares, arguments)


def parse() -> argparse.Namespace:
    options = parser(__doc__, "scripts/final_variants --data faces --out outputs/variants --seeds 0,1,2")
    options.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    options.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="keeps runs and results")
    options.add_argument("--seeds", default="0,1,2", type=numbers)
    options.add_argument(
        "--variants", default=list(VARIANTS), type=some_of(VARIANTS, "variant"), help=",".join(VARIANTS)
    )
    options.add_argument(
        "--epochs", type=int, metavar="N", help="of the final network (default: the preset's)"
    )
    options.add_argument("--preset", default="default", help="of the final network")
    options.add_argument("--model-epochs", type=int, metavar="N", help="of the keypoint models")
    options.add_argument(
        "--models-per-seed", action="store_true",
        help="train keypoint models anew for each seed, with a split of its own (default: once, seed 0)",
    )  # fmt: skip
    options.add_argument("--device", default="auto")
    return options.parse_args()


def train_and_predict(arguments: argparse.Namespace, variant: str, seed: int) -> Path:
    """The test table predicted by the network of a variant."""
    folder: Path = arguments.out
    basis_seed = seed if arguments.models_per_seed else 0
    training = arguments.data / "training.zip"
    setting = Setting(folder, training, TableSettings(), basis_seed, arguments.device, progress=True)
    labelfill = filled_by(setting, "anchored", arguments)
    filled: Path | None = None
    original: Path | None = None
    labels = "filled"
    if variant == "labelfill":
        filled = labelfill
    elif variant == "image-only":
        filled = filled_by(setting, "image-only", arguments)
        check_one_split(setting, [name_of("anchored", basis_seed), name_of("image-only", basis_seed)])
    elif variant == "true":
        filled, original = true_table(arguments), setting.data
    else:
        labels = variant
    settings = FinalModelSettings(preset=arguments.preset, labels=labels, epochs=arguments.epochs)
    name = f"final-{variant}-{seed}"
    train_final_on(
        dataclasses.replace(setting, seed=seed), name, settings,
        models=name_of("anchored", basis_seed), filled=filled, original=original,
    )  # fmt: skip
    out = folder / name / "predicted.csv"
    with RunDirectory.open(folder / name) as run:
        request, cache = TableRequest(require_keypoints=False), folder / "cache"
        test = read_dataset(arguments.data / "test.zip", request, cache_dir=cache, show_progress=True)
        sources = None if settings.original else f"{arguments.data / 'test_truth.csv'}:source"
        chosen = PredictSettings(source_from=sources)
        predict(run, ImageDataset.of(test), chosen, Outputs(out, force=True), device=arguments.device)
    return out


def name_of(method: str, seed: int) -> str:
    return f"models-{method}-{seed}"


def filled_by(setting: Setting, method: str, arguments: argparse.Namespace) -> Path:
    name = name_of(method, setting.seed)
    chosen = KeypointModelSettings(method=method)
    if arguments.model_epochs:
        chosen = dataclasses.replace(chosen, epochs=arguments.model_epochs)
    train_models(setting, name, chosen)
    return fill_by_models(setting, name)


def true_table(arguments: argparse.Namespace) -> Path:
    """The training table, its blank cells from the truth but for those that mean something else there."""
    out: Path = arguments.out / "true.csv"
    table = read_table(arguments.data / "training.zip", require_images=False)
    truth = read_table(arguments.data / "training_truth.csv", require_images=False)
    rows, _ = join_rows(truth, table)
    values = coordinates_of(truth, table.keypoints)[rows]
    other = np.array([truth.extra["source"][row].strip() != "1" for row in rows])
    for keypoint in ("nose_tip", "mouth_center_bottom_lip"):
        values[other, table.keypoints.index(keypoint)] = np.nan
    if not out.is_file():
        with atomic_write(out) as file:
            write_filled(table, values, file)
    return out


def squared_errors(predicted: Path, arguments: argparse.Namespace) -> np.ndarray:
    """(n, K, 2) px², each row in its own source's convention; NaN where the truth says nothing."""
    truth = read_table(arguments.data / "test_truth.csv", require_images=False)
    table = read_table(predicted, require_images=False)
    rows, _ = join_rows(table, truth)
    return (coordinates_of(table, truth.keypoints)[rows] - truth.labels) ** 2


def report(squares: Mapping[str, Mapping[int, np.ndarray]], arguments: argparse.Namespace) -> None:
    """Figures of the seeds that are done, as results.json and results.md; bootstrap intervals over images."""
    truth = read_table(arguments.data / "test_truth.csv", require_images=False)
    training = read_table(arguments.data / "training.zip", require_images=False)
    sources = np.array([value.strip() for value in truth.extra["source"]])
    labelled = training.observed.all(axis=2).mean(axis=0)
    rare = np.array([labelled[training.keypoints.index(k)] < 0.5 for k in truth.keypoints])
    draws = [drawn_rows(sources, np.random.default_rng([0, number])) for number in range(DRAWS)]
    measures = {
        "mix": lambda square, rows: mixed(square, rows, sources),
        "source 1": lambda square, rows: root_mean(square[rows[sources[rows] == "1"]]),
        "source 2": lambda square, rows: root_mean(square[rows[sources[rows] == "2"]]),
        "rare points of source 1": lambda square, rows: root_mean(
            square[rows[sources[rows] == "1"]][:, rare]
        ),
    }
    everyone = np.arange(len(sources))
    told: dict[str, Figures] = {}
    drawn: dict[tuple[str, str], np.ndarray] = {}
    for variant, by_seed in squares.items():
        told[variant] = {"seeds": list(by_seed)}
        for name, measure in measures.items():
            each = [measure(square, everyone) for square in by_seed.values()]
            samples = [np.mean([measure(square, rows) for square in by_seed.values()]) for rows in draws]
            drawn[variant, name] = np.array(samples)
            told[variant][name] = {
                "rmse": float(np.mean(each)), "each seed": each, "interval": interval(drawn[variant, name]),
            }  # fmt: skip
    for variant in squares:
        if "true" in squares and len(squares["true"]) == len(squares[variant]):
            for name in measures:
                difference = drawn[variant, name] - drawn["true", name]
                told[variant][name]["less true labels"] = interval(difference)
    about = {
        "data": str(arguments.data), "epochs": arguments.epochs or "the preset's", "preset": arguments.preset,
        "models per seed": arguments.models_per_seed, "images": len(sources), "mix": MIX, "draws": DRAWS,
    }  # fmt: skip
    head = ["labels", *(f"{name}, RMSE" for name in measures), "mix, each seed", "mix less true labels"]
    text = as_markdown(head, [row(variant, figures, list(measures)) for variant, figures in told.items()])
    write_results(arguments.out, text, {"about": about, "variants": told})
    print(text)


def row(variant: str, figures: Figures, measures: list[str]) -> list[str]:
    each = [(figures[name]["rmse"], *figures[name]["interval"]) for name in measures]
    errors = [f"{rmse:.3f} ({low:.3f} to {high:.3f})" for rmse, low, high in each]
    seeds = ", ".join(f"{value:.3f}" for value in figures["mix"]["each seed"])
    less = figures["mix"].get("less true labels")
    beside = "" if less is None else f"{less[0]:+.3f} to {less[1]:+.3f}"
    return [VARIANTS[variant], *errors, seeds, beside]


def drawn_rows(sources: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images drawn with replacement, as many of each source as there are."""
    parts = [np.flatnonzero(sources == source) for source in MIX]
    return np.concatenate([rng.choice(part, len(part)) for part in parts])


def root_mean(square: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(square)))


def mixed(square: np.ndarray, rows: np.ndarray, sources: np.ndarray) -> float:
    means = [weight * np.nanmean(square[rows[sources[rows] == source]]) for source, weight in MIX.items()]
    return float(np.sqrt(sum(means)))


def interval(samples: np.ndarray) -> list[float]:
    return [float(value) for value in np.quantile(samples, [0.025, 0.975])]


if __name__ == "__main__":
    main()
