"""Stages of a run, and output files that belong together.

A stage is begun, does units of work (one keypoint, say), and is finished. A process may be killed
between any two statements here: the next one finds out what counts.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from labelfill.errors import ModelError, StorageError, UsageError, real_path
from labelfill.runs._files import destination, remove_orphans_of, sha256_file, staged_write
from labelfill.runs._ledger import Ledger, command_of
from labelfill.runs._manifest import Json, changes, json_value, now, seal_of, versions

StageState = Literal["fresh", "resume", "done"]

_log = logging.getLogger("labelfill")


@dataclass(frozen=True)
class Standing:
    """How a stage stands, and so what beginning it means.

    Attributes
    ----------
    state
        ``'done'``: it is finished for the same inputs and its files are in order, nothing is to be done.
        ``'resume'``: begun before with the same inputs. ``'fresh'``: to be begun, or begun anew.
    units
        Names of finished units: kept by a stage that goes on, lost by one that is begun anew.
    starts_over
        Whether beginning it puts earlier work aside.
    """

    state: StageState
    units: tuple[str, ...] = ()
    starts_over: bool = False


class Stages(Ledger):
    """The part of `RunDirectory` that begins, finishes and requires stages."""

    # A folder for outputs, of a run that is only looked at.
    _would_be_made: Path | None = None

    def standing(self, name: str, inputs: Mapping[str, Json], force: bool = False) -> Standing:
        """How a stage stands, before anything is done about it; changes nothing.

        Parameters
        ----------
        name : str
            The command's name; what follows a space tells several entries of one command apart.
        inputs : dict
            Everything that decides the result: settings, seed, hashes of tables and of earlier stages.

        Raises
        ------
        UsageError
            If it was begun with other inputs and work would be lost; names what changed.
        """
        inputs = json_value(inputs)
        entry = self.stages.get(name)
        if entry is None:
            return Standing("fresh")
        units, differences = tuple(entry["units"]), changes(entry["inputs"], inputs)
        begun = self._anything_done(name, entry)
        if force or (differences and not begun):
            return Standing("fresh", units, starts_over=begun)
        if differences:
            shown = "; ".join(differences[:3]) + (
                "" if len(differences) <= 3 else f"; {len(differences) - 3} more"
            )
            done = "finished" if entry["state"] == "done" else "begun"
            raise UsageError(
                f"{name} was {done} in {self.path} with different inputs ({shown}); "
                "use --force to start over, or choose another --run-dir"
            )
        if entry["state"] == "done":
            damage = self.damage(entry["outputs"])
            if damage is None:
                return Standing("done", units)
            _log.warning("%s is repeated where necessary: %s", name, damage)
        if entry["versions"] != versions():
            _log.warning(
                "%s was started with other versions (%s), so results may differ slightly",
                name,
                "; ".join(changes(entry["versions"], versions())),
            )
        return Standing("resume", units)

    def begin_stage(self, name: str, inputs: Mapping[str, Json], force: bool = False) -> StageState:
        """Begin or continue a stage, as its `standing` says; what it is to be begun as."""
        state = self.standing(name, inputs, force).state
        if state == "fresh":
            self._begin_fresh(name, json_value(inputs), self.stages.get(name))
        elif state == "done":
            self._drop_checkpoints(name)  # a run may have been killed just before it did
        else:
            self.stages[name]["state"] = "running"
            self.save()
        return state

    def settled(self, stage: str, name: str, value: Json) -> Json:
        """What is chosen when a stage is begun and stays so when it goes on: `value`, or the one kept."""
        kept = self.stages[stage].setdefault("settled", {})
        if name not in kept:
            with self._changing:
                kept[name] = json_value(value)
                self.save()
        return kept[name]

    def _anything_done(self, name: str, entry: Mapping[str, Json]) -> bool:
        """Whether starting a stage over would lose work; one that stopped at a mistyped setting has none."""
        return entry["state"] == "done" or bool(entry["units"]) or any(self.checkpoint_folder(name).glob("*"))

    def _begin_fresh(self, name: str, inputs: Json, previous: dict[str, Json] | None) -> None:
        replaceable: dict[str, list[str]] = {}
        if previous is not None:
            replaceable = dict(previous["replaceable"])
            for path, sha256 in previous["outputs"].items():
                replaceable[path] = [*replaceable.get(path, []), sha256]
        with self._changing:
            self.stages.pop(name, None)
            self.stages[name] = {
                "state": "running",
                "begun": now(),
                "attempt": secrets.token_hex(8),  # checkpoints of an earlier attempt are not continued
                "inputs": inputs,
                "versions": versions(),
                "units": {},
                "outputs": {},
                "replaceable": replaceable,
            }
            if self.settings:
                self.write_settings()
            self.save()
        self._drop_checkpoints(name)

    def finish_stage(self, name: str, results: Mapping[str, Json] | None = None) -> None:
        """Mark a stage as finished; its files are those of all its units and of `outputs`.

        Parameters
        ----------
        results : dict, optional
            Figures to keep.
        """
        with self._changing:
            entry = self.stages.pop(name)
            known = {path: sha for unit in entry["units"].values() for path, sha in unit["files"].items()}
            entry["outputs"] = {**known, **entry.pop("intent", {})}
            entry.update(state="done", finished=now(), results=json_value(results or {}), replaceable={})
            entry["seal"] = seal_of(entry["inputs"], entry["results"])
            self.stages[name] = entry  # the last entry is the one finished last
            self.save()
        self._drop_checkpoints(name)

    def _drop_checkpoints(self, name: str) -> None:
        # Errors are passed over: a checkpoint left behind is never continued, its attempt is over.
        shutil.rmtree(self.checkpoint_folder(name), ignore_errors=True)

    def require_stage(self, name: str) -> dict[str, Json]:
        """The manifest's entry of a finished stage, its files verified.

        Raises
        ------
        ModelError
            If it was not run, is half done, or one of its files is missing or damaged.
        """
        command = f"`labelfill {command_of(name)} --run-dir {self.path}`"
        entry = self.stages.get(name)
        if entry is None:
            raise ModelError(f"{self.path} contains no results of {name}: run {command} first")
        if entry["state"] != "done":
            raise ModelError(f"{name} in {self.path} is unfinished: run {command} again to finish it")
        if damage := self.damage(entry["outputs"]):
            raise ModelError(f"{damage}: run {command} again to recreate it")
        return entry

    def last_finished(self, command: str) -> str | None:
        """The name of the stage of a command (``impute`` of ``impute filled.csv``) that was finished last."""
        for name in reversed(self.stages):
            if command_of(name) == command and self.stages[name]["state"] == "done":
                return name
        return None

    def stage_fingerprint(self, name: str) -> str:
        """One SHA-256 over a finished stage's inputs and files, an input of the stage that builds on it."""
        entry = self.stages[name]
        text = json.dumps([entry["inputs"], entry["outputs"]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def check_outputs(self, stage: str, paths: Sequence[Path], *, overwrite: bool) -> None:
        """Refuse to overwrite files that this stage did not write, unless `overwrite`.

        Raises
        ------
        UsageError
            Naming the file and ``--force``.
        StorageError
            If there is no folder to write to.
        """
        entry = self.stages.get(stage, {"replaceable": {}, "outputs": {}})
        made = {real_path(folder) for folder in (self.path, self._would_be_made) if folder is not None}
        for path in paths:
            folder = destination(path).parent
            if not folder.is_dir() and real_path(folder) not in made:
                raise StorageError(f"cannot write {path}: the folder does not exist; create it")
            if not destination(path).exists() or overwrite:
                continue
            key = self.recorded_path(path)
            written = {*entry["replaceable"].get(key, []), entry["outputs"].get(key)}
            if sha256_file(path) not in written:
                raise UsageError(
                    f"{path} already exists: choose another file, or use --force to overwrite it"
                )

    @contextmanager
    def outputs(self, stage: str, paths: Sequence[Path], *, overwrite: bool) -> Iterator[list[BinaryIO]]:
        """Files that belong together; they take their places, in the order given, when the block ends well.

        Their hashes go into the manifest before the first is in its place: a run killed in between
        knows its own files again, and may overwrite them. The caller ends with `finish_stage`.
        """
        self.check_outputs(stage, paths, overwrite=overwrite)
        keys = [self.recorded_path(path) for path in paths]
        self._may_replace(
            stage, {key: sha256_file(p) for key, p in zip(keys, paths, strict=True) if p.is_file()}
        )
        with ExitStack() as stack:
            staged = []
            for path in paths:
                remove_orphans_of(path)
                staged.append(stack.enter_context(staged_write(path)))
            yield [each.file for each in staged]
            for each in staged:
                each.finish()
            intent = {key: sha256_file(each.temporary) for key, each in zip(keys, staged, strict=True)}
            self.stages[stage]["intent"] = intent
            self._may_replace(stage, intent)
            for each in staged:
                each.publish()

    def _may_replace(self, stage: str, hashes: Mapping[str, str]) -> None:
        with self._changing:
            replaceable = self.stages[stage]["replaceable"]
            for key, sha256 in hashes.items():
                replaceable[key] = sorted({*replaceable.get(key, []), sha256})
            self.save()

    def recorded_path(self, path: Path) -> str:
        """A path for the manifest: relative within the run directory (it may be moved), else absolute."""
        resolved, root = Path(os.path.abspath(path)), Path(os.path.abspath(self.path))
        return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(resolved)
