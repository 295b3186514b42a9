"""The manifest in memory and on disk, the right to change it, and the units of work that it records."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from labelfill.errors import LabelfillError, ModelError
from labelfill.runs._files import make_folder, safe_file_name, sha256_file, storage_error, write_bytes
from labelfill.runs._lock import RunLock
from labelfill.runs._manifest import MANIFEST_FILE, Json, json_value, versions
from labelfill.settings import SECTIONS, Settings, read_toml, to_toml

_log = logging.getLogger("labelfill")


class Watcher(Protocol):
    """Somebody who is told of models while they are trained; models are named by their folders."""

    def epoch_done(self, model: str, step: int, figures: Mapping[str, float]) -> None:
        """An epoch of a model, counted from 0 over all its sessions, with its figures."""

    def unit_saved(self, files: Mapping[str, bytes]) -> None:
        """The files of a unit that is finished, by path relative to the run directory."""


class Ledger:
    """A run directory's manifest; see `RunDirectory`, which is what everybody else uses."""

    watcher: Watcher | None = None

    def __init__(
        self, path: Path, manifest: dict[str, Json], lock: RunLock | None, settings: tuple[Settings, ...] = ()
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.settings = settings
        self._lock = lock
        self._changing = threading.RLock()  # units may be finished by several threads

    @property
    def stages(self) -> dict[str, dict[str, Json]]:
        """The manifest's entry of each stage, the one finished last standing last."""
        entries: dict[str, dict[str, Json]] = self.manifest["stages"]
        return entries

    def save(self) -> None:
        """Write the manifest; `StorageError` if the run directory was deleted or replaced meanwhile."""
        with self._changing:
            self.check_writable()
            text = json.dumps(json_value(self.manifest), indent=2, allow_nan=False)
            write_bytes(self.path / MANIFEST_FILE, text.encode() + b"\n")

    def note(self, facts: Mapping[str, Json]) -> None:
        """Record facts of the whole run (``input``, ``device``, ``seed``, ...) in the manifest."""
        with self._changing:
            self.manifest.update(json_value(facts))
            self.manifest["versions"] = versions()
            self.save()

    def write_settings(self) -> None:
        """Put this work's settings into ``settings.toml`` and the manifest, beside those of earlier work."""
        self.check_writable()
        sections = {settings.section: json_value(settings) for settings in self.settings}
        self.manifest["settings"] = {**self.manifest.get("settings", {}), **sections}
        path = self.path / "settings.toml"
        try:
            text = to_toml(*self.settings, beside=read_toml(path, SECTIONS, earlier=True))
        except LabelfillError:  # no such file yet, or edited by hand beyond reading: it is written for people
            text = to_toml(*self.settings)
        write_bytes(path, text.encode("utf-8", "replace"))

    def damage(self, outputs: Mapping[str, str]) -> str | None:
        for path, sha256 in outputs.items():
            file = self.path / path
            if not file.is_file():
                return f"{file} is missing"
            if sha256_file(file) != sha256:
                return f"{file} is damaged or was changed (its SHA-256 does not match)"
        return None

    def checkpoint_folder(self, stage: str) -> Path:
        return self.path / "checkpoints" / safe_file_name(stage)

    def check_writable(self) -> None:
        """Raise `StorageError` if the run directory was deleted or replaced since it was opened."""
        assert self._lock is not None, f"{self.path} was opened for reading"
        self._lock.check()

    def save_unit(
        self, stage: str, unit: str, files: Mapping[str, bytes], results: Mapping[str, Json] | None = None
    ) -> None:
        """Write a unit's files (by path relative to the run directory), then record it as finished."""
        self.check_writable()
        hashes = {}
        for relative, data in files.items():
            make_folder((self.path / relative).parent)
            hashes[relative] = write_bytes(self.path / relative, data)
        with self._changing:
            self.stages[stage]["units"][unit] = {"files": hashes, "results": json_value(results or {})}
            self.save()
        if self.watcher is not None:
            self.watcher.unit_saved(files)

    def finished_unit(self, stage: str, unit: str) -> dict[str, Json] | None:
        """``{"files": {path: sha256}, "results": ...}`` of a finished unit, its files in order; else None."""
        entry: dict[str, Json] | None = self.stages[stage]["units"].get(unit)
        if entry is None:
            return None
        if damage := self.damage(entry["files"]):
            _log.warning("%s: %s is trained again: %s", stage, unit, damage)
            return None
        return entry

    def read_artefact(self, stage: str, relative: str) -> bytes:
        """The bytes of a stage's file, their SHA-256 verified.

        Raises
        ------
        ModelError
            If the file is not one of the stage's, is missing, or is damaged.
        """
        entry = self.stages.get(stage, {"units": {}, "outputs": {}})
        recorded = dict(entry["outputs"])
        for unit in entry["units"].values():
            recorded.update(unit["files"])
        path = self.path / relative
        if relative not in recorded:
            raise ModelError(
                f"{path} is not a finished result of {stage}: run `labelfill {command_of(stage)}` first"
            )
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ModelError(
                f"{path} is missing: run `labelfill {command_of(stage)}` again to recreate it"
            ) from None
        except OSError as error:
            raise storage_error(error, path, "read") from error
        if hashlib.sha256(data).hexdigest() != recorded[relative]:
            raise ModelError(
                f"{path} is damaged (its SHA-256 does not match): run `labelfill {command_of(stage)}` again"
            )
        return data


def command_of(stage: str) -> str:
    """The command that does a stage: what stands before the first space of its name."""
    return stage.partition(" ")[0]
