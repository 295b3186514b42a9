"""JSON read back into dataclasses; what does not hold what it should is refused, and nothing else is."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from labelfill.errors import DamagedFile, LabelfillError, shown

Record = TypeVar("Record")

# What labelfill writes is never nested nearly so deep.
_DEEPEST = 50


def parsed_json(data: bytes | str) -> Any:
    """What a JSON text holds; `DamagedFile` if it is none."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"it is not valid JSON: {error}") from error
    if _deeper_than(content, _DEEPEST):
        raise DamagedFile(f"it is nested more than {_DEEPEST} levels deep")
    return content


def _deeper_than(content: Any, most: int) -> bool:
    """Whether lists and objects stand in each other more often; otherwise walking through them is safe."""
    level = [content]
    for _ in range(most):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True


def read_record(kind: type[Record], data: bytes | str) -> Record:
    """A dataclass from the text of a JSON object; see `record_of`."""
    return record_of(kind, parsed_json(data))


def record_of(kind: type[Record], content: Any) -> Record:
    """A dataclass from a JSON object of its fields, each checked against its annotation.

    Fields may be plain values, lists, tuples, dicts by text, arrays (as nested lists), further dataclasses,
    and unions and literals of these. What the dataclass has a default for may be missing.

    Raises
    ------
    DamagedFile
        If a field is missing, unknown or of another type, or the dataclass itself refuses a value.
    """
    if not isinstance(content, dict):
        raise DamagedFile(f"expected an object, found {shown(json.dumps(content))}")
    hints, values = typing.get_type_hints(kind), {}
    for name in content:
        if name not in hints:
            raise DamagedFile(f"unknown field {name!r}")
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # every `kind` is a dataclass
        if field.name in content:
            values[field.name] = _fitting(content[field.name], hints[field.name], field.name)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise DamagedFile(f"field {field.name!r} is missing")
    try:
        return kind(**values)
    except LabelfillError as error:
        raise DamagedFile(str(error)) from error


def _fitting(value: Any, kind: Any, name: str) -> Any:
    """A JSON value as an annotation has it."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or type(value) is kind or (kind is types.NoneType and value is None):
        return value
    if origin is typing.Literal and value in inner:
        return value
    if origin in (types.UnionType, typing.Union):
        for option in inner:
            with suppress(DamagedFile):
                return _fitting(value, option, name)
    elif origin is list and isinstance(value, list):
        simple = all(type(item) is inner[0] for item in value)  # quick for the texts of many rows
        return value if simple else [_fitting(item, inner[0], name) for item in value]
    elif origin is tuple and isinstance(value, list):
        kinds = inner[:1] * len(value) if inner[-1] is ... else inner
        if len(kinds) == len(value):
            return tuple(_fitting(item, each, name) for item, each in zip(value, kinds, strict=True))
    elif origin is dict and isinstance(value, dict):
        return {key: _fitting(item, inner[1], f"{name}, {key}") for key, item in value.items()}
    elif origin is np.ndarray and isinstance(value, list):
        with suppress(ValueError):  # of lists of different lengths
            array = np.array(value)
            if array.dtype.kind in "biuf":
                return array.astype(typing.get_args(inner[1])[0])
    elif dataclasses.is_dataclass(kind):
        return record_of(kind, value)  # type: ignore[arg-type]  # a class
    elif kind is float and type(value) is int:
        return float(value)
    raise DamagedFile(
        f"field {name!r} is {shown(json.dumps(value))}, expected {getattr(kind, '__name__', kind)}"
    )
