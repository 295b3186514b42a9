"""Fields of settings: what values they take, and the sentence for any other."""

from __future__ import annotations

import dataclasses
import math
import operator
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from labelfill.errors import UsageError
from labelfill.schema import ImageSize

# What bounds are called, and when a value keeps to one.
_BOUNDS: Mapping[str, Callable[[float, float], bool]] = {
    "at least": operator.ge, "more than": operator.gt, "at most": operator.le
}  # fmt: skip


def setting(
    default: Any,
    about: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    metavar: str | None = None,
    gone: Mapping[str, str] | None = None,
) -> Any:
    """A dataclass field with its help text, its bounds, and what to use instead of words it once took."""
    bounds = dict(zip(_BOUNDS, (at_least, above, at_most), strict=True))
    metadata = {"about": about, "bounds": bounds, "metavar": metavar, "gone": gone or {}}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Base of all settings: checks its bounds when made, and names what is wrong.

    `section` is the name of its table in a settings file and, in capitals, part of the names of its
    environment variables (``LABELFILL_<SECTION>_<NAME>``). `gone` names settings that the section once had,
    and says what to use instead.
    """

    section: ClassVar[str]
    gone: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        for name, kind in field_types(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, str) and value in kind.gone:
                raise UsageError(f"{name} no longer takes {value!r}: {kind.gone[value]}")
            if kind.choices and value is not None and value not in kind.choices:
                raise UsageError(f"{name} must be one of {', '.join(kind.choices)}, not {value!r}")
            if isinstance(value, int | float) and not isinstance(value, bool):
                _check_bounds(name, value, kind.bounds)
        self.check()

    def check(self) -> None:
        """Raise `UsageError` for values that do not go together."""

    def idle(self) -> Mapping[str, str]:
        """Settings that do nothing beside the others, and why; giving one is refused."""
        return {}


def _check_bounds(name: str, value: float, bounds: Mapping[str, float]) -> None:
    if not math.isfinite(value) or not all(_BOUNDS[words](value, bound) for words, bound in bounds.items()):
        wanted = " and ".join(f"{words} {bound:g}" for words, bound in bounds.items()) or "finite"
        raise UsageError(f"{name} must be {wanted}, not {value}")


def flag_name(name: str) -> str:
    return "--" + name.replace("_", "-")


def gone_flags(cls: type[Settings]) -> dict[str, str]:
    """The flags of settings that are gone, and the sentence that refuses each."""
    return {flag_name(name): gone_sentence(cls, name, flag_name(name)) for name in cls.gone}


def gone_sentence(cls: type[Settings], name: str, where: str) -> str:
    return f"{where} is gone: {cls.gone[name]}"


@dataclass(frozen=True)
class FieldType:
    """What a setting takes and is.

    Attributes
    ----------
    plain, optional
        Its type, and whether it may be absent.
    choices
        If it is one of a few words.
    metavar
        What stands for a value in help texts.
    gone
        Words that it once took, and what to use instead.
    """

    plain: Any
    optional: bool
    choices: tuple[str, ...]
    default: Any
    about: str
    bounds: Mapping[str, float]
    metavar: str
    gone: Mapping[str, str]


def field_types(cls: type[Settings]) -> dict[str, FieldType]:
    """The settings of a section by name."""
    hints = typing.get_type_hints(cls)
    return {field.name: _field_type(field, hints[field.name]) for field in dataclasses.fields(cls)}


def _field_type(field: dataclasses.Field[Any], hint: Any) -> FieldType:
    optional = typing.get_origin(hint) in (types.UnionType, typing.Union)
    kinds = typing.get_args(hint) if optional else (hint,)
    (annotation,) = (kind for kind in kinds if kind is not types.NoneType)
    choices = typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()
    plain = str if choices else annotation
    bounds = {words: bound for words, bound in field.metadata.get("bounds", {}).items() if bound is not None}
    return FieldType(
        plain,
        optional,
        choices,
        field.default,
        field.metadata.get("about", ""),
        bounds,
        "|".join(choices) or field.metadata.get("metavar") or _KINDS[plain].metavar,
        field.metadata.get("gone", {}),
    )


def convert(kind: FieldType, value: object, where: str) -> Any:
    """A value from a settings file (typed), the environment or a flag (text) as the field's type.

    Raises
    ------
    UsageError
        Beginning with `where`, if it cannot be understood.
    """
    try:
        return _KINDS[kind.plain].read(value)
    except (ValueError, TypeError):
        expected = "one of " + ", ".join(kind.choices) if kind.choices else _KINDS[kind.plain].expected
        raise UsageError(f"{where}: {value!r} is not {expected}") from None
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _whole(value: object) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)  # type: ignore[call-overload, no-any-return]  # TypeError and ValueError are caught


def _number(value: object) -> float:
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004 - a word for `convert`, never seen
    return float(value)  # type: ignore[arg-type]  # TypeError and ValueError are caught


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _switch(value: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() not in words:
        raise ValueError
    return words[str(value).lower()]


def _size(value: object) -> ImageSize:
    return value if isinstance(value, ImageSize) else ImageSize.parse(str(value))


def _path(value: object) -> Path:
    return value if isinstance(value, Path) else Path(_text(value))


class _Kind(NamedTuple):
    """What values of a type are called, what stands for one, and how one is read."""

    expected: str
    metavar: str
    read: Callable[[object], object]


def _numbers(value: object) -> tuple[float, ...]:
    """One number or several: of a file's array, of a flag given several times, of a text with commas."""
    if isinstance(value, str):
        value = value.split(",")
    return tuple(map(_finite, value if isinstance(value, list | tuple) else [value]))


def _finite(value: object) -> float:
    with suppress(ValueError, TypeError):
        number = _number(value)
        if math.isfinite(number):
            return number
    raise UsageError(f"{value!r} is not a finite number")


NUMBERS = tuple[float, ...]
_KINDS: Mapping[Any, _Kind] = {
    int: _Kind("a whole number", "N", _whole),
    float: _Kind("a number", "NUMBER", _number),
    bool: _Kind("true or false", "", _switch),
    str: _Kind("a text", "NAME", _text),
    Path: _Kind("a path", "FILE", _path),
    ImageSize: _Kind("HEIGHTxWIDTH", "HxW", _size),
    NUMBERS: _Kind("numbers", "NUMBER", _numbers),
}
