"""``labelfill review``: a person goes through fills; what several people decided is merged."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import PAGE, Line, Result
from labelfill.cli._stages import next_commands
from labelfill.errors import UsageError, counted
from labelfill.settings import ReviewSettings, RunSettings, TableSettings


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "review",
        "write a page in which a person goes through fills",
        description="Write one HTML page that shows the fills that most need a look, worst first:\n"
        "accept, move or reject each, mark labels as wrong, and download corrections.csv. The page\n"
        "needs no server and no network; what was decided is kept in the browser.\n\n"
        "With --serve this computer serves the page to its own browsers alone, writes decisions to\n"
        "corrections.csv as they are made, and fills the table anew on demand. With --merge the\n"
        "decisions of several reviewers are compared.",
        example="labelfill review --filled filled.csv --rows 200\n"
        "  labelfill review --filled filled.csv --serve --reviewer anna\n"
        "  labelfill review --merge anna.csv ben.csv --out merged.csv",
    )
    parser.add_path("--filled", "TABLE", "the filled table (default: the one that impute wrote last)")
    parser.add_path(
        "--out",
        "FILE",
        "the page (default: review.html in the run directory); with --serve the table that is filled anew "
        "(default: reviewed.csv there); with --merge the decisions on which nobody disagrees",
    )
    parser.add_settings(ReviewSettings, "rows", "megabytes", "reviewer")
    parser.add_switch("--serve", "serve the page on 127.0.0.1 until Ctrl-C")
    parser.add_path(
        "--corrections",
        "FILE",
        "with --serve: where decisions are kept, and gone on from (default: corrections.csv in the run "
        "directory)",
    )
    parser.add_settings(ReviewSettings, "port")
    parser.add_path("--merge", "FILE", "tell where these corrections files disagree", nargs="+")
    parser.add_settings(ReviewSettings, "within")
    parser.add_page_options()
    return parser


def handle(call: Call) -> None:
    given = call.given
    _refuse_idle(call)
    if given.merge is not None:
        _merge(call)
    elif given.serve:
        _serve(call)
    else:
        _write(call)


def _refuse_idle(call: Call) -> None:
    """Refuse options that do nothing in what is asked for."""
    given = vars(call.given)
    modes = {"serve": ("corrections", "port"), "merge": ("within",)}
    if given["serve"] and given["merge"] is not None:
        raise UsageError("--serve and --merge exclude each other: give one of the two")
    for mode, options in modes.items():
        for option in options:
            if given[option] is not None and not given[mode]:
                raise UsageError(f"--{option} does something with --{mode} alone: add it, or leave it away")
    for option in ("filled", "rows", "megabytes", "reviewer"):
        if given["merge"] is not None and given[option] is not None:
            raise UsageError(f"--{option} does nothing with --merge: leave it away")


def _write(call: Call) -> None:
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


def _serve(call: Call) -> None:
    given, run = call.given, call.settings(RunSettings)

    from labelfill.reports.review.server import ReviewServer
    from labelfill.reports.review.session import ReviewSession, SessionRequest

    request = SessionRequest(
        run, given.filled, given.corrections or run.run_dir / "corrections.csv", given.out,
        call.settings(ReviewSettings), call.settings(TableSettings), given.force, call.progress,
    )  # fmt: skip
    session = ReviewSession(request)
    server = ReviewServer(session, call.settings(ReviewSettings).port)
    server.serve(_announce)
    call.tell(session.told(), SERVED, {"run_dir": run.run_dir})


def _announce(url: str) -> None:
    """Not on stdout, where the result comes in the end; and also if nothing else is to be said."""
    print(f"open {url} in a browser; Ctrl-C ends the review", file=sys.stderr, flush=True)


def _merge(call: Call) -> None:
    call.refuse_existing(call.given.out)

    from labelfill.reports.review.merging import merge_corrections

    within = call.settings(ReviewSettings).within
    call.tell(merge_corrections(call.given.merge, call.given.out, within=within), MERGED)


_TO_REVIEW = "{rows:row} to go through, worst first"
REVIEW: tuple[Line, ...] = (
    (lambda r: not r["rows_left_out"], _TO_REVIEW),
    (
        "rows_left_out",
        _TO_REVIEW + "; {rows_left_out:row} with fills left out (--rows and --megabytes say how many fit)",
    ),
    PAGE,
)


def _next(r: Result) -> list[str]:
    if r["unfilled"]:
        command = f"labelfill impute --corrections {shlex.quote(r['corrections'])} --out better.csv"
        return next_commands(r, (command, "fill by these decisions"))
    command = f"labelfill train-final --filled {shlex.quote(r['out'])}"
    return next_commands(r, (command, "train the final network"))


SERVED: tuple[Line, ...] = (
    lambda r: [f"{counted(r['decisions'], 'decision')} in {r['corrections']}"],
    ("out", "filled anew {refills:time}: {out}"),
    (lambda r: r["unfilled"] or r["out"], _next),
)


def _files(r: Result) -> list[str]:
    return [f"{path}: {counted(n, 'decision')}" for path, n in zip(r["files"], r["decisions"], strict=True)]


def _disputed(r: Result) -> list[str]:
    """A line for each point on which reviewers disagree."""
    lines = [f"disagreement on {counted(len(r['disputed']), 'point')}:"]
    for point in r["disputed"]:
        words = "; ".join(map(_decided, point["decisions"]))
        apart = "" if point["distance"] is None else f" ({point['distance']:.1f} px apart)"
        lines.append(f"  row {point['row']}, {point['keypoint']}: {words}{apart}")
    return lines


def _decided(decision: Result) -> str:
    place = decision["place"]
    at = "" if place is None else f" at {place[0]:.1f}, {place[1]:.1f}"
    return f"{decision['reviewer']} {decision['action']}{at}"


MERGED: tuple[Line, ...] = (
    _files,
    "agreement on {agreed:point} (places at most {within:g} px apart); decided by one alone: {alone:point}",
    ("disputed", _disputed),
    ("out", lambda r: [f"wrote {r['out']} ({counted(r['agreed'] + r['alone'], 'decision')})"]),
)
