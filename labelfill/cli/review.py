"""``labelfill review``: a page in which a person goes through fills."""

from __future__ import annotations

from pathlib import Path

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import PAGE, Line
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
    parser.add_page_options()
    return parser


def handle(call: Call) -> None:
    bounds, run_dir = call.settings(ReviewSettings), call.settings(RunSettings).run_dir
    out: Path = call.given.out or run_dir / "review.html"
    call.refuse_existing(call.given.out)

    from labelfill.api.looking import review

    table = call.settings(TableSettings)
    made = review(
        run_dir, out, filled=call.given.filled, settings=bounds, table=table, force=True,
        progress=call.progress,
    )  # fmt: skip
    call.tell(made, REVIEW)


_TO_REVIEW = "{rows:row} to go through, worst first"
REVIEW: tuple[Line, ...] = (
    (lambda r: not r["rows_left_out"], _TO_REVIEW),
    (
        "rows_left_out",
        _TO_REVIEW + "; {rows_left_out:row} with fills left out (--rows and --megabytes say how many fit)",
    ),
    PAGE,
)
