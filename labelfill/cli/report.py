"""``labelfill report``: what came of a run, in one page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from labelfill.cli._inputs import find_table, refuse_changed_table
from labelfill.cli._options import CommandParser, Commands, Resolver, print_result, show_progress
from labelfill.data.run_tables import read_run_table
from labelfill.errors import EXIT_DONE, UsageError
from labelfill.settings import RunSettings, TableSettings

if TYPE_CHECKING:
    from labelfill.runs import RunDirectory


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "report",
        "write a page on what came of a run",
        description="Write one HTML page on a run: counts before and after, errors of fills on held-out\n"
        "rows beside simple ways of filling, whether the error radii hold, label sources with\n"
        "both conventions, fills to look at, the final network's errors, and learning curves.",
        example="labelfill report --run-dir outputs --out report.html",
    )
    parser.add_path("--filled", "TABLE", "the filled table to show (default: the one that impute wrote last)")
    parser.add_path("--out", "FILE", "the page (default: report.html in the run directory)")
    parser.add_settings(TableSettings, "data")
    parser.add_settings(RunSettings, "run_dir")
    parser.add_settings(TableSettings, "allow_outside")
    parser.add_switch("--force", "replace a page that exists")
    parser.add_settings_file()
    return parser


def handle(arguments: argparse.Namespace) -> int:
    settings = Resolver(arguments)
    run_dir = settings(RunSettings).run_dir
    out: Path = arguments.out or run_dir / "report.html"
    if arguments.out is not None and out.exists() and not arguments.force:
        raise UsageError(f"{out} exists already: choose another file, or --force to replace it")

    from labelfill.runs import RunDirectory

    with RunDirectory.read_only(run_dir) as run:
        write_report(arguments, settings, run, arguments.filled, out)
    size = out.stat().st_size
    text = f"wrote {out} ({size / 1e6:.1f} MB): open it in a browser"
    print_result({"out": str(out), "bytes": size}, as_json=arguments.json, text=text)
    return EXIT_DONE


def write_report(
    arguments: argparse.Namespace, settings: Resolver, run: RunDirectory, filled: Path | None, out: Path
) -> None:
    """Write the report of a run with a filled table, or with the one filled last, if there is one."""
    table = settings(TableSettings)

    from labelfill.data.dataset import ImageDataset
    from labelfill.regressors.files import STAGE
    from labelfill.reports.result.filled_rows import read_filled_rows
    from labelfill.reports.result.report_page import run_report
    from labelfill.runs import write_bytes

    run.require_stage(STAGE)
    progress = show_progress(arguments)
    dataset = read_run_table(run, find_table(table.data, run), table, to_fill=True, show_progress=progress)
    refuse_changed_table(run, dataset)
    rows = None
    if filled is not None or run.last_finished("impute") is not None:
        rows = read_filled_rows(run, filled, allow_outside=table.allow_outside, progress=progress)
    write_bytes(out, run_report(run, ImageDataset.of(dataset), rows).encode())
