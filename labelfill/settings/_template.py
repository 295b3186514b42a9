"""A settings file to start from: every setting, commented out, with what it is and its default."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable

from labelfill.settings._fields import Settings, field_type
from labelfill.settings._resolution import to_toml

_HEAD = """\
# Settings of labelfill. Commands read labelfill.toml of the folder in which they are called, or the file that
# --settings names; environment variables (LABELFILL_<SECTION>_<SETTING>) win over it, and flags over both.
# Every setting is listed with its default: take away the '# ' before one to change it.
"""


def template(sections: Iterable[type[Settings]]) -> str:
    """TOML with every setting of these sections commented out; with the '# ' taken away it is valid."""
    return "\n".join([_HEAD, *(_section(cls) for cls in sections)])


def _section(cls: type[Settings]) -> str:
    lines = [f"[{cls.section}]"]
    if cls.__doc__:
        lines.insert(0, f"# {cls.__doc__.splitlines()[0]}")
    defaults = _defaults(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # every subclass is a dataclass
        about = field.metadata["about"]
        kind = field_type(cls, field.name)
        if kind.choices and not all(choice in about for choice in kind.choices):
            about += f"; one of {', '.join(kind.choices)}"
        lines += ["", *textwrap.wrap(about, 106, initial_indent="## ", subsequent_indent="## ")]
        key = field.name.replace("_", "-")
        # Without a default there is nothing to take away a '#' from.
        lines.append(f"# {key} = {defaults[key]}" if key in defaults else f"## {key} = (no default)")
    return "\n".join(lines) + "\n"


def _defaults(cls: type[Settings]) -> dict[str, str]:
    """TOML text of each default by its key."""
    _, *lines = to_toml(cls()).splitlines()
    return {key: value for key, _, value in (line.partition(" = ") for line in lines)}
