"""Small tables: labelfill beside the iterative imputer, draw by draw, and offsets claimed where none are.

Kinds of tables, each with its truth:

* sixty    60 rows of source 1 of the real faces, of which two in three keep the four points that the second
           source labels: 20 rows to learn the others from
* gaps     300 such rows, of which each point of each row is missing with a chance of 30%
* drawn    200 drawn faces of 80x64 px with 17 keypoints and 30% of random gaps
* offsets  200 rows of source 1, three in five with four points: two patterns of missing labels, but one
           source, so that no offset may be claimed

Keypoint models are trained by as many processes as there are cores, one table after another.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measuring import Figures, as_markdown, once, parser, some_of, write_results
from labelfill.data.synthetic import LANDMARKS, draw_table, write_table
from labelfill.data.table import read_table
from labelfill.networks.devices import Computing
from labelfill.regressors.job import training_job
from labelfill.regressors.setup import set_up
from labelfill.regressors.source_audit import audit_sources
from labelfill.regressors.unit_names import STAGE
from labelfill.reports.comparison.comparison import ComparisonRequest, compare
from labelfill.reports.comparison.stages import Setting
from labelfill.reports.comparison.trained_ways import TrainedWays
from labelfill.runs import RunDirectory, json_value, write_bytes
from labelfill.schema import ImageSize, coordinate_columns
from labelfill.settings import KeypointModelSettings, TableSettings

SECOND_SOURCE = ("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip")
KINDS = {"sixty": 5, "gaps": 5, "drawn": 5, "offsets": 20}  # and how many draws of each
GAPS = 0.3
WORST = 1.05  # what no draw may exceed, labelfill's error over the imputer's


def main() -> None:
    arguments = parse()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    told: dict[str, list[Figures]] = {}
    for kind in arguments.kinds:
        for draw in range(arguments.draws or KINDS[kind]):
            folder = arguments.out / f"{kind}-{draw:02d}"
            about = (kind, draw, folder, arguments)
            result = once(folder / "result.json", f"{kind}, draw {draw}", measure, *about)
            told.setdefault(kind, []).append(result)
            report(told, arguments)
    print((arguments.out / "results.md").read_text())


def parse() -> argparse.Namespace:
    options = parser(__doc__, "scripts/few_rows --data faces --out outputs/few-rows")
    options.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="keeps runs and results")
    options.add_argument("--data", type=Path, metavar="FOLDER", help="training.zip and training_truth.csv")
    options.add_argument("--kinds", default=list(KINDS), type=some_of(KINDS, "kind"), help=",".join(KINDS))
    options.add_argument("--draws", type=int, metavar="N", help="of each kind (default: 5; of offsets 20)")
    options.add_argument("--epochs", type=int, metavar="N", help="of the keypoint models (default: theirs)")
    options.add_argument("--device", default="auto")
    arguments = options.parse_args()
    if arguments.data is None and set(arguments.kinds) - {"drawn"}:
        options.error("tables of real faces need --data; without it there is --kinds drawn")
    return arguments


def measure(kind: str, draw: int, folder: Path, arguments: argparse.Namespace) -> Figures:
    """One table drawn, filled and scored; for `offsets` only its sources are audited."""
    folder.mkdir(parents=True, exist_ok=True)
    table, truth = folder / "table.csv", folder / "truth.csv"
    if not truth.is_file():
        write(kind, draw, table, truth, arguments)
    models = KeypointModelSettings(epochs=arguments.epochs) if arguments.epochs else KeypointModelSettings()
    size = ImageSize(80, 64) if kind == "drawn" else None
    setting = Setting(folder, table, TableSettings(image_size=size), draw, arguments.device)
    if kind == "offsets":
        return audited(setting, models)
    trained = TrainedWays(setting, models)
    trained.train("anchored")
    with RunDirectory.open(folder / "anchored") as run:
        results = run.stages["train-keypoint-models"]["results"]
    about = {"sources": results["sources"], "offsets": results["convention offsets"]}
    scores = compare(ComparisonRequest(table, truth, ways=["iterative", "prior", "anchored"]), trained)
    return {**about, "cells": scores.cells, **{name: way.overall.rmse for name, way in scores.ways.items()}}


def audited(setting: Setting, models: KeypointModelSettings) -> Figures:
    """The offsets that `train-keypoint-models` would claim: its first steps, the regressors left out."""
    with setting.open("audit") as run:
        run.begin_stage(STAGE, {"seed": setting.seed, "settings": json_value(models)})
        job = training_job(
            setting.read(), models, table=setting.table, device=setting.device, seed=setting.seed
        )
        setup = set_up(run, job, Computing(job.device))
        audit, names, prep = audit_sources(setup), setup.dataset.schema.keypoints, setup.preparation
        return {
            "sources": {name: int((prep.group_of == g).sum()) for g, name in enumerate(prep.groups.names)},
            "offsets": [names[offset.keypoint] for offset in audit.offsets],
        }


def write(kind: str, draw: int, table: Path, truth: Path, arguments: argparse.Namespace) -> None:
    """A table with blanks and its truth; the truth comes last, so that it tells whether both are whole."""
    generator = np.random.default_rng([draw, list(KINDS).index(kind)])
    if kind == "drawn":
        keypoints = LANDMARKS[:17]
        drawn = draw_table(200, (draw, 17), keypoints=keypoints, image_size=ImageSize(80, 64), gaps=GAPS)
        write_table(table, drawn)
        write_table(truth, drawn.labelled(drawn.truth), images="none")
        return
    known = read_table(arguments.data / "training_truth.csv", require_images=False)
    original = read_table(arguments.data / "training.zip", require_images=False)
    source = np.array([value.strip() == "1" for value in known.extra["source"]])
    complete = np.flatnonzero(source & original.observed.all(axis=(1, 2)))
    count = {"sixty": 60, "gaps": 300, "offsets": 200}[kind]
    rows = np.sort(generator.choice(complete, count, replace=False))
    hidden = np.zeros((count, len(original.keypoints)), bool)
    if kind == "gaps":
        hidden = generator.random(hidden.shape) < GAPS
    else:
        few = generator.permutation(count)[: round(count * (2 / 3 if kind == "sixty" else 3 / 5))]
        rare = [k for k, name in enumerate(original.keypoints) if name not in SECOND_SOURCE]
        hidden[np.ix_(few, rare)] = True
    cells = pd.read_csv(arguments.data / "training.zip", dtype=str, keep_default_na=False).iloc[rows]
    blanked = cells.copy()
    for k, name in enumerate(original.keypoints):
        blanked.loc[hidden[:, k], list(coordinate_columns([name]))] = ""
    for path, written in ((table, blanked), (truth, cells.drop(columns="Image"))):
        write_bytes(path, written.to_csv(index=False).encode())


def report(told: dict[str, list[Figures]], arguments: argparse.Namespace) -> None:
    rows = []
    summary: Figures = {}
    for kind, results in told.items():
        claimed = sum(bool(one["offsets"]) for one in results)
        one: Figures = {"draws": len(results), "draws with an offset": claimed, "results": results}
        cells = ["", "", "", ""]
        if "anchored" in results[0]:
            own, theirs = (np.array([r[name] for r in results]) for name in ("anchored", "iterative"))
            ratio = own / theirs
            mean, worst = float(ratio.mean()), float(ratio.max())
            one |= {"mean ratio": mean, "worst ratio": worst, "holds": mean <= 1 and worst <= WORST}
            cells = [listed(own), listed(theirs), f"{mean:.3f}", f"{worst:.3f}"]
        rows.append([kind, str(len(results)), *cells, f"{claimed} of {len(results)}"])
        summary[kind] = one
    compared = ("labelfill, RMSE px", "iterative imputer", "mean ratio", "worst ratio")
    text = as_markdown(("table", "draws", *compared, "offsets claimed"), rows)
    write_results(arguments.out, text, {"epochs": arguments.epochs or "default", "kinds": summary})


def listed(values: np.ndarray) -> str:
    return f"{values.mean():.2f} ({', '.join(f'{value:.2f}' for value in values)})"


if __name__ == "__main__":
    main()
