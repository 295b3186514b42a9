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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Images
from labelfill.data.table import KeypointTable
from labelfill.errors import StorageError, refusal
from labelfill.schema import ImageSize, Placements

FORMAT_VERSION = 2
IMAGES, LABELS, TABLE = "images.npy", "labels.npz", "table.json"

_ARRAYS = ("labels", "field_spans", "lines")
_BOXES, _CORNERS = "boxes", "corners"
_TEXTS = ("content_sha256", "content_length", "delimiter", "image_column", "extra", "format")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class CachedTable:
    """What an entry holds; `images` is memory-mapped, or None if the table has none."""

    table: KeypointTable
    images: Images | None
    image_size: ImageSize
    image_size_assumed: bool
    image_files: str
    placements: Placements | None = None


def entry_key(path: Path, options: dict[str, Any]) -> str:
    """SHA-256 of the file as it lies on disk and of the options it is read with."""
    content = {"file": _sha256(path), "options": options, "format": FORMAT_VERSION}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load(entry: Path, path: Path) -> CachedTable | None:
    """The entry, as read from `path`; None if it is absent or not exactly as it was saved."""
    try:
        text = (entry / TABLE).read_text("ascii")
        saved = json.loads(text)
        if saved.pop("sha256") != _json_sha256(saved):
            return None
        if any(_sha256(entry / name) != sha256 for name, sha256 in saved["files"].items()):
            return None
        size = ImageSize(*saved["image_size"])
        with np.load(entry / LABELS, allow_pickle=False) as arrays:
            placements = Placements(size, arrays[_CORNERS]) if _CORNERS in arrays.files else None
            table = KeypointTable(
                path=path,
                columns=tuple(saved["columns"]),
                keypoints=tuple(saved["keypoints"]),
                **{name: arrays[name] for name in _ARRAYS},
                **{name: saved[name] for name in _TEXTS},
                boxes=arrays[_BOXES] if _BOXES in arrays.files else None,
            )
        images = (
            np.load(entry / IMAGES, mmap_mode="r", allow_pickle=False) if IMAGES in saved["files"] else None
        )
        return CachedTable(table, images, size, saved["image_size_assumed"], saved["image_files"], placements)
    # Whatever a damaged file can make the readers say: the table itself is still there to be read.
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
        StorageError,
    ):
        return None


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


def save(folder: Path, cached: CachedTable) -> None:
    """Write all of an entry but its images, which lie in `folder` already if there are any."""
    table = cached.table
    with open(folder / LABELS, "wb") as out:
        np.savez(out, allow_pickle=False, **_arrays(cached))
    names = [LABELS] if cached.images is None else [LABELS, IMAGES]
    saved = {
        "files": {name: _sha256(folder / name) for name in names},
        "columns": list(table.columns),
        "keypoints": list(table.keypoints),
        "image_size": [cached.image_size.height, cached.image_size.width],
        "image_size_assumed": cached.image_size_assumed,
        "image_files": cached.image_files,
        **{name: getattr(table, name) for name in _TEXTS},
    }
    saved["sha256"] = _json_sha256(saved)
    # ASCII: bytes that are not UTF-8 stand in `extra` as lone surrogates, which escapes can hold.
    (folder / TABLE).write_text(json.dumps(saved), "ascii")


def _arrays(cached: CachedTable) -> dict[str, NDArray[Any]]:
    boxes, placements = cached.table.boxes, cached.placements
    return {
        **{name: getattr(cached.table, name) for name in _ARRAYS},
        **({} if boxes is None else {_BOXES: boxes}),
        **({} if placements is None else {_CORNERS: placements.corners}),
    }


def _json_sha256(saved: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(saved, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    sha256 = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                sha256.update(block)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    return sha256.hexdigest()


def _remove_orphans(folder: Path) -> None:
    """Remove the temporary folders of processes that were killed."""
    for orphan in folder.glob("*.tmp-*-*"):
        pid = orphan.name.rsplit("-", 2)[1]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(orphan, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
