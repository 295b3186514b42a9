"""``labelfill init``: a settings file to start from."""

from __future__ import annotations

import argparse
from pathlib import Path

from labelfill.cli._options import SETTINGS_FILE, Subparsers, add_command, add_output_options, print_result
from labelfill.errors import EXIT_DONE, UsageError
from labelfill.settings import SECTIONS, template


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
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
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    add_output_options(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    if out.exists() and not arguments.force:
        raise UsageError(f"{out} exists already: use --force to overwrite it, or write to another file")

    from labelfill.runs import write_bytes

    write_bytes(out, template(SECTIONS).encode())
    print_result({"out": str(out)}, as_json=arguments.json, text=f"wrote {out}")
    return EXIT_DONE
