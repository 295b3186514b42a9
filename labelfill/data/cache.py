"""Keeps what was read from a table, so that the next command does not parse it again.

An entry is a folder named by the hash of the table's file and of the options it was read with:
``images.npy``, ``labels.npz`` and ``table.json``, which holds the hashes of the other two and its own.
An entry appears whole (a temporary folder, renamed) and is not trusted: one that is damaged, or whose
image files have changed, counts as absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelfill.data.dataset import Dataset
from labelfill.data.reading_options import ReadingOptions
from labelfill.data.table import KeypointTable
from labelfill.errors import LabelfillError, StorageError, reading, refusal
from labelfill.runs import is_alive
from labelfill.runs.records import record_of
from labelfill.schema import ImageSize, KeypointSchema, Placements
from labelfill.settings import Coordinates

FORMAT_VERSION = 3
IMAGES, LABELS, TABLE = "images.npy", "labels.npz", "table.json"

_ARRAYS = ("labels", "field_spans", "lines")
# Arrays of the table that it may have or not; where its images lie in their frame.
_FURTHER, _CORNERS = ("boxes", "declared_blank", "stated_sizes"), "corners"
_TEXTS = (
    *("columns", "keypoints", "content_sha256", "content_length"),
    *("delimiter", "image_column", "extra", "format", "coordinates"),
)


@dataclass(frozen=True)
class Kept:
    """What an entry holds: a dataset, its images memory-mapped, and which files these came from."""

    dataset: Dataset
    image_files: str


@dataclass(frozen=True)
class _Entry:
    """What ``table.json`` holds, besides its own hash; `files` are the other files' hashes."""

    files: dict[str, str]
    columns: tuple[str, ...]
    keypoints: tuple[str, ...]
    image_size: tuple[int, int]
    image_size_assumed: bool
    image_files: str
    content_sha256: str
    content_length: int
    delimiter: str
    image_column: str | None
    extra: dict[str, list[str]]
    format: str
    coordinates: Coordinates
    reading: ReadingOptions


def entry_key(files: Sequence[Path], options: dict[str, Any]) -> str:
    """SHA-256 of a table's files as they lie on disk and of the options they are read with."""
    hashes = [_sha256(path) for path in files]
    content = {"file": hashes[0] if len(files) == 1 else hashes, "options": options, "format": FORMAT_VERSION}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load(entry: Path, path: Path) -> Kept | None:
    """The entry, as read from `path`; None if it is absent or not exactly as it was saved."""
    try:
        saved = json.loads((entry / TABLE).read_text("ascii"))
        if not isinstance(saved, dict) or saved.pop("sha256", None) != _json_sha256(saved):
            return None
        about = record_of(_Entry, saved)
        if any(_sha256(entry / name) != sha256 for name, sha256 in about.files.items()):
            return None
        size = ImageSize(*about.image_size)
        with np.load(entry / LABELS, allow_pickle=False) as arrays:
            placements = Placements(size, arrays[_CORNERS]) if _CORNERS in arrays.files else None
            table = KeypointTable(
                path=path,
                **{name: getattr(about, name) for name in _TEXTS},
                **{name: arrays[name] for name in _ARRAYS},
                **{name: arrays[name] for name in _FURTHER if name in arrays.files},
            )
        images = None
        if IMAGES in about.files:
            images = np.load(entry / IMAGES, mmap_mode="r", allow_pickle=False)
    # Whatever a damaged file can make the readers say: the table itself is still there to be read.
    except (
        OSError, ValueError, TypeError, LookupError, EOFError, RecursionError, MemoryError,
        zipfile.BadZipFile, LabelfillError,
    ):  # fmt: skip
        return None
    schema = KeypointSchema(table.keypoints, size)
    dataset = Dataset(
        table, schema, images, about.image_size_assumed, placements=placements, reading=about.reading
    )
    return Kept(dataset, about.image_files)


@contextmanager
def new_entry(entry: Path) -> Iterator[Path]:
    """A temporary folder that becomes `entry` if the block ends well, and is removed if it does not."""
    temporary = entry.with_name(f"{entry.name}.tmp-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        temporary.mkdir(parents=True)
        _remove_orphans(entry.parent)
        yield temporary
        shutil.rmtree(entry, ignore_errors=True)
        os.replace(temporary, entry)
    except OSError as error:
        raise StorageError(f"{entry.parent} cannot be written: {refusal(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save(folder: Path, kept: Kept) -> None:
    """Write all of an entry but its images, which lie in `folder` already if there are any."""
    dataset, table = kept.dataset, kept.dataset.table
    arrays = {name: getattr(table, name) for name in _ARRAYS}
    arrays |= {name: array for name in _FURTHER if (array := getattr(table, name)) is not None}
    if dataset.placements is not None:
        arrays[_CORNERS] = dataset.placements.corners
    with open(folder / LABELS, "wb") as out:
        np.savez(out, allow_pickle=False, **arrays)
    names = [LABELS] if dataset.images is None else [LABELS, IMAGES]
    size = dataset.schema.image_size
    about = _Entry(
        {name: _sha256(folder / name) for name in names},
        image_size=(size.height, size.width),
        image_size_assumed=dataset.image_size_assumed,
        image_files=kept.image_files,
        reading=dataset.reading,
        **{name: getattr(table, name) for name in _TEXTS},
    )
    saved = asdict(about)
    saved["sha256"] = _json_sha256(saved)
    # ASCII: bytes that are not UTF-8 stand in `extra` as lone surrogates, which escapes can hold.
    (folder / TABLE).write_text(json.dumps(saved), "ascii")


def _json_sha256(saved: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(saved, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with reading(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_orphans(folder: Path) -> None:
    """Remove the temporary folders of processes that were killed."""
    for orphan in folder.glob("*.tmp-*-*"):
        pid = orphan.name.rsplit("-", 2)[1]
        if pid.isdigit() and not is_alive(int(pid)):
            shutil.rmtree(orphan, ignore_errors=True)
