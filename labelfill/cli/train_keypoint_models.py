"""``labelfill train-keypoint-models``: the first of the three stages."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labelfill.cli._inputs import chosen_engine, find_table, learning_curves, open_run, with_curves
from labelfill.cli._options import (
    Resolver,
    Subparsers,
    add_command,
    add_data_option,
    add_device_option,
    add_dry_run_option,
    add_engine_options,
    add_output_options,
    add_run_options,
    add_settings,
    print_result,
    show_progress,
)
from labelfill.cli._plans import print_plan, training_plan_text
from labelfill.cli._summaries import training_text
from labelfill.data.run_tables import read_run_table
from labelfill.errors import EXIT_DONE
from labelfill.settings import KeypointModelSettings, RunSettings, TableSettings

if TYPE_CHECKING:
    from labelfill.data.dataset import Dataset
    from labelfill.runs import RunDirectory

COMMAND = "train-keypoint-models"
SECTIONS = (TableSettings, KeypointModelSettings)


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        COMMAND,
        "train one small network per incomplete keypoint",
        description="Train one small network for each keypoint that some row of the table lacks,\n"
        "on the rows that label it, and keep them in the run directory.",
        example="labelfill train-keypoint-models --data data/training.zip --run-dir outputs",
    )
    add_data_option(parser)
    add_run_options(parser)
    add_dry_run_option(parser)
    add_device_option(parser)
    add_engine_options(parser)
    add_settings(parser, RunSettings, "tensorboard")
    add_settings(
        parser, TableSettings, "image_size", "source_column", "group_column", "image_folder", "allow_outside"
    )
    add_settings(parser, TableSettings, "distrust")
    add_settings(parser, KeypointModelSettings, "method", "mirror_pairs", "epochs", "batch_size")
    add_settings(parser, KeypointModelSettings, "learning_rate", "best_by")
    add_output_options(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    settings = Resolver(arguments)
    with open_run(settings, *SECTIONS, begun=False, dry=arguments.dry_run) as run:
        if arguments.dry_run:
            planned = plan(arguments, settings, run, read_table(arguments, settings, run))
            print_plan(planned, training_plan_text(planned), as_json=arguments.json)
            return EXIT_DONE
        summary = perform(arguments, settings, run)
    text = training_text(summary, settings(RunSettings).run_dir)
    print_result(summary, as_json=arguments.json, text=text)
    return EXIT_DONE


def read_table(arguments: argparse.Namespace, settings: Resolver, run: RunDirectory) -> Dataset:
    table = settings(TableSettings)
    return read_run_table(run, find_table(table.data), table, show_progress=show_progress(arguments))


def perform(arguments: argparse.Namespace, settings: Resolver, run: RunDirectory) -> Mapping[str, Any]:
    from labelfill.regressors.stage import train_keypoint_models

    progress = show_progress(arguments)
    with learning_curves(settings, run, COMMAND):
        dataset = read_table(arguments, settings, run)
        chosen, options = settings(KeypointModelSettings), _options(arguments, settings)
        engine = chosen_engine(settings)
        return train_keypoint_models(run, dataset, chosen, progress=progress, engine=engine, **options)


def plan(
    arguments: argparse.Namespace, settings: Resolver, run: RunDirectory, dataset: Dataset
) -> Mapping[str, Any]:
    """What `perform` would do."""
    from labelfill.api.plans import plan_training

    chosen, options = settings(KeypointModelSettings), _options(arguments, settings)
    return with_curves(settings, run, plan_training(run, dataset, chosen, **options))


def _options(arguments: argparse.Namespace, settings: Resolver) -> dict[str, Any]:
    run_settings = settings(RunSettings)
    return {
        "table": settings(TableSettings),
        "device": run_settings.device,
        "seed": run_settings.seed,
        "force": arguments.force,
    }
