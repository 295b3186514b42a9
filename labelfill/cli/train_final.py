"""``labelfill train-final``: the third of the three stages."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfill.cli._inputs import learning_curves, open_run, with_curves
from labelfill.cli._options import (
    Resolver,
    Subparsers,
    add_command,
    add_device_option,
    add_dry_run_option,
    add_output_options,
    add_run_options,
    add_settings,
    print_result,
    show_progress,
)
from labelfill.cli._plans import final_plan_text, print_plan
from labelfill.cli._summaries import final_text
from labelfill.errors import EXIT_DONE
from labelfill.settings import FinalModelSettings, RunSettings, TableSettings

if TYPE_CHECKING:
    from labelfill.runs import RunDirectory

COMMAND = "train-final"
SECTIONS = (FinalModelSettings,)


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        COMMAND,
        "train one network for all keypoints on a filled table",
        description="Train one network that finds all keypoints in a whole image, on a filled table;\n"
        "doubtful fills count less, and only observed labels are scored.",
        example="labelfill train-final --filled filled.csv",
    )
    parser.add_argument(
        "--filled",
        type=Path,
        metavar="TABLE",
        help="the filled table (default: the one that impute wrote last)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="ORIGINAL",
        help="the table before it was filled, where the filled one has no provenance file",
    )
    add_run_options(parser)
    add_dry_run_option(parser)
    add_device_option(parser)
    add_settings(parser, RunSettings, "tensorboard")
    add_settings(parser, TableSettings, "image_folder", "allow_outside", "distrust")
    add_settings(parser, FinalModelSettings, "preset", "labels", "epochs", "batch_size", "learning_rate")
    add_settings(parser, FinalModelSettings, "second_session_epochs", "second_session_batch", "best_by")
    add_settings(parser, FinalModelSettings, "shuffle", "equalize", "flip", "rotate", "l1", "l2", "rows")
    add_settings(parser, FinalModelSettings, "activation", "batch_norm", "dropout", "features")
    add_settings(parser, FinalModelSettings, "most_rows", "single_convention")
    add_output_options(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    settings = Resolver(arguments)
    with open_run(settings, *SECTIONS, begun=True, dry=arguments.dry_run) as run:
        if arguments.dry_run:
            planned = plan(arguments, settings, run)
            print_plan(planned, final_plan_text(planned), as_json=arguments.json)
            return EXIT_DONE
        summary = perform(arguments, settings, run)
    text = final_text(summary, settings(RunSettings).run_dir)
    print_result(summary, as_json=arguments.json, text=text)
    return EXIT_DONE


def perform(arguments: argparse.Namespace, settings: Resolver, run: RunDirectory) -> Mapping[str, Any]:
    from labelfill.final.stage import train_final

    with learning_curves(settings, run, COMMAND):
        tables, options = (arguments.filled, arguments.data), _options(arguments, settings)
        final = settings(FinalModelSettings)
        return train_final(run, *tables, final, progress=show_progress(arguments), **options)


def plan(arguments: argparse.Namespace, settings: Resolver, run: RunDirectory) -> Mapping[str, Any]:
    """What `perform` would do."""
    from labelfill.api.plans import plan_final

    tables, options = (arguments.filled, arguments.data), _options(arguments, settings)
    planned = plan_final(run, *tables, settings(FinalModelSettings), **options)
    return with_curves(settings, run, planned)


def _options(arguments: argparse.Namespace, settings: Resolver) -> dict[str, Any]:
    run_settings, table = settings(RunSettings), settings(TableSettings)
    return {
        "device": run_settings.device,
        "seed": run_settings.seed,
        "distrust": table.distrust,
        "images_beside": table.images_beside,
        "allow_outside": table.allow_outside,
        "force": arguments.force,
    }
