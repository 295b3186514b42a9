"""One call of a command: its options, the settings that come of them, and how its result is printed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from labelfill.cli._printing import Line, Result, printed
from labelfill.errors import UsageError
from labelfill.settings import SECTIONS, Settings, read_toml, resolve

S = TypeVar("S", bound=Settings)

SETTINGS_FILE = Path("labelfill.toml")
REPLACE = "choose another file, or use --force to overwrite it"
OVERWRITE = "choose another file, or use --force to overwrite it"


class Call:
    """A command as it was called.

    Attributes
    ----------
    given
        Its options and arguments.
    """

    def __init__(self, given: argparse.Namespace, environment: Mapping[str, str] | None = None) -> None:
        path = getattr(given, "settings", None)
        if path is None and hasattr(given, "settings") and SETTINGS_FILE.is_file():
            path = SETTINGS_FILE
        self.given = given
        self._toml = read_toml(path, SECTIONS) if path is not None else {}
        self._environment = os.environ if environment is None else environment

    def settings(self, cls: type[S]) -> S:
        """The settings of a section: from the settings file, the environment and the options."""
        return resolve(cls, self._toml, self._environment, vars(self.given))

    @property
    def progress(self) -> bool:
        """Whether to draw progress bars (they hide by themselves where stderr is no terminal)."""
        return not self.given.quiet

    def refuse_existing(self, path: Path | None, remedy: str = REPLACE) -> None:
        """Refuse to write to a file that exists, unless --force is given.

        Raises
        ------
        UsageError
            With the `remedy`.
        """
        if path is not None and path.exists() and not self.given.force:
            raise UsageError(f"{path} already exists: {remedy}")

    def tell(self, result: Result, lines: Sequence[Line], beside: Result | None = None) -> None:
        """A result on stdout: as JSON, or by its declared lines, which may name what is known `beside` it."""
        if not self.given.json:
            print(printed(lines, {**result, **(beside or {})}))
            return
        import json

        from labelfill.runs import json_value

        print(json.dumps(json_value(result), indent=2, allow_nan=False))
