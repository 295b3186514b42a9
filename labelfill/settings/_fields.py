"""Fields of settings: what values they take, and the sentence for any other."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from labelfill.errors import UsageError
from labelfill.schema import ImageSize


def setting(
    default: Any,
    about: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    metavar: str | None = None,
    gone: Mapping[str, str] | None = None,
) -> Any:
    """A dataclass field with its help text, its bounds, and what to use instead of words it once took."""
    bounds = {"at least": at_least, "more than": above, "at most": at_most, "less than": below}
    metadata = {"about": about, "bounds": bounds, "metavar": metavar, "gone": gone or {}}
    return dataclasses.field(default=default, metadata=metadata)


class Settings:
    """Base of all settings: checks its bounds when made, and names what is wrong.

    `section` is the name of its table in a settings file and, in capitals, part of the names of its
    environment variables (``LABELFILL_<SECTION>_<NAME>``). `gone` names settings that the section once had,
    and says what to use instead.
    """

    section: ClassVar[str]
    gone: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, field.name)
            _check_gone(field.name, value, field.metadata.get("gone", {}))
            _check_choice(field.name, value, field_type(type(self), field.name))
            _check_bounds(field.name, value, field.metadata.get("bounds", {}))
        self.check()

    def check(self) -> None:
        """Raise `UsageError` for values that do not go together."""

    def idle(self) -> Mapping[str, str]:
        """Settings that do nothing beside the others, and why; giving one is refused."""
        return {}


def flag_name(name: str) -> str:
    return "--" + name.replace("_", "-")


def gone_flags(cls: type[Settings]) -> dict[str, str]:
    """The flags of settings that are gone, and the sentence that refuses each."""
    return {flag_name(name): gone_sentence(cls, name, flag_name(name)) for name in cls.gone}


def gone_sentence(cls: type[Settings], name: str, where: str) -> str:
    return f"{where} is gone: {cls.gone[name]}"


@dataclasses.dataclass(frozen=True)
class FieldType:
    """The plain type of a field, whether it may be absent, and its choices if it is one of a few words."""

    plain: type
    optional: bool
    choices: tuple[str, ...] = ()


def field_type(cls: type[Settings], name: str) -> FieldType:
    annotation = typing.get_type_hints(cls)[name]
    optional = False
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        optional = True
        (annotation,) = kinds
    if typing.get_origin(annotation) is Literal:
        return FieldType(str, optional, typing.get_args(annotation))
    return FieldType(annotation, optional)


def convert(cls: type[Settings], name: str, value: object, where: str) -> Any:
    """A value from a settings file (typed), the environment or a flag (text) as the field's type.

    Raises
    ------
    UsageError
        Beginning with `where`, if it cannot be understood.
    """
    kind = field_type(cls, name)
    expected, read = _READERS[kind.plain]
    try:
        return read(value)
    except (ValueError, TypeError):
        if kind.choices:
            expected = "one of " + ", ".join(kind.choices)
        raise UsageError(f"{where}: {value!r} is not {expected}") from None
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _check_gone(name: str, value: object, gone: Mapping[str, str]) -> None:
    if isinstance(value, str) and value in gone:
        raise UsageError(f"{name} no longer takes {value!r}: {gone[value]}")


def _check_choice(name: str, value: object, kind: FieldType) -> None:
    if kind.choices and value is not None and value not in kind.choices:
        raise UsageError(f"{name} must be one of {', '.join(kind.choices)}, not {value!r}")


def _check_bounds(name: str, value: object, bounds: Mapping[str, float | None]) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    holds = {
        "at least": lambda bound: value >= bound,
        "more than": lambda bound: value > bound,
        "at most": lambda bound: value <= bound,
        "less than": lambda bound: value < bound,
    }
    given = {words: bound for words, bound in bounds.items() if bound is not None}
    if not math.isfinite(value) or not all(holds[words](bound) for words, bound in given.items()):
        wanted = " and ".join(f"{words} {bound:g}" for words, bound in given.items()) or "finite"
        raise UsageError(f"{name} must be {wanted}, not {value}")


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


_READERS: dict[type, tuple[str, Callable[[object], object]]] = {
    int: ("a whole number", _whole),
    float: ("a number", _number),
    bool: ("true or false", _switch),
    str: ("a text", _text),
    Path: ("a path", _path),
    ImageSize: ("HEIGHTxWIDTH", _size),
}
