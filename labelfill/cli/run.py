"""``labelfill run``: the three stages in order."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from labelfill.cli import impute, report, train_final, train_keypoint_models
from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import Line, Result, printed
from labelfill.cli._stages import NOTHING_DONE, PLANNED_WRITES, find_table, open_run
from labelfill.errors import EXIT_DONE, LabelfillError
from labelfill.settings import (
    FinalModelSettings,
    ImputeSettings,
    KeypointModelSettings,
    RunSettings,
    TableSettings,
)

if TYPE_CHECKING:
    from labelfill.runs import RunDirectory

_log = logging.getLogger("labelfill")

NEEDS_IMAGES = "needs images"
SECTIONS = (TableSettings, KeypointModelSettings, ImputeSettings, FinalModelSettings)


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "run",
        "run all three stages: train, fill, train the final network",
        description="Train the keypoint models, fill the table, train the final network and write a report\n"
        "with pictures. Finished stages are skipped. Use --settings to set options of single\n"
        "stages. For a table without images use --method prior; it ends with the filled table.",
        example="labelfill run --data data/training.zip --out filled.csv",
    )
    parser.add_path(
        "--out",
        "TABLE",
        "filled table to write: .csv, .csv.gz or .zip (default: filled.csv in the run directory)",
    )
    parser.add_stage_options()
    parser.add_settings(RunSettings, "tensorboard")
    parser.add_settings(
        TableSettings, "image_size", "source_column", "group_column", "image_folder", "allow_outside"
    )
    parser.add_settings(TableSettings, "distrust")
    parser.add_reading_options()
    parser.add_settings(KeypointModelSettings, "method", "mirror_pairs")
    return parser


def handle(call: Call) -> int:
    with open_run(call, *SECTIONS, begun=False) as run:
        filled = impute.output_path(call, run, find_table(call.settings(TableSettings).data, run))
        results = (_describe if call.given.dry_run else _perform)(call, run, filled)
    if call.given.dry_run:
        call.tell(results, PLANNED)
        return EXIT_DONE
    filling, run_dir = call.settings(ImputeSettings), call.settings(RunSettings).run_dir
    beside = {"coverage": filling.coverage, "likelihood": filling.likelihood, "run_dir": run_dir}
    call.tell(results, DONE, beside)
    return impute.exit_code(results["impute"])


def _perform(call: Call, run: RunDirectory, filled: Path) -> Mapping[str, Result]:
    results = {"train-keypoint-models": train_keypoint_models.perform(call, run)}
    results["impute"] = impute.perform(call, run)
    if run.without_images:
        return {**results, "train-final": {"state": NEEDS_IMAGES}, "report": {"out": None}}
    _log.info("%s is written; the final network is next", filled)
    results["train-final"] = train_final.perform(call, run, filled, None)
    return {**results, "report": _report(call, run, filled, results)}


def _describe(call: Call, run: RunDirectory, filled: Path) -> Mapping[str, Result]:
    """What the stages would do; of those whose input is still to be made, where they would write."""
    from labelfill.filling.job import check_destination

    job = train_keypoint_models.make_job(call, run)
    training = train_keypoint_models.describe(call, run, job)
    if training["state"] == "done":
        filling = impute.perform(call, run)
    else:
        files = check_destination(
            run, job.dataset, filled, call.settings(ImputeSettings), force=call.given.force
        )
        filling = {"state": "after training", "writes": {what: str(path) for what, path in files.items()}}
    last: Result
    written = [str(run.path / "report.html")]
    if job.dataset.images is None:
        last, written = {"state": NEEDS_IMAGES}, []
    elif filling["state"] == "done":
        last = train_final.perform(call, run, filled, None)
    else:
        last = {
            "state": "after filling",
            "writes": [str(run.path / folder) for folder in ("final", "report")],
        }
    plans = {"train-keypoint-models": training, "impute": filling, "train-final": last}
    return {**plans, "report": {"writes": written}}


def _report(call: Call, run: RunDirectory, filled: Path, results: Mapping[str, Result]) -> Result:
    """Write the report, unless it is there and nothing was done since. A run is no worse for lacking it."""
    out = run.path / "report.html"
    if out.exists() and all(result["state"] == "done before" for result in results.values()):
        return {"out": str(out)}
    try:
        report.write_report(call, run, filled, out)
    except LabelfillError as error:
        _log.warning("the report was not written: %s", error)
        return {"out": None}
    return {"out": str(out)}


# Of stages whose input is still to be made, or cannot be, by their state.
_WITHOUT_INPUT: dict[str, tuple[Line, ...]] = {
    "after training": ("would run after the models are trained", PLANNED_WRITES),
    "after filling": ("would run after the table is filled", PLANNED_WRITES),
    NEEDS_IMAGES: ("none: it needs images, and the table has none; the result is the filled table",),
}
# Title of each stage, and its lines before and after it is done.
_STAGES = {
    "train-keypoint-models": (
        "keypoint models", train_keypoint_models.PLANNED_TRAINING, train_keypoint_models.TRAINING
    ),
    "impute": ("fill", impute.PLANNED_FILLING, impute.FILLING),
    "train-final": ("final network", train_final.PLANNED_FINAL, train_final.FINAL),
}  # fmt: skip


def _planned(r: Result) -> list[str]:
    return _parts({title: (planned, r[stage]) for stage, (title, planned, _) in _STAGES.items()})


def _done(r: Result) -> list[str]:
    """The texts of the stages; of the commands that would come next, the last stage's alone is told."""
    beside = {
        "impute": {"coverage": r["coverage"], "likelihood": r["likelihood"]},
        "train-final": {"run_dir": r["run_dir"]},
    }
    return _parts(
        {
            title: (lines, {**r[stage], **beside.get(stage, {})})
            for stage, (title, _, lines) in _STAGES.items()
        }
    )


def _parts(stages: Mapping[str, tuple[tuple[Line, ...], Result]]) -> list[str]:
    """The texts of the stages below each other, with their titles."""
    texts = {
        title: printed(_WITHOUT_INPUT.get(result["state"], lines), result)
        for title, (lines, result) in stages.items()
    }
    return ["\n\n".join(f"== {title}\n{text}" for title, text in texts.items())]


PLANNED: tuple[Line, ...] = (f"{NOTHING_DONE}\n", _planned)
DONE: tuple[Line, ...] = ((lambda r: r["report"]["out"], "all of this with pictures: {report[out]}\n"), _done)
