"""``manifest.json``: what a run directory holds, written whole after every change."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import labelfill
from labelfill.errors import DamagedFile, ModelError, refuse_endless
from labelfill.runs._files import storage_error
from labelfill.runs.records import parsed_json, record_of
from labelfill.schema import ImageSize

MANIFEST_FILE = "manifest.json"
FORMAT = 1

Json = Any  # None, bool, int, float, str, list or dict of these
_MOST_SETTLED = 4096  # threads, and whatever else is as many as a machine has at most


@dataclass(frozen=True)
class RunInput:
    """The table that a run was begun with.

    Attributes
    ----------
    image_size
        HxW; of the frame if it is `framed`.
    without_images
        Who says how large the images are that the table lacks; None if it has images.
    images_beside
        The file whose folder the images are named from, if that is not the table.
    reading
        How its values are understood, where that is unusual.
    """

    path: str
    sha256: str
    image_size: str
    framed: bool = False
    without_images: Literal["size stated", "size assumed"] | None = None
    images_beside: str | None = None
    reading: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ImageSize.parse(self.image_size)

    @property
    def size(self) -> ImageSize:
        """Of its images, or of their frame."""
        return ImageSize.parse(self.image_size)


@dataclass(frozen=True)
class SplitNote:
    """What is kept of ``split.csv``: its hash, and what it splits by what."""

    sha256: str
    rows: int
    of: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Unit:
    files: dict[str, str]
    results: Any = None


@dataclass(frozen=True)
class _Stage:
    """A stage's entry; what `inputs` and `results` hold differs from stage to stage, so they are sealed."""

    state: Literal["running", "done"]
    begun: str
    attempt: str
    inputs: dict[str, Any]
    versions: dict[str, str]
    units: dict[str, _Unit]
    outputs: dict[str, str]
    replaceable: dict[str, list[str]]
    settled: dict[str, int] = field(default_factory=dict)
    intent: dict[str, str] = field(default_factory=dict)
    finished: str | None = None
    results: dict[str, Any] | None = None
    seal: str | None = None  # none was written before there were seals, and before a stage is finished

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{1,64}", self.attempt):  # names of checkpoints begin with it
            raise DamagedFile("field 'attempt' is not a hexadecimal number")
        if not all(1 <= number <= _MOST_SETTLED for number in self.settled.values()):
            raise DamagedFile(f"field 'settled' contains a number outside 1 to {_MOST_SETTLED}")
        if self.state == "done" and self.results is None:
            raise DamagedFile("field 'results' is missing")
        if self.seal is not None and self.seal != seal_of(self.inputs, self.results):
            raise DamagedFile("the inputs or results of a stage have been changed")


@dataclass(frozen=True)
class _Manifest:
    format: int
    created: str
    versions: dict[str, str]
    stages: dict[str, _Stage]
    input: RunInput | None = None
    split: SplitNote | None = None
    device: str | None = None
    seed: int | None = None
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)


def seal_of(inputs: Json, results: Json) -> str:
    """A SHA-256 over a finished stage's inputs and results, by which a change is noticed."""
    return hashlib.sha256(json.dumps([inputs, results], sort_keys=True).encode()).hexdigest()


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
        refuse_endless(path)
        manifest = parsed_json(path.read_bytes())
    except FileNotFoundError:
        return {"format": FORMAT, "created": now(), "versions": versions(), "stages": {}}
    except OSError as error:
        raise storage_error(error, path, "read") from error
    except DamagedFile as error:
        raise damaged_manifest(folder, error) from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("stages"), dict):
        raise ModelError(f"{path} is not a manifest of labelfill; choose another --run-dir")
    if manifest.get("format") != FORMAT:
        raise ModelError(
            f"{path} has format {manifest.get('format')!r}, but this version of labelfill reads "
            f"format {FORMAT}; "
            "use the version that wrote it, or choose another --run-dir"
        )
    try:
        record_of(_Manifest, manifest)
    except DamagedFile as error:
        raise damaged_manifest(folder, error) from error
    return manifest


def damaged_manifest(folder: Path, what: object) -> ModelError:
    """The refusal of a manifest that does not hold what it should."""
    return ModelError(
        f"{folder / MANIFEST_FILE} is damaged ({what}); choose another --run-dir, or delete this one to "
        "start over"
    )


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
