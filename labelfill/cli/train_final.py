"""``labelfill train-final``: the third of the three stages."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labelfill.cli._inputs import learning_curves, open_run, with_curves
from labelfill.cli._jobs import PLANNED_FINAL, print_plan
from labelfill.cli._options import CommandParser, Commands, Resolver, print_result, show_progress
from labelfill.cli._results import final_text
from labelfill.errors import EXIT_DONE
from labelfill.settings import FinalModelSettings, RunSettings, TableSettings, gone_flags

if TYPE_CHECKING:
    from labelfill.final.job import FinalJob
    from labelfill.runs import RunDirectory

COMMAND = "train-final"
SECTIONS = (FinalModelSettings,)


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        COMMAND,
        "train one network for all keypoints on a filled table",
        description="Train one network that finds all keypoints in a whole image, on a filled table;\n"
        "doubtful fills count less, and only observed labels are scored.",
        example="labelfill train-final --filled filled.csv",
    )
    parser.add_path("--filled", "TABLE", "the filled table (default: the one that impute wrote last)")
    parser.add_path(
        "--data", "ORIGINAL", "the table before it was filled, where the filled one has no provenance file"
    )
    parser.add_run_options()
    parser.add_dry_run_option()
    parser.add_settings(RunSettings, "device")
    parser.add_settings(RunSettings, "tensorboard")
    parser.add_settings(TableSettings, "image_folder", "allow_outside", "distrust")
    parser.add_settings(FinalModelSettings, "preset", "labels", "epochs", "batch_size", "learning_rate")
    parser.add_settings(FinalModelSettings, "second_session_epochs", "second_session_batch", "best_by")
    parser.add_settings(FinalModelSettings, "equalize", "flip", "rows", "most_rows", "single_convention")
    parser.gone = gone_flags(FinalModelSettings)
    return parser


def handle(arguments: argparse.Namespace) -> int:
    settings = Resolver(arguments)
    with open_run(settings, *SECTIONS, begun=True, dry=arguments.dry_run) as run:
        result = perform(arguments, settings, run)
    if arguments.dry_run:
        print_plan(result, PLANNED_FINAL, as_json=arguments.json)
    else:
        print_result(result, as_json=arguments.json, text=final_text(result, settings(RunSettings).run_dir))
    return EXIT_DONE


def perform(arguments: argparse.Namespace, settings: Resolver, run: RunDirectory) -> Mapping[str, Any]:
    """What was done, or with --dry-run what would be."""
    if arguments.dry_run:
        from labelfill.final.stage import describe_final

        return with_curves(settings, run, describe_final(run, _job(arguments, settings, run)))

    from labelfill.final.stage import train_final

    with learning_curves(settings, run, COMMAND):
        return train_final(run, _job(arguments, settings, run), progress=show_progress(arguments))


def _job(arguments: argparse.Namespace, settings: Resolver, run: RunDirectory) -> FinalJob:
    from labelfill.final.filled_table import FilledRequest
    from labelfill.final.job import final_job

    run_settings, table = settings(RunSettings), settings(TableSettings)
    asked = FilledRequest(
        arguments.filled, arguments.data, table.distrust, table.images_beside, table.allow_outside,
        show_progress(arguments),
    )  # fmt: skip
    return final_job(
        run, asked, settings(FinalModelSettings),
        device=run_settings.device, seed=run_settings.seed, force=arguments.force,
    )  # fmt: skip
