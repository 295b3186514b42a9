"""Run directories: manifest, split, hashes, atomic writes and the lock.

Everything that a stage leaves behind goes through this room, so that a run killed at any moment
leaves a directory that the next command understands.
"""

from labelfill.runs._directory import RunDirectory
from labelfill.runs._files import (
    atomic_write,
    is_alive,
    make_folder,
    remove_orphans_of,
    safe_file_name,
    sha256_file,
    storage_error,
    write_bytes,
)
from labelfill.runs._manifest import json_value, versions
from labelfill.runs._split import (
    EVALUATION,
    PART_NAMES,
    TRAINING,
    VALIDATION,
    load_split,
    make_split,
    rows_together,
    save_split,
)
from labelfill.runs._stages import StageState, Standing

__all__ = [
    "EVALUATION",
    "PART_NAMES",
    "TRAINING",
    "VALIDATION",
    "RunDirectory",
    "StageState",
    "Standing",
    "atomic_write",
    "is_alive",
    "json_value",
    "load_split",
    "make_folder",
    "make_split",
    "remove_orphans_of",
    "rows_together",
    "safe_file_name",
    "save_split",
    "sha256_file",
    "storage_error",
    "versions",
    "write_bytes",
]
