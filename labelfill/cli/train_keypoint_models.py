"""``labelfill train-keypoint-models``: the first of the three stages."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labelfill.cli._inputs import chosen_engine, find_table, learning_curves, open_run, with_curves
from labelfill.cli._jobs import PLANNED_TRAINING, print_plan
from labelfill.cli._options import CommandParser, Commands, Resolver, print_result, show_progress
from labelfill.cli._results import training_text
from labelfill.data.run_tables import read_run_table
from labelfill.errors import EXIT_DONE
from labelfill.settings import KeypointModelSettings, RunSettings, TableSettings

if TYPE_CHECKING:
    from labelfill.regressors.job import TrainingJob
    from labelfill.runs import RunDirectory

COMMAND = "train-keypoint-models"
SECTIONS = (TableSettings, KeypointModelSettings)


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        COMMAND,
        "train one small network per incomplete keypoint",
        description="Train one small network for each keypoint that some row of the table lacks,\n"
        "on the rows that label it, and keep them in the run directory.",
        example="labelfill train-keypoint-models --data data/training.zip --run-dir outputs",
    )
    parser.add_stage_options()
    parser.add_settings(RunSettings, "tensorboard")
    parser.add_settings(
        TableSettings, "image_size", "source_column", "group_column", "image_folder", "allow_outside"
    )
    parser.add_settings(TableSettings, "distrust")
    parser.add_settings(KeypointModelSettings, "method", "mirror_pairs", "epochs", "batch_size")
    parser.add_settings(KeypointModelSettings, "learning_rate", "best_by")
    return parser


def handle(arguments: argparse.Namespace) -> int:
    settings = Resolver(arguments)
    with open_run(settings, *SECTIONS, begun=False, dry=arguments.dry_run) as run:
        result = perform(arguments, settings, run)
    if arguments.dry_run:
        print_plan(result, PLANNED_TRAINING, as_json=arguments.json)
    else:
        text = training_text(result, settings(RunSettings).run_dir)
        print_result(result, as_json=arguments.json, text=text)
    return EXIT_DONE


def perform(arguments: argparse.Namespace, settings: Resolver, run: RunDirectory) -> Mapping[str, Any]:
    """What was done, or with --dry-run what would be."""
    if arguments.dry_run:
        return describe(settings, run, make_job(arguments, settings, run))

    from labelfill.regressors.stage import train_keypoint_models

    with learning_curves(settings, run, COMMAND):
        job, engine = make_job(arguments, settings, run), chosen_engine(settings)
        return train_keypoint_models(run, job, progress=show_progress(arguments), engine=engine)


def make_job(arguments: argparse.Namespace, settings: Resolver, run: RunDirectory) -> TrainingJob:
    from labelfill.regressors.job import training_job

    table, run_settings = settings(TableSettings), settings(RunSettings)
    models, progress = settings(KeypointModelSettings), show_progress(arguments)
    return training_job(
        read_run_table(run, find_table(table.data), table, method=models.method, show_progress=progress),
        models,
        table=table,
        device=run_settings.device,
        seed=run_settings.seed,
        force=arguments.force,
    )


def describe(settings: Resolver, run: RunDirectory, job: TrainingJob) -> Mapping[str, Any]:
    """What would be done, and where learning curves would go."""
    from labelfill.regressors.stage import describe_training

    return with_curves(settings, run, describe_training(run, job))
