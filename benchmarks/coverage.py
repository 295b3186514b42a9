"""In how many cases error radii hold, measured on a table of two sources whose truth is known.

For every seed the rows of the source that labels most are divided into 5 folds by image content. For every
fold keypoint models are trained on the table without it; then the fold's rows are answered as if they knew no
more than a row of the other source, and so each of them once per seed. The other source's blanks are filled
by the same models and compared with the truth. One ``fold-SEED-NUMBER.npz`` per training is kept in FOLDER:
what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from benchmarks.measuring import labelfill, parser, say
from labelfill.arrays import Array, Integers
from labelfill.data.dataset import Dataset
from labelfill.data.dataset_reading import read_dataset
from labelfill.data.images.identity import content_ids
from labelfill.data.table import open_decompressed, read_table
from labelfill.errors import EXIT_DONE
from labelfill.filling.fill import fill
from labelfill.filling.known_rows import known_of_rows
from labelfill.filling.request import FillRequest
from labelfill.networks.devices import Computing
from labelfill.regressors.answering import Question, answer_in_blocks
from labelfill.regressors.files import KeypointModels, load_models
from labelfill.runs import RunDirectory, atomic_write
from labelfill.runs.randomness import random_key
from labelfill.settings import ImputeSettings
from labelfill.sources.anchors import PatternBank, labels_as_anchors

FOLDS = 5
COVERAGES = (0.5, 0.8, 0.9, 0.95)
STATED = 0.9  # what `impute` states by default
LARGE_ERROR = 3.0  # px
WORST = 0.1
FIELDS = ("keypoint", "error", "radius")
CPU = Computing(torch.device("cpu"))


@dataclass(frozen=True)
class Cases:
    """Points whose radii can be judged: (m,) keypoint and radial error in px, (m, 4) radii by coverage.

    Radii at coverages that were not asked for are NaN.
    """

    keypoint: Integers
    error: Array
    radius: Array

    def within(self, coverage: float) -> NDArray[np.bool_]:
        held: NDArray[np.bool_] = self.error <= self.radius[:, COVERAGES.index(coverage)]
        return held


def main() -> None:
    options = parser(__doc__)
    options.add_argument("folder", type=Path, metavar="FOLDER")
    options.add_argument("--data", type=Path, required=True, metavar="TABLE")
    options.add_argument(
        "--truth", type=Path, required=True, metavar="TABLE", help="the same rows, no blanks"
    )
    options.add_argument(
        "--folds", type=int, default=FOLDS, metavar="N", help="do the first N of 5 folds only"
    )
    options.add_argument("--seeds", type=int, default=3, metavar="N")
    options.add_argument(
        "--epochs", type=int, metavar="N", help="train shorter than usual, to try the script"
    )
    options.add_argument("--method", metavar="NAME", help="as of train-keypoint-models; prior is fast")
    arguments = options.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    dataset = read_dataset(arguments.data, cache_dir=arguments.folder / "cache")
    truth = read_table(arguments.truth, require_images=False)
    order = [truth.keypoints.index(name) for name in dataset.schema.keypoints]
    known = truth.labels[:, order]
    labels = dataset.table.labelled.sum(axis=1)
    home = labels > labels.max() / 2
    held, other = [], []
    for seed in range(arguments.seeds):
        folds = folds_by_image(dataset, home, seed)
        for fold in range(arguments.folds):
            kept = arguments.folder / f"fold-{seed}-{fold}.npz"
            if not kept.is_file():
                measure(dataset, known, home, folds == fold, seed, kept, arguments)
            with np.load(kept) as arrays:  # plain arrays: nothing is unpickled
                held.append(Cases(*(arrays[f"held_{name}"] for name in FIELDS)))
                other.append(Cases(*(arrays[f"other_{name}"] for name in FIELDS)))
            say(f"seed {seed}, fold {fold}: done")
    report(joined(held), joined(other), dataset.schema.keypoints, arguments.seeds, arguments.folds)


def folds_by_image(dataset: Dataset, home: NDArray[np.bool_], seed: int) -> Integers:
    """(n,): fold of each row of the first source, identical and mirrored images together; -1 elsewhere."""
    assert dataset.images is not None
    distinct, which = np.unique(content_ids(dataset.images), return_inverse=True)
    generator = np.random.default_rng(random_key(seed, "coverage folds"))
    fold_of = generator.permutation(len(distinct)) % FOLDS
    return np.where(home, fold_of[which.reshape(-1)], -1)


def measure(
    dataset: Dataset, truth: Array, home: NDArray[np.bool_], out: NDArray[np.bool_], seed: int, kept: Path,
    arguments: argparse.Namespace,
) -> None:  # fmt: skip
    """Train without the rows `out`, answer for them, fill the other source's, and keep errors and radii."""
    table, run_dir = kept.with_suffix(".csv"), kept.with_suffix("")
    without_rows(dataset, out, table)
    command: list[object] = ["train-keypoint-models", "--data", table, "--run-dir", run_dir, "--seed", seed]
    for name in ("epochs", "method"):
        if (value := getattr(arguments, name)) is not None:
            command += [f"--{name}", value]
    say(labelfill(*command, allowed=[EXIT_DONE]).printed.rstrip("\n"))
    models = load_models(RunDirectory.read_only(run_dir), CPU.device)
    trained = read_dataset(table, cache_dir=run_dir / "cache")
    arrays = {
        **cases_of("held", held_out(dataset, np.flatnonzero(out), trained, models, seed)),
        **cases_of("other", filled(trained, truth[~out], ~home[~out], models)),
    }
    with atomic_write(kept) as file:
        np.savez(file, **arrays)


