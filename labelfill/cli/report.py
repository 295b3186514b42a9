"""``labelfill report``: what came of a run, in one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import PAGE
from labelfill.cli._stages import find_table, refuse_changed_table
from labelfill.data.run_tables import read_run_table
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
    parser.add_page_options()
    return parser


def handle(call: Call) -> None:
    run_dir = call.settings(RunSettings).run_dir
    out: Path = call.given.out or run_dir / "report.html"
    call.refuse_existing(call.given.out)

    from labelfill.runs import RunDirectory

    with RunDirectory.read_only(run_dir) as run:
        write_report(call, run, call.given.filled, out)
    call.tell({"out": str(out), "bytes": out.stat().st_size}, (PAGE,))


def write_report(call: Call, run: RunDirectory, filled: Path | None, out: Path) -> None:
    """Write the report of a run with a filled table, or with the one filled last, if there is one."""
    table = call.settings(TableSettings)

    from labelfill.data.dataset import ImageDataset
    from labelfill.regressors.files import STAGE
    from labelfill.reports.result.filled_rows import read_filled_rows
    from labelfill.reports.result.report_page import run_report
    from labelfill.runs import write_bytes

    run.require_stage(STAGE)
    path = find_table(table.data, run)
    dataset = read_run_table(run, path, table, to_fill=True, show_progress=call.progress)
    refuse_changed_table(run, dataset)
    rows = None
    if filled is not None or run.last_finished("impute") is not None:
        rows = read_filled_rows(run, filled, allow_outside=table.allow_outside, progress=call.progress)
    write_bytes(out, run_report(run, ImageDataset.of(dataset), rows).encode())
