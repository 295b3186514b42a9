"""The manifest in memory and on disk, and the right to change it: what stages and artefacts share."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from labelfill.errors import LabelfillError
from labelfill.runs._files import sha256_file, write_bytes
from labelfill.runs._lock import RunLock
from labelfill.runs._manifest import Json, json_value, save_manifest, versions
from labelfill.runs._names import safe_file_name
from labelfill.settings import SECTIONS, Settings, read_toml, to_toml


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
        self,
        path: Path,
        manifest: dict[str, Json],
        lock: RunLock | None,
        settings: tuple[Settings, ...] = (),
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
            save_manifest(self.path, self.manifest)

    def note(self, **facts: Json) -> None:
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
            text = to_toml(*self.settings, beside=read_toml(path, SECTIONS))
        except LabelfillError:  # no such file yet, or edited by hand beyond reading: it is written for people
            text = to_toml(*self.settings)
        write_bytes(path, text.encode("utf-8", "replace"))

    def damage(self, outputs: Mapping[str, str]) -> str | None:
        for path, sha256 in outputs.items():
            file = self.path / path
            if not file.is_file():
                return f"{file} is missing"
            if sha256_file(file) != sha256:
                return f"{file} is damaged or was changed (its SHA-256 is not the recorded one)"
        return None

    def checkpoint_folder(self, stage: str) -> Path:
        return self.path / "checkpoints" / safe_file_name(stage)

    def check_writable(self) -> None:
        """Raise `StorageError` if the run directory was deleted or replaced since it was opened."""
        assert self._lock is not None, f"{self.path} was opened for reading"
        self._lock.check()


def command_of(stage: str) -> str:
    """The command that does a stage: what stands before the first space of its name."""
    return stage.partition(" ")[0]
