"""Units of work of a stage: their files with SHA-256.

A unit counts as finished when the manifest holds the SHA-256 of its files and the files have them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping

from labelfill.errors import ModelError
from labelfill.runs._files import make_folder, storage_error, write_bytes
from labelfill.runs._ledger import Ledger, command_of
from labelfill.runs._manifest import Json, json_value

_log = logging.getLogger("labelfill")


class Artefacts(Ledger):
    """The part of `RunDirectory` that keeps units of work."""

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
            _log.warning("%s %s is made anew: %s", stage, unit, damage)
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
                f"{path} is no finished result of {stage}: run `labelfill {command_of(stage)}` first"
            )
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ModelError(
                f"{path} is missing: run `labelfill {command_of(stage)}` again to make it anew"
            ) from None
        except OSError as error:
            raise storage_error(error, path, "read") from error
        if hashlib.sha256(data).hexdigest() != recorded[relative]:
            raise ModelError(
                f"{path} is damaged (its SHA-256 is not the recorded one): "
                f"run `labelfill {command_of(stage)}` again"
            )
        return data
