"""``labelfill train-final``: the third of the three stages."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfill.cli._inputs import open_run
from labelfill.cli._options import (
    Resolver,
    Subparsers,
    add_command,
    add_device_option,
    add_output_options,
    add_run_options,
    add_settings,
    print_result,
    show_progress,
)
from labelfill.cli._summaries import final_text
from labelfill.errors import EXIT_DONE
from labelfill.settings import FinalModelSettings, RunSettings, TableSettings

if TYPE_CHECKING:
    from labelfill.runs import RunDirectory

SECTIONS = (FinalModelSettings,)


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "train-final",
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
    add_device_option(parser)
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
    with open_run(settings, *SECTIONS, begun=True) as run:
        summary = perform(arguments, settings, run)
    text = final_text(summary, settings(RunSettings).run_dir)
    print_result(summary, as_json=arguments.json, text=text)
    return EXIT_DONE


def perform(arguments: argparse.Namespace, settings: Resolver, run: RunDirectory) -> Mapping[str, Any]:
    run_settings, final = settings(RunSettings), settings(FinalModelSettings)

    from labelfill.final_training import train_final

    return train_final(
        run,
        arguments.filled,
        arguments.data,
        final,
        device=run_settings.device,
        seed=run_settings.seed,
        distrust=settings(TableSettings).distrust,
        images_beside=settings(TableSettings).images_beside,
        allow_outside=settings(TableSettings).allow_outside,
        force=arguments.force,
        progress=show_progress(arguments),
    )
