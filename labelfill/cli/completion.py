"""``labelfill completion``: a script by which a shell completes commands and options."""

from __future__ import annotations

import argparse
from pathlib import Path

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands

SHELLS = ("bash", "zsh", "fish", "tcsh")
_PATHS = ("FILE", "FOLDER", "TABLE")  # settings that are paths; their flags take text


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        "completion",
        "print a script that completes commands in a shell",
        description="Print a script for bash, zsh, fish or tcsh that completes commands, options, their\n"
        'values and file names. In ~/.bashrc: eval "$(labelfill completion bash)"; likewise in\n'
        "~/.zshrc with zsh, after compinit; in config.fish: labelfill completion fish | source;\n"
        "in ~/.tcshrc: source FILE, with the script in that file.",
        example="labelfill completion bash",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    return parser


def handle(call: Call) -> None:
    call.tell({"script": completion_script(call.given.shell)}, ("{script}",))


def completion_script(shell: str) -> str:
    """The script for a shell, from the options that the commands have."""
    import shtab

    from labelfill.cli.main import build_parser  # here: it imports this module

    parser = build_parser()  # parses nothing: its actions are only told what to offer
    for command in parser.commands().values():
        for action in command._actions:
            action.choices = _words(action)
            if action.type is Path or action.metavar in _PATHS:
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab looks for it
            if isinstance(action.metavar, str):
                action.metavar = action.metavar.replace(":", "\\:")  # shtab leaves zsh's separator as it is
    return shtab.complete(parser, shell)


def _words(action: argparse.Action) -> list[str]:
    """The words that an option takes, if it takes words: by its choices, or as its help lists them."""
    if action.choices:
        return [str(choice) for choice in action.choices]
    words = action.metavar.split("|") if isinstance(action.metavar, str) else []
    return [word for word in words if word.islower()] if len(words) > 1 else []
