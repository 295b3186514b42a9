"""``labelfill report``: what came of a run, in one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import PAGE
from labelfill.cli._stages import find_table
from labelfill.settings import RunSettings, TableSettings

if TYPE_CHECKING:
    from labelfill.runs import RunDirectory


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "report",
        "write a page with the results of a run",
        description="Write one HTML page with the results of a run: rows before and after, "
        "counts, errors on\n"
        "held-out rows compared with simple methods, coverage of the error radii, label sources and\n"
        "their conventions, examples of fills, errors of the final network, and learning curves.",
        example="labelfill report --run-dir outputs --out report.html",
    )
    parser.add_path("--filled", "TABLE", "filled table to show (default: the one written last by impute)")
    parser.add_path("--out", "FILE", "page to write (default: report.html in the run directory)")
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
    from labelfill.api import looking
    from labelfill.regressors.unit_names import STAGE

    run.require_stage(STAGE)
    table = call.settings(TableSettings)
    looking.write_report(run, find_table(table.data, run), out, filled, table, progress=call.progress)
