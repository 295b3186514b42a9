"""``labelfill init``: a settings file to start from."""

from __future__ import annotations

import argparse
from pathlib import Path

from labelfill.cli._options import SETTINGS_FILE, CommandParser, Commands, print_result
from labelfill.errors import EXIT_DONE, UsageError
from labelfill.settings import SECTIONS, template


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "init",
        "write a settings file with every option, commented",
        description="Write labelfill.toml: every setting with what it is and its default, commented out.\n"
        "Commands find it by themselves in the folder in which they are called.",
        example="labelfill init",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=SETTINGS_FILE,
        metavar="FILE",
        help=f"where to write (default: {SETTINGS_FILE})",
    )
    parser.add_switch("--force", "overwrite an existing file")
    return parser


def handle(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    if out.exists() and not arguments.force:
        raise UsageError(f"{out} exists already: use --force to overwrite it, or write to another file")

    from labelfill.runs import write_bytes

    write_bytes(out, template(SECTIONS).encode())
    print_result({"out": str(out)}, as_json=arguments.json, text=f"wrote {out}")
    return EXIT_DONE
