"""``manifest.json``: what a run directory holds, written whole after every change."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import labelfill
from labelfill.errors import ModelError
from labelfill.runs._files import storage_error

MANIFEST_FILE = "manifest.json"
FORMAT = 1

Json = Any  # None, bool, int, float, str, list or dict of these


def now() -> str:
    """The wall clock, for people to read; nothing is decided by it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions that decide whether a continued run ends with the same bytes, without importing them."""
    found = {"labelfill": labelfill.__version__, "python": platform.python_version()}
    for package in ("torch", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def json_value(value: object) -> Json:
    """A value as JSON can hold it: arrays and tuples as lists, paths as text, NaN and infinity as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: json_value(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, str | bool | int | None):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return json_value(value.tolist())
    if isinstance(value, Iterable):
        return [json_value(item) for item in value]
    raise TypeError(f"{value!r} has no place in JSON")


def load_manifest(folder: Path) -> dict[str, Json]:
    """The manifest of a run directory; an empty one where there is none yet.

    Raises
    ------
    ModelError
        If it is damaged or was written by a newer format.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {"format": FORMAT, "created": now(), "versions": versions(), "stages": {}}
    except OSError as error:
        raise storage_error(error, path, "read") from error
    except ValueError as error:
        raise ModelError(
            f"{path} is damaged ({error}); choose another --run-dir, or remove this one to start over"
        ) from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("stages"), dict):
        raise ModelError(f"{path} is not a manifest of labelfill; choose another --run-dir")
    if manifest.get("format") != FORMAT:
        raise ModelError(
            f"{path} has format {manifest.get('format')!r} and this labelfill reads format {FORMAT}; "
            "use the labelfill that wrote it, or choose another --run-dir"
        )
    return manifest


def changes(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[str]:
    """What differs between two inputs of a stage, as ``name: was A, is B``; nested names joined by dots."""
    old, new = _flat(before), _flat(after)
    names = [*old, *(name for name in new if name not in old)]
    return [
        f"{name}: was {_shown(old, name)}, is {_shown(new, name)}"
        for name in names
        if (name in old) != (name in new) or old.get(name) != new.get(name)
    ]


def _flat(value: Mapping[str, Json], prefix: str = "") -> dict[str, Json]:
    flat: dict[str, Json] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat.update(_flat(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def _shown(values: Mapping[str, Json], name: str) -> str:
    if name not in values:
        return "absent"
    value = values[name]
    if isinstance(value, str) and len(value) == 64 and all(c in "0123456789abcdef" for c in value):
        return f"{value[:12]}..."  # a SHA-256: its beginning tells it apart
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
