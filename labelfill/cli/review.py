"""``labelfill review``: a page in which a person goes through fills."""

from __future__ import annotations

import argparse
from pathlib import Path

from labelfill.cli._options import CommandParser, Commands, Resolver, print_result, show_progress
from labelfill.cli._printing import printed
from labelfill.cli._results import REVIEW
from labelfill.errors import EXIT_DONE, UsageError
from labelfill.settings import ReviewSettings, RunSettings, TableSettings


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "review",
        "write a page in which a person goes through fills",
        description="Write one HTML page that shows the fills which deserve a look most, worst first:\n"
        "accept, move or reject each, mark labels as wrong, and download corrections.csv. The page\n"
        "needs no server and no network; what was decided is kept in the browser.",
        example="labelfill review --filled filled.csv --rows 200",
    )
    parser.add_path("--filled", "TABLE", "the filled table (default: the one that impute wrote last)")
    parser.add_path("--out", "FILE", "the page (default: review.html in the run directory)")
    parser.add_settings(ReviewSettings, "rows", "megabytes")
    parser.add_settings(RunSettings, "run_dir")
    parser.add_settings(TableSettings, "allow_outside")
    parser.add_switch("--force", "replace a page that exists")
    parser.add_settings_file()
    return parser


def handle(arguments: argparse.Namespace) -> int:
    settings = Resolver(arguments)
    bounds, run_dir = settings(ReviewSettings), settings(RunSettings).run_dir
    out: Path = arguments.out or run_dir / "review.html"
    if arguments.out is not None and out.exists() and not arguments.force:
        raise UsageError(f"{out} exists already: choose another file, or --force to replace it")

    from labelfill.reports.result.filled_rows import read_filled_rows
    from labelfill.reports.review.review_page import review_page
    from labelfill.runs import RunDirectory, write_bytes

    with RunDirectory.read_only(run_dir) as run:
        filled = read_filled_rows(
            run,
            arguments.filled,
            allow_outside=settings(TableSettings).allow_outside,
            progress=show_progress(arguments),
        )
    made = review_page(filled, most_rows=bounds.rows, most_bytes=round(bounds.megabytes * 1e6))
    write_bytes(out, made.html.encode())
    summary = {
        "out": str(out),
        "rows": made.rows,
        "rows_left_out": made.left_out,
        "bytes": out.stat().st_size,
    }
    print_result(summary, as_json=arguments.json, text=printed(REVIEW, summary))
    return EXIT_DONE
