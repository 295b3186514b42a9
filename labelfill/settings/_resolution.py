"""Settings from a TOML file, the environment and flags: the later of these wins."""

from __future__ import annotations

import json
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from labelfill.errors import StorageError, UsageError, nearest, refuse_endless
from labelfill.schema import ImageSize
from labelfill.settings._fields import Settings, convert, field_types, flag_name, gone_sentence

_HEAD = """\
# Settings of labelfill. Commands read labelfill.toml of the folder in which they are called, or the file that
# --settings names; environment variables (LABELFILL_<SECTION>_<SETTING>) win over it, and flags over both.
# Every setting is listed with its default: take away the '# ' before one to change it.
"""


S = TypeVar("S", bound=Settings)


def read_toml(path: Path, sections: Iterable[type[Settings]], *, earlier: bool = False) -> dict[str, Any]:
    """A settings file whose tables are all known.

    Parameters
    ----------
    earlier
        Whether an earlier version may have written it, with settings that are gone.

    Raises
    ------
    StorageError
        If it cannot be read.
    UsageError
        If it is not TOML, or holds a table or a key of no meaning, or one that is gone.
    """
    try:
        refuse_endless(path)
        toml = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"cannot read the settings file {path}: {error.strerror}") from error
    # Not TOML or UTF-8, a number of thousands of digits, or nested too deep.
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the settings file {path} is not TOML: {error}") from error
    known = {cls.section: cls for cls in sections}
    for name, table in toml.items():
        if name not in known:
            raise UsageError(f"{path}: unknown table [{name}]{_nearest(name, known)}")
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} must be a table [{name}], not a value")
        keys = [setting.replace("_", "-") for setting in field_types(known[name])]
        for key in table:
            setting = key.replace("-", "_")
            if setting in known[name].gone:
                if not earlier:
                    raise UsageError(gone_sentence(known[name], setting, f"{path}: [{name}] {key}"))
            elif key.replace("_", "-") not in keys:
                raise UsageError(f"{path}: [{name}] has no setting {key!r}{_nearest(key, keys)}")
    return toml


def resolve(
    cls: type[S], toml: Mapping[str, Any], environment: Mapping[str, str], flags: Mapping[str, Any]
) -> S:
    """Settings of one section: TOML file < environment < flag.

    Parameters
    ----------
    toml
        The whole file as `read_toml` gives it; empty without one.
    environment
        As ``os.environ``; ``LABELFILL_<SECTION>_<NAME>`` counts, an empty text does not.
    flags
        By the names of the fields; None means not given, names of other sections are passed over.

    Raises
    ------
    UsageError
        If a value is refused, or a flag or variable is given that does nothing beside the others, or whose
        setting is gone.
    """
    prefix = f"LABELFILL_{cls.section.upper().replace('-', '_')}_"
    table = toml.get(cls.section, {})
    for name in cls.gone:
        if environment.get(prefix + name.upper()):
            raise UsageError(gone_sentence(cls, name, prefix + name.upper()))
    values: dict[str, Any] = {}
    said_by: dict[str, str] = {}
    for name, kind in field_types(cls).items():
        key, variable = name.replace("_", "-"), prefix + name.upper()
        for where, given in (
            (f"settings file, [{cls.section}] {key}", table.get(key, table.get(name))),
            (variable, environment.get(variable) or None),
            (flag_name(name), flags.get(name)),
        ):
            if given is not None:
                values[name] = convert(kind, given, where)
                said_by[name] = where
    try:
        settings = cls(**values)
    except UsageError as error:
        # "epochs must be ..." -> "--epochs must be ...", as the person gave it
        name, _, rest = str(error).partition(" ")
        raise UsageError(f"{said_by.get(name, name)} {rest}") from None
    for name, reason in settings.idle().items():
        # A settings file may hold them: the file that a run writes holds everything.
        if name in said_by and not said_by[name].startswith("settings file"):
            raise UsageError(f"{said_by[name]} has no effect: {reason}; leave it out")
    return settings


def to_toml(*settings: Settings, beside: Mapping[str, Any] | None = None) -> str:
    """Settings as a TOML file that `read_toml` takes back; what is None or empty is left out.

    `beside` holds tables of an earlier file, which are kept for the sections that are not given.
    """
    tables: dict[str, Mapping[str, object]] = dict(beside or {})
    for section in settings:
        given = {name: value for name, value in vars(section).items() if value not in (None, ())}
        tables[section.section] = {name.replace("_", "-"): value for name, value in given.items()}
    blocks = [
        "".join([f"[{name}]\n", *(f"{key} = {_toml_value(value)}\n" for key, value in table.items())])
        for name, table in tables.items()
    ]
    return "\n".join(blocks)


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = nearest(word.replace("_", "-"), known)
    return f"; there are {', '.join(known)}" if near is None else f"; did you mean {near}?"


def _toml_value(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, bool | int | float):
        return repr(value).lower()
    if not isinstance(value, str | Path | ImageSize):
        raise UsageError(f"{value!r} cannot be written to a settings file")
    # JSON's escapes are TOML's, but for the one control character that JSON lets stand.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def template(sections: Iterable[type[Settings]]) -> str:
    """TOML with every setting of these sections commented out; with the '# ' taken away it is valid."""
    return "\n".join([_HEAD, *(_section(cls) for cls in sections)])


def _section(cls: type[Settings]) -> str:
    lines = [f"[{cls.section}]"]
    if cls.__doc__:
        lines.insert(0, f"# {cls.__doc__.splitlines()[0]}")
    for name, kind in field_types(cls).items():
        about, key = kind.about, name.replace("_", "-")
        if kind.choices and not all(choice in about for choice in kind.choices):
            about += f"; one of {', '.join(kind.choices)}"
        lines += ["", *textwrap.wrap(about, 106, initial_indent="## ", subsequent_indent="## ")]
        # Without a default there is nothing to take away a '#' from.
        absent = kind.default in (None, ())
        lines.append(f"## {key} = (no default)" if absent else f"# {key} = {_toml_value(kind.default)}")
    return "\n".join(lines) + "\n"
