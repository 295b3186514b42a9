"""The parsers of commands, and the options that several commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from labelfill.cli._help import command_meant
from labelfill.errors import did_you_mean
from labelfill.settings import NUMBERS, RunSettings, Settings, TableSettings, field_types, flag_name

_INVALID_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from ([^)]*)\)")
_LONGEST_LIST = 60


class CommandParser(argparse.ArgumentParser):
    """A parser whose usage errors are one sentence that names what was meant and the command's help.

    Attributes
    ----------
    gone
        Options that the command once had, and the sentence that refuses each.
    """

    gone: Mapping[str, str] = {}

    def error(self, message: str) -> NoReturn:
        choice = _INVALID_CHOICE.search(message)
        if choice is not None and len(choice[2]) > _LONGEST_LIST:
            known = [name.strip("' ") for name in choice[2].split(",")]
            command = command_meant(choice[1])
            meant = f"; did you mean {command!r}?" if command in known else did_you_mean(choice[1], known)
            message = message[: choice.start()] + f"invalid choice: '{choice[1]}'" + (
                meant or f" (choose from {choice[2]})"
            )  # fmt: skip
        self.exit(2, f"labelfill: error: {message}; see `{self.prog} --help`\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but what is not understood is compared with the options of its command."""
        known, rest = self.parse_known_args(args, namespace)
        if rest:
            parser = self.commands().get(getattr(known, "command", None) or "", self)
            option = next((word.partition("=")[0] for word in rest if word.startswith("--")), None)
            if option is not None and option in parser.gone:
                parser.error(parser.gone[option])
            meant = "" if option is None else did_you_mean(option, parser._option_string_actions)
            parser.error(f"unrecognized arguments: {' '.join(rest)}{meant}")
        return known

    def commands(self) -> dict[str, CommandParser]:
        """The parsers of the commands below this one, by name."""
        return {
            name: parser
            for action in self._actions
            if isinstance(action, argparse._SubParsersAction)
            for name, parser in action.choices.items()
        }

    def add_settings(self, cls: type[Settings], *names: str) -> None:
        """One flag for each named setting, with the help text and default that its section states."""
        kinds = field_types(cls)
        for name in names:
            kind = kinds[name]
            about = kind.about.replace("%", "%%")
            if kind.plain is bool:
                self.add_argument(flag_name(name), action="store_const", const=True, help=about)
                continue
            if kind.plain == NUMBERS:
                self.add_argument(flag_name(name), metavar=kind.metavar, help=about, action="append")
                continue
            if kind.default is not None:
                about += f" (default: {kind.default})"
            # Values stay text here: the settings check them, in the same words as for a file or a variable.
            self.add_argument(flag_name(name), metavar=kind.metavar, help=about)

    def add_path(
        self, name: str, metavar: str, about: str, *, required: bool = False, nargs: str | None = None
    ) -> None:
        """A file or a folder."""
        action = self.add_argument(name, type=Path, metavar=metavar, help=about, nargs=nargs)
        action.required |= required

    def add_switch(self, name: str, about: str) -> None:
        """What is done if it is given."""
        self.add_argument(name, action="store_true", help=about)

    def add_settings_file(self, about: str = "settings file (TOML)") -> None:
        """--settings."""
        self.add_path("--settings", "FILE", about)

    def add_run_options(self) -> None:
        """--run-dir, --seed, --force and --settings."""
        self.add_settings(RunSettings, "run_dir", "seed")
        self.add_switch("--force", "start over and overwrite existing outputs")
        self.add_settings_file(
            "settings file (TOML); environment variables and flags override it (default: "
            "labelfill.toml, if it exists)"
        )

    def add_reading_options(self) -> None:
        """What says how the values of a table and of its images are understood."""
        self.add_settings(TableSettings, "image_column", "missing_value", "min_likelihood", "coordinates")
        self.add_settings(TableSettings, "no_exif_turn")

    def add_dry_run_option(self) -> None:
        """--dry-run."""
        self.add_switch(
            "--dry-run",
            "read the table, print what would be done (with an estimate of training time), and write nothing",
        )

    def add_stage_options(self) -> None:
        """What every stage that reads a table takes."""
        self.add_settings(TableSettings, "data")
        self.add_run_options()
        self.add_dry_run_option()
        self.add_settings(RunSettings, "device", "backend", "scheduler")

    def add_keypoints(self, rows: str) -> None:
        """--keypoints, of which those are rare that few of some rows label."""
        self.add_argument(
            "--keypoints",
            default="all",
            metavar="all|rare|NAME,...",
            help=f"keypoints to score; rare: those labelled in fewer than half of {rows} (default: all)",
        )

    def add_page_options(self) -> None:
        """What commands take that write a page on a run."""
        self.add_settings(RunSettings, "run_dir")
        self.add_settings(TableSettings, "allow_outside")
        self.add_switch("--force", "overwrite an existing page")
        self.add_settings_file()

    def add_output_options(self) -> None:
        """-v, -q and --json."""
        loudness = self.add_mutually_exclusive_group()
        loudness.add_argument("-v", "--verbose", action="store_true", help="print more, and show tracebacks")
        loudness.add_argument(
            "-q", "--quiet", action="store_true", help="print only warnings and errors, no progress"
        )
        self.add_switch("--json", "print the result as JSON")


def keypoints_asked(text: str) -> str | list[str]:
    """Keypoints to score: all, those that are rare, or names."""
    return text if text in ("all", "rare") else names_listed(text)


def names_listed(text: str) -> list[str]:
    """The names of a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


class Commands:
    """The commands of a program's parser."""

    def __init__(self, program: CommandParser) -> None:
        self._parsers = program.add_subparsers(title="commands", metavar="COMMAND", dest="command")

    def add(self, name: str, summary: str, *, description: str, example: str) -> CommandParser:
        """A command's parser; its help ends with an example."""
        return self._parsers.add_parser(
            name,
            help=summary,
            description=description,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # an abbreviation that works today may be ambiguous tomorrow
        )
