"""The run directory, put together from its manifest, stages and artefacts.

Layout::

    manifest.json        input, versions, device, seed, and for each stage its state, inputs, outputs
    settings.toml        the settings as resolved
    split.csv            row,part
    metrics.jsonl        one JSON object per line
    keypoint-models/...  artefacts of the stages; their SHA-256 stand in the manifest
    checkpoints/...      unfinished work, gone when it is finished
    tensorboard/...      learning curves, if they are asked for; nothing reads them
    .lock, .lock-holder.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from labelfill.arrays import Parts
from labelfill.errors import ModelError, StorageError
from labelfill.runs._files import (
    make_folder,
    refuse_unwritable,
    remove_orphans,
    sha256_file,
    storage_error,
    write_bytes,
)
from labelfill.runs._lock import RunLock, warn_if_held
from labelfill.runs._manifest import (
    MANIFEST_FILE,
    Json,
    RunInput,
    damaged_manifest,
    json_value,
    load_manifest,
    now,
)
from labelfill.runs._split import load_split, save_split
from labelfill.runs._stages import Stages
from labelfill.runs.records import record_of
from labelfill.settings import Settings

_IGNORE = "# What a run writes is not kept under version control.\n*\n!.gitignore\n"


class RunDirectory(Stages):
    """A run directory; a context manager.

    Opened for work by `open`, for reading by `read_only`, and by `look` for saying what work would be done.

    Attributes
    ----------
    path : Path
    manifest : dict
        As ``manifest.json`` holds it, checked when it was read; changed through the methods.
    """

    _only_looked_at = False

    @classmethod
    def open(cls, path: Path, settings: Sequence[Settings] = ()) -> RunDirectory:
        """Create it where needed, lock it, tidy what killed runs left, and read its manifest.

        `settings` are what the work is done by; ``settings.toml`` gets them when a stage begins.

        Raises
        ------
        StorageError
            If it cannot be created or written, or another run holds it.
        ModelError
            If its manifest is damaged or of a newer format.
        """
        _refuse_a_file(path)
        make_folder(path)
        lock = RunLock(path)
        try:
            remove_orphans(path)
            if not (path / ".gitignore").exists():
                write_bytes(path / ".gitignore", _IGNORE.encode())
            _mend_metrics(path / "metrics.jsonl")
            return cls(path, load_manifest(path), lock, tuple(settings))
        except BaseException:
            lock.release()
            raise

    @classmethod
    def read_only(cls, path: Path) -> RunDirectory:
        """Open an existing run directory to read from; neither locks nor writes.

        Raises
        ------
        ModelError
            If it does not exist, holds no run, or its manifest is damaged.
        """
        if not (path / MANIFEST_FILE).is_file():
            raise ModelError(
                f"{path} contains no run: run `labelfill train-keypoint-models` first, or choose "
                "another --run-dir"
            )
        return cls(path, load_manifest(path), None)

    @classmethod
    def look(cls, path: Path) -> RunDirectory:
        """Open a run directory, or one that is still to be made, to say what work in it would do.

        Neither creates, locks nor writes; whoever works in it just now is only named.

        Raises
        ------
        StorageError
            If it could not be created or written.
        ModelError
            If its manifest is damaged or of a newer format.
        """
        _refuse_a_file(path)
        refuse_unwritable(path)
        warn_if_held(path)
        run = cls(path, load_manifest(path), None)
        run._only_looked_at = True
        return run

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()

    def make_folder(self, folder: Path) -> None:
        """A folder for outputs, where needed; if the run is only looked at, outputs may be planned in it.

        Raises
        ------
        StorageError
            If it cannot be created or written.
        """
        if not self._only_looked_at:
            make_folder(folder)
            return
        refuse_unwritable(folder)
        self._would_be_made = folder

    @property
    def cache(self) -> Path | None:
        """Where tables that were read are kept; None if it is only looked at."""
        return None if self._only_looked_at else self.path / "cache"

    @property
    def begun_with(self) -> RunInput | None:
        """The table that the run was begun with; None if it stopped before that was read."""
        told = self.manifest.get("input")
        return None if told is None else record_of(RunInput, told)

    @property
    def input(self) -> RunInput:
        """The table that a run with a finished stage was begun with.

        Raises
        ------
        ModelError
            If the manifest does not tell.
        """
        begun_with = self.begun_with
        if begun_with is None:
            raise damaged_manifest(self.path, "field 'input' is missing")
        return begun_with

    @property
    def framed(self) -> bool:
        """Whether the run's images differ in size, so that ``image_size`` of its input is their frame."""
        return self.begun_with is not None and self.begun_with.framed

    @property
    def without_images(self) -> bool:
        """Whether the run's table had no images."""
        return self.begun_with is not None and self.begun_with.without_images is not None

    @property
    def frame_assumed(self) -> bool:
        """Whether, then, ``image_size`` of its input was assumed from the labels' extent."""
        return self.begun_with is not None and self.begun_with.without_images == "size assumed"

    def record(self, metrics: Mapping[str, object]) -> None:
        """Append one line to ``metrics.jsonl``."""
        self.check_writable()
        line = json.dumps({"time": now(), **json_value(metrics)}, allow_nan=False).encode() + b"\n"
        path = self.path / "metrics.jsonl"
        try:
            with self._changing, open(path, "ab", buffering=0) as file:
                # Where the disk is filling up; a partial line is mended on opening.
                if file.write(line) != len(line):
                    raise StorageError(
                        f"cannot write {path}: the disk is full; free some space and run again"
                    )
        except OSError as error:
            raise storage_error(error, path) from error

    @property
    def sizes(self) -> Mapping[str, int]:
        """N, the number of rows of the run's table, if its split tells; see `KeptArrays.shapes`."""
        split = self.manifest.get("split")
        return {} if split is None else {"N": split["rows"]}

    @property
    def split_of(self) -> Mapping[str, Json] | None:
        """What the run's split is of, and by what; None if it does not tell."""
        return (self.manifest.get("split") or {}).get("of")

    def split(self, rows: int, make: Callable[[], Parts], of: Mapping[str, Json] | None = None) -> Parts:
        """The run's split of a table of `rows` rows: ``split.csv``, made once and verified ever after.

        `of` says what is split and by what; a split of something else is made anew. Where the run
        directory is only looked at it is not kept.
        """
        path = self.path / "split.csv"
        recorded = self.manifest.get("split")
        if recorded is not None and path.is_file() and recorded.get("of") == json_value(of):
            if sha256_file(path) != recorded["sha256"]:
                raise ModelError(f"{path} was changed after it was written; choose another --run-dir")
            return load_split(path, rows)
        parts = make()
        if self._only_looked_at:
            return parts
        self.check_writable()
        save_split(path, parts)
        self.note({"split": {"sha256": sha256_file(path), "rows": rows, "of": of}})
        return parts


def _refuse_a_file(path: Path) -> None:
    if path.is_file():
        raise StorageError(f"the run directory {path} is a file; choose another --run-dir")


def _mend_metrics(path: Path) -> None:
    """Cut off the half line that a killed run may have left, so that the next one begins a line."""
    try:
        with open(path, "rb+") as file:
            lines = file.read()
            if not lines.endswith(b"\n"):
                file.truncate(lines.rfind(b"\n") + 1)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(error, path) from error
