"""``labelfill init``: a settings file to start from."""

from __future__ import annotations

from pathlib import Path

from labelfill.cli._call import OVERWRITE, SETTINGS_FILE, Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.settings import SECTIONS, template


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "init",
        "write a settings file with every option commented out",
        description="Write labelfill.toml, which lists every setting with its meaning and "
        "default, commented out.\n"
        "Commands read it from the folder in which they are run.",
        example="labelfill init",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=SETTINGS_FILE,
        metavar="FILE",
        help=f"file to write (default: {SETTINGS_FILE})",
    )
    parser.add_switch("--force", "overwrite an existing file")
    return parser


def handle(call: Call) -> None:
    out: Path = call.given.out
    call.refuse_existing(out, OVERWRITE)

    from labelfill.runs import write_bytes

    write_bytes(out, template(SECTIONS).encode())
    call.tell({"out": str(out)}, ("wrote {out}",))
