"""Settings from a TOML file, the environment and flags: the later of these wins."""

from __future__ import annotations

import dataclasses
import difflib
import json
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from labelfill.errors import StorageError, UsageError
from labelfill.schema import ImageSize
from labelfill.settings._fields import Settings, convert, field_type, flag_name, gone_sentence

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
        toml = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the settings file {path} is not TOML: {error}") from error
    known = {cls.section: cls for cls in sections}
    for name, table in toml.items():
        if name not in known:
            raise UsageError(f"{path}: there is no table [{name}]{_nearest(name, known)}")
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} must be a table [{name}], not a value")
        _refuse_unknown(known[name], table, f"{path}: [{name}]", earlier=earlier)
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
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]  # always a dataclass
    prefix = f"LABELFILL_{cls.section.upper().replace('-', '_')}_"
    table = toml.get(cls.section, {})
    _refuse_unknown(cls, table, f"[{cls.section}]")
    for name in cls.gone:
        if environment.get(prefix + name.upper()):
            raise UsageError(gone_sentence(cls, name, prefix + name.upper()))
    values: dict[str, Any] = {}
    said_by: dict[str, str] = {}
    for name in names:
        key, variable = name.replace("_", "-"), prefix + name.upper()
        for where, given in (
            (f"settings file, [{cls.section}] {key}", table.get(key, table.get(name))),
            (variable, environment.get(variable) or None),
            (flag_name(name), flags.get(name)),
        ):
            if given is not None:
                values[name] = convert(cls, name, given, where)
                said_by[name] = where
    settings = _make(cls, values, said_by)
    for name, reason in settings.idle().items():
        # A settings file may hold them: the file that a run writes holds everything.
        if name in said_by and not said_by[name].startswith("settings file"):
            raise UsageError(f"{said_by[name]} would do nothing: {reason}; leave it out")
    return settings


def to_toml(*settings: Settings, beside: Mapping[str, Any] | None = None) -> str:
    """Settings as a TOML file that `read_toml` takes back; what is None is left out.

    `beside` holds tables of an earlier file, which are kept for the sections that are not given.
    """
    tables: dict[str, Mapping[str, object]] = dict(beside or {})
    for section in settings:
        names = [field.name for field in dataclasses.fields(section)]  # type: ignore[arg-type]  # always a dataclass
        values = {name.replace("_", "-"): getattr(section, name) for name in names}
        tables[section.section] = {key: value for key, value in values.items() if value is not None}
    blocks = [
        "".join([f"[{name}]\n", *(f"{key} = {_toml_value(value)}\n" for key, value in table.items())])
        for name, table in tables.items()
    ]
    return "\n".join(blocks)


def _make(cls: type[S], values: dict[str, Any], said_by: Mapping[str, str]) -> S:
    try:
        return cls(**values)
    except UsageError as error:
        # "epochs must be ..." -> "--epochs must be ...", as the person gave it
        name, _, rest = str(error).partition(" ")
        raise UsageError(f"{said_by.get(name, name)} {rest}") from None


def _refuse_unknown(
    cls: type[Settings], table: Mapping[str, Any], where: str, *, earlier: bool = False
) -> None:
    keys = [field.name.replace("_", "-") for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in table:
        name = key.replace("-", "_")
        if name in cls.gone:
            if not earlier:
                raise UsageError(gone_sentence(cls, name, f"{where} {key}"))
        elif key.replace("_", "-") not in keys:
            raise UsageError(f"{where} has no setting {key!r}{_nearest(key, keys)}")


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word.replace("_", "-"), known, 1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if not isinstance(value, str | Path | ImageSize):
        raise UsageError(f"{value!r} has no place in a settings file")
    # JSON's escapes are TOML's, but for the one control character that JSON lets stand.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


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
