"""``labelfill run``: the three stages in order."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfill.cli import impute, report, train_final, train_keypoint_models
from labelfill.cli._inputs import find_table, open_run
from labelfill.cli._jobs import (
    NEEDS_IMAGES,
    NOTHING_DONE,
    PLANNED_FILLING,
    PLANNED_FINAL,
    PLANNED_LATER,
    PLANNED_TRAINING,
)
from labelfill.cli._options import CommandParser, Commands, Resolver, print_result
from labelfill.cli._printing import printed
from labelfill.cli._results import WITHOUT_FINAL, filling_text, final_text, training_text
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

SECTIONS = (TableSettings, KeypointModelSettings, ImputeSettings, FinalModelSettings)


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "run",
        "do all three stages: train, fill, train the final network",
        description="Train the keypoint models, fill the table, train the final network and write a report\n"
        "with pictures. Stages that are finished are not done again. Settings of single stages\n"
        "come from --settings. A table without images is filled by --method prior, and that is all.",
        example="labelfill run --data data/training.zip --out filled.csv",
    )
    parser.add_path(
        "--out", "TABLE", "the filled table: .csv, .csv.gz or .zip (default: filled.csv in the run directory)"
    )
    parser.add_stage_options()
    parser.add_settings(RunSettings, "tensorboard")
    parser.add_settings(
        TableSettings, "image_size", "source_column", "group_column", "image_folder", "allow_outside"
    )
    parser.add_settings(TableSettings, "distrust")
    parser.add_settings(KeypointModelSettings, "method", "mirror_pairs")
    return parser


def handle(arguments: argparse.Namespace) -> int:
    settings = Resolver(arguments)
    with open_run(settings, *SECTIONS, begun=False, dry=arguments.dry_run) as run:
        filled = impute.output_path(arguments, run, find_table(settings(TableSettings).data, run))
        final = argparse.Namespace(**{**vars(arguments), "filled": filled, "data": None})
        if arguments.dry_run:
            plans = _describe(arguments, final, settings, run)
            print_result(plans, as_json=arguments.json, text=_planned_text(plans))
            return EXIT_DONE
        results = {"train-keypoint-models": train_keypoint_models.perform(arguments, settings, run)}
        results["impute"] = impute.perform(arguments, settings, run)
        if run.without_images:
            results["train-final"], results["report"] = {"state": NEEDS_IMAGES}, {"out": None}
        else:
            results["train-final"] = train_final.perform(final, settings, run)
            results["report"] = _report(arguments, settings, run, filled, results)
    print_result(results, as_json=arguments.json, text=_text(results, settings))
    return impute.exit_code(results["impute"])


def _describe(
    arguments: argparse.Namespace, final: argparse.Namespace, settings: Resolver, run: RunDirectory
) -> Mapping[str, Mapping[str, Any]]:
    """What the stages would do; of those whose input is still to be made, where they would write."""
    from labelfill.filling.job import check_destination

    job = train_keypoint_models.make_job(arguments, settings, run)
    training = train_keypoint_models.describe(settings, run, job)
    if training["state"] == "done":
        filling = impute.perform(arguments, settings, run)
    else:
        files = check_destination(
            run, job.dataset, final.filled, settings(ImputeSettings), force=arguments.force
        )
        filling = {"state": "after training", "writes": {what: str(path) for what, path in files.items()}}
    last: Mapping[str, Any]
    written = [str(run.path / "report.html")]
    if job.dataset.images is None:
        last, written = {"state": NEEDS_IMAGES}, []
    elif filling["state"] == "done":
        last = train_final.perform(final, settings, run)
    else:
        last = {
            "state": "after filling",
            "writes": [str(run.path / folder) for folder in ("final", "report")],
        }
    plans = {"train-keypoint-models": training, "impute": filling, "train-final": last}
    return {**plans, "report": {"writes": written}}


def _report(
    arguments: argparse.Namespace,
    settings: Resolver,
    run: RunDirectory,
    filled: Path,
    results: Mapping[str, Mapping[str, Any]],
) -> Mapping[str, Any]:
    """Write the report, unless it is there and nothing was done since. A run is no worse for lacking it."""
    out = run.path / "report.html"
    if out.exists() and all(result["state"] == "done before" for result in results.values()):
        return {"out": str(out)}
    try:
        report.write_report(arguments, settings, run, filled, out)
    except LabelfillError as error:
        _log.warning("no report is written: %s", error)
        return {"out": None}
    return {"out": str(out)}


def _text(results: Mapping[str, Mapping[str, Any]], settings: Resolver) -> str:
    run_dir = settings(RunSettings).run_dir
    report = results["report"]["out"]
    return _titled(
        None if report is None else f"all of this with pictures: {report}",
        training_text(results["train-keypoint-models"], run_dir, following=False),
        filling_text(results["impute"], settings(ImputeSettings).coverage, run_dir, following=False),
        printed(WITHOUT_FINAL, results)
        if results["train-final"]["state"] == NEEDS_IMAGES
        else final_text(results["train-final"], run_dir),
    )


def _planned_text(plans: Mapping[str, Mapping[str, Any]]) -> str:
    planned = {
        "train-keypoint-models": PLANNED_TRAINING, "impute": PLANNED_FILLING, "train-final": PLANNED_FINAL
    }  # fmt: skip
    texts = [
        printed(PLANNED_LATER.get(plans[stage]["state"], lines), plans[stage])
        for stage, lines in planned.items()
    ]
    return _titled(NOTHING_DONE, *texts)


def _titled(first: str | None, *texts: str) -> str:
    """The texts of the three stages below each other, after what there is to say first."""
    titles = ("keypoint models", "fill", "final network")
    parts = [f"== {title}\n{text}" for title, text in zip(titles, texts, strict=True)]
    return "\n\n".join(parts if first is None else [first, *parts])