def without_rows(dataset: Dataset, out: NDArray[np.bool_], path: Path) -> None:
    """The table's records less some rows."""
    with open_decompressed(dataset.table.path) as file:
        lines = file.read().splitlines(keepends=True)
    begins = [*(dataset.table.lines - 1).tolist(), len(lines)]
    kept = lines[: begins[0]]
    for row in np.flatnonzero(~out).tolist():
        kept += lines[begins[row] : begins[row + 1]]
    path.write_bytes(b"".join(kept))


def held_out(dataset: Dataset, rows: Integers, trained: Dataset, models: KeypointModels, seed: int) -> Cases:
    """The held-out rows, each knowing as much as a row of the other source, and as surely."""
    ensemble, sources = models.ensemble, models.sources
    assert dataset.images is not None
    assert ensemble.radii is not None
    groups = sources.groups.assign(trained.table.labelled)
    anchors = known_of_rows(trained, models, groups, CPU).anchors
    reference = np.bincount(sources.reference).argmax()
    bank = PatternBank.of(anchors, (groups != reference) & ~trained.table.labelled.all(axis=1))
    own = labels_as_anchors(dataset.labels[rows])
    borrowed = bank.draw(own, np.random.default_rng(random_key(seed, "coverage patterns")))
    wanted = own.exact & ~np.isfinite(borrowed.noise).all(axis=2)
    wanted[:, sources.skipped] = False
    members = answer_in_blocks(ensemble, Question(rows, borrowed, wanted, dataset.images), CPU)
    found, sigma = ensemble.best(members)
    radius = [sigma * ensemble.radii.factor(coverage, members.sigma[0]) for coverage in COVERAGES]
    return judged(found, np.where(wanted[..., None], dataset.labels[rows], np.nan), np.stack(radius, axis=2))


def filled(trained: Dataset, truth: Array, other: NDArray[np.bool_], models: KeypointModels) -> Cases:
    """The other source's filled points against the truth, at one coverage, but for disputed keypoints."""
    found = fill(FillRequest.of(trained, models, ImputeSettings(coverage=STATED)), CPU).fills
    radius = np.full((*found.radius.shape, len(COVERAGES)), np.nan)
    radius[..., COVERAGES.index(STATED)] = found.radius
    xy = np.where(other[:, None, None], found.xy, np.nan)
    for offset in models.sources.offsets:
        xy[:, offset.keypoint] = np.nan  # the truth is in the first source's sense
    return judged(xy, truth, radius)


def judged(xy: Array, truth: Array, radius: Array) -> Cases:
    error = np.linalg.norm(xy - truth, axis=2)
    there = np.isfinite(error) & np.isfinite(radius[..., COVERAGES.index(STATED)])
    return Cases(np.nonzero(there)[1], error[there], radius[there])


def cases_of(name: str, cases: Cases) -> dict[str, NDArray[np.generic]]:
    return {f"{name}_{field}": values for field, values in vars(cases).items()}


def joined(cases: list[Cases]) -> Cases:
    return Cases(*(np.concatenate([getattr(c, name) for c in cases]) for name in FIELDS))


def report(held: Cases, other: Cases, keypoints: tuple[str, ...], seeds: int, folds: int) -> None:
    """Shares of cases within their radii, with 95% intervals in which a case counts once, not per seed."""
    result = {"seeds": seeds, "folds": folds, "held out": {}, "filled": {}}
    width = max(map(len, keypoints)) + 2
    print(" " * width + "".join(f"{coverage:>22.0%}" for coverage in COVERAGES) + "     cases")
    for title, cases, repeats in (("held out", held, seeds), ("filled", other, seeds * folds)):
        for k in [-1, *np.unique(cases.keypoint).tolist()]:
            some = cases.keypoint >= 0 if k < 0 else cases.keypoint == k
            name = f"{title}: all" if k < 0 else keypoints[k]
            count = int(some.sum())
            cells, figures = [], {}
            for coverage in COVERAGES:
                if np.isnan(cases.radius[some, COVERAGES.index(coverage)]).any():
                    cells.append(" " * 22)
                    continue
                share = float(cases.within(coverage)[some].mean())
                low, high = interval(share, count // max(repeats, 1))
                figures[f"{coverage:.2f}"] = [round(v, 4) for v in (share, low, high)]
                cells.append(f"{share:>8.1%} [{low:.1%}, {high:.1%}]".rjust(22))
            result[title]["all" if k < 0 else keypoints[k]] = {**figures, "cases": count}
            print(f"{name:<{width}}" + "".join(cells) + f"{count:>10,}")
        caught = ranking(cases)
        result[title]["errors above 3 px among the worst tenth by radius"] = caught
        print(f"  of errors above {LARGE_ERROR:g} px the tenth of largest radii holds {caught:.1%}\n")
    print(json.dumps(result))


def interval(share: float, cases: int) -> tuple[float, float]:
    """Wilson's 95% interval."""
    bounds = binomtest(round(share * cases), max(cases, 1)).proportion_ci(method="wilson")
    return float(bounds.low), float(bounds.high)


def ranking(cases: Cases) -> float:
    """Of the errors above 3 px the share that stands among the tenth of points with the largest radii."""
    large = cases.error > LARGE_ERROR
    worst = np.argsort(-cases.radius[:, COVERAGES.index(STATED)])[: round(WORST * len(large))]
    return float(large[worst].sum() / max(large.sum(), 1))


if __name__ == "__main__":
    main()
