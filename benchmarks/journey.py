"""The original work's journey by several seeds: what each step is worth beside the one that it builds on.

Every seed has a split of its own, shared by all its steps. A step helps if it is better by every seed and by
over 2% on average; it harms if it is worse so; else these seeds tell no difference. Steps whose validation
error still fell at the end are called budget-limited.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measuring import as_markdown, numbers, parser, some_of, write_results
from labelfill.reports.comparison.journey import STEPS, Step, StepScore, journey
from labelfill.reports.comparison.stages import Setting
from labelfill.reports.comparison.trained_ways import TrainedWays
from labelfill.settings import KeypointModelSettings, TableSettings

PHASES = tuple(dict.fromkeys(step.phase for step in STEPS))
MATTERS = 0.02


def builds_on(step: Step) -> Step | None:
    """The step that a step's error is to be seen beside; None for the first."""
    if step.after is not None:
        return next(other for other in STEPS if other.name == step.after)
    number = STEPS.index(step)
    return STEPS[number - 1] if number else None


def main() -> None:
    arguments = parse()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    steps = [step for step in STEPS if step.phase in arguments.phases]
    limits = {"most_rows": arguments.rows, "epochs": arguments.epochs}
    if arguments.epochs is not None:
        limits["second_session_epochs"] = max(arguments.epochs // 4, 1)
    limits = {name: value for name, value in limits.items() if value is not None}
    found: list[list[StepScore]] = []
    for seed in arguments.seeds:  # whole seeds first: a stopped run has paired figures
        folder, device = arguments.out / f"seed-{seed}", arguments.device
        setting = Setting(folder, arguments.data, TableSettings(), seed, device, progress=True)
        found.append(journey(TrainedWays(setting, KeypointModelSettings()), limits=limits, steps=steps))
        report(steps, found, arguments)
    print((arguments.out / "results.md").read_text())


def parse() -> argparse.Namespace:
    options = parser(__doc__, "scripts/journey --data faces/training.zip --out outputs/journey --rows 400")
    options.add_argument("--data", type=Path, required=True, metavar="TABLE")
    options.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="keeps runs and results")
    options.add_argument("--seeds", default="0,1,2", type=numbers)
    options.add_argument(
        "--phases", default=list(PHASES), type=some_of(PHASES, "phase"), help=",".join(PHASES)
    )
    options.add_argument("--rows", type=int, metavar="N", help="to learn from (default: all)")
    options.add_argument("--epochs", type=int, metavar="N", help="of each step (default: the step's own)")
    options.add_argument("--device", default="auto")
    return options.parse_args()


def report(
    steps: Sequence[Step], found: Sequence[Sequence[StepScore]], arguments: argparse.Namespace
) -> None:
    """The steps by the seeds that are done, each beside the one that it builds on."""
    seeds = [{one.step.run: one.score for one in scores} for scores in found]
    # A step that a seed's rows do not allow is left out of all.
    scored = {
        step.run: [seed[step.run] for seed in seeds] for step in steps if all(step.run in s for s in seeds)
    }
    rows, told = [], []
    for step in steps:
        if step.run not in scored:
            continue
        scores, base = scored[step.run], builds_on(step)
        errors = np.array([score.rmse for score in scores])
        change, words = "", []
        if base is not None and base.run in scored:
            share = errors / np.array([score.rmse for score in scored[base.run]]) - 1
            change = f"{share.mean():+.1%} ({share.min():+.1%} to {share.max():+.1%}) {base.name}"
            words.append(verdict(share))
        if not all(score.plateau for score in scores):
            words.append("budget-limited")
        rows.append([
            step.phase, step.name, f"{errors.mean():.2f}", ", ".join(f"{error:.2f}" for error in errors),
            f"{np.mean([score.mae for score in scores]):.2f}", change, ", ".join(words),
            f"{np.median([score.seconds for score in scores]):.0f}",
        ])  # fmt: skip
        told.append({"phase": step.phase, "step": step.name, "scores": [vars(score) for score in scores]})
    head = ["phase", "step", "RMSE px", "each seed", "MAE px", "beside what it builds on", "verdict"]
    about = {"rows": arguments.rows, "epochs": arguments.epochs}
    write_results(arguments.out, as_markdown([*head, "seconds"], rows), {**about, "steps": told})


def verdict(share: np.ndarray) -> str:
    if share.mean() < -MATTERS and share.max() < 0:
        return "helps"
    if share.mean() > MATTERS and share.min() > 0:
        return "harms"
    return "no clear difference"


if __name__ == "__main__":
    main()
