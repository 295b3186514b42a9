"""``labelfill impute``: the second of the three stages."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfill.cli._inputs import (
    chosen_engine,
    find_table,
    open_run,
    refuse_changed_table,
    tables_of_pattern,
)
from labelfill.cli._jobs import PLANNED_FILLING, PLANNED_FILLINGS, print_plan
from labelfill.cli._options import CommandParser, Commands, Resolver, print_result, show_progress
from labelfill.cli._printing import printed
from labelfill.cli._results import FILLINGS, filling_text
from labelfill.data.run_tables import read_run_table
from labelfill.errors import EXIT_CELLS_LEFT_BLANK, EXIT_DONE, UsageError
from labelfill.settings import ImputeSettings, RunSettings, TableSettings

if TYPE_CHECKING:
    from labelfill.runs import RunDirectory

_log = logging.getLogger("labelfill")

SECTIONS = (TableSettings, ImputeSettings)


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "impute",
        "fill the blank coordinates of a table",
        description="Fill every blank coordinate of a table and leave every other byte as it is\n"
        "(in JSON and Parquet: every other value).\n"
        "Where each filled value comes from stands in a second file, OUT.provenance.csv.",
        example="labelfill impute --out filled.csv",
    )
    parser.add_path(
        "--out",
        "TABLE",
        "where to write: .csv, .csv.gz or .zip (default: filled.csv in the run directory); a folder, if "
        "--data is a pattern of many tables such as 'parts/*.csv'",
    )
    parser.add_stage_options()
    parser.add_settings(TableSettings, "image_folder", "allow_outside", "distrust")
    parser.add_settings(ImputeSettings, "batch_size", "coverage", "max_radius", "corrections")
    parser.add_settings(ImputeSettings, "harmonise", "parquet", "fill_occluded")
    return parser


def handle(arguments: argparse.Namespace) -> int:
    settings = Resolver(arguments)
    many = tables_of_pattern(settings(TableSettings).data)
    with open_run(settings, *SECTIONS, begun=True, dry=arguments.dry_run) as run:
        if many is not None:
            return _each(many, arguments, settings, run)
        result = perform(arguments, settings, run)
    if arguments.dry_run:
        print_plan(result, PLANNED_FILLING, as_json=arguments.json)
        return EXIT_DONE
    text = filling_text(result, settings(ImputeSettings).coverage, settings(RunSettings).run_dir)
    print_result(result, as_json=arguments.json, text=text)
    return exit_code(result)


def exit_code(summary: Mapping[str, Any]) -> int:
    return EXIT_CELLS_LEFT_BLANK if summary["left_blank"] else EXIT_DONE


def output_path(arguments: argparse.Namespace, run: RunDirectory, table: Path) -> Path:
    """Where the filled copy of `table` goes: in the same format."""
    from labelfill.data.formats import suffix_of

    return arguments.out or run.path / f"filled{suffix_of(table)}"


def perform(arguments: argparse.Namespace, settings: Resolver, run: RunDirectory) -> Mapping[str, Any]:
    """What was done, or with --dry-run what would be."""
    table = find_table(settings(TableSettings).data, run)
    return _perform(table, output_path(arguments, run, table), arguments, settings, run)


def _each(
    tables: Mapping[str, Path], arguments: argparse.Namespace, settings: Resolver, run: RunDirectory
) -> int:
    """Fill every table of a pattern into a folder, under its own name; what is finished is not done again."""
    told = {
        "--corrections": settings(ImputeSettings).corrections,
        "--distrust": settings(TableSettings).distrust,
    }
    given = [name for name, file in told.items() if file is not None]
    if given:
        raise UsageError(f"{' and '.join(given)} names rows of one table: fill that table by itself")
    folder = arguments.out or run.path / "filled"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; many tables are filled into a folder")
    run.make_folder(folder)
    results = []
    for number, (name, path) in enumerate(tables.items(), start=1):
        if not arguments.dry_run:
            _log.info("table %d of %d: %s", number, len(tables), path)
        results.append(_perform(path, folder / name, arguments, settings, run))
    if arguments.dry_run:
        print_plan({"tables": results}, PLANNED_FILLINGS, as_json=arguments.json)
        return EXIT_DONE
    text = printed(FILLINGS, {"tables": results}, coverage=settings(ImputeSettings).coverage)
    print_result({"tables": results}, as_json=arguments.json, text=text)
    return max(map(exit_code, results))


def _perform(
    path: Path, out: Path, arguments: argparse.Namespace, settings: Resolver, run: RunDirectory
) -> Mapping[str, Any]:
    table, filling, progress = settings(TableSettings), settings(ImputeSettings), show_progress(arguments)
    dataset = read_run_table(run, path, table, to_fill=True, require_images=False, show_progress=progress)
    if table.data is None:
        refuse_changed_table(run, dataset)

    from labelfill.data.corrections import read_corrections
    from labelfill.filling.job import filling_job
    from labelfill.filling.stage import describe_filling, impute

    told = filling.corrections
    job = filling_job(
        run,
        dataset,
        out,
        filling,
        corrections=None if told is None else read_corrections(told, dataset.table),
        device=settings(RunSettings).device,
        force=arguments.force,
    )
    if arguments.dry_run:
        return describe_filling(run, job)
    result = asdict(impute(run, job, progress=progress, engine=chosen_engine(settings)))
    return {**result, "without_images": True} if run.without_images else result
