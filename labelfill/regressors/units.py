"""Trains regressors as independent units of work, several at a time, and keeps what is finished."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from labelfill.networks.checkpoints import Fitted
from labelfill.networks.devices import Computing
from labelfill.networks.fit import Plan
from labelfill.networks.memory import alone
from labelfill.regressors.ensemble import Regressor
from labelfill.regressors.files import STAGE, load_regressor, regressor_files
from labelfill.regressors.patch_regressor import (
    MOST_EXAMPLES,
    Evidence,
    RegressorJob,
    sought_keypoints,
    train_folds,
)
from labelfill.regressors.unit_names import UnitKind, UnitName
from labelfill.regressors.views import View
from labelfill.runs import RunDirectory, safe_file_name
from labelfill.runs.engines import WorkersLost
from labelfill.runs.progress import bar
from labelfill.settings import KeypointModelSettings
from labelfill.sources.anchors import PatternBank

__all__ = ["STAGE", "Unit", "UnitTrainer"]

_log = logging.getLogger("labelfill")

# Regressors of few rows go through them several times per epoch, so that each still takes about this many
# steps: more epochs instead would each end with a look at the validation rows and a checkpoint.
_LEAST_STEPS = 100
_MOST_PASSES = 12
_FACE_EPOCHS = 1.5
# In fewer steps than this in all, starting worker processes costs more than it saves.
_WORTH_WORKERS = 600
_MOST_WORKERS = 8


@dataclass(frozen=True)
class Unit:
    """One regressor to train: what it sees, and the patterns of the rows that it will fill."""

    name: UnitName
    label: str
    view: View
    bank: PatternBank


@dataclass(frozen=True)
class _Task:
    """A unit and all it needs beside the evidence, for a worker process.

    Attributes
    ----------
    checkpoints
        How names of its checkpoints begin; None on a cluster, where a unit that stops is begun again.
    """

    unit: Unit
    job: RegressorJob
    checkpoints: Path | None

    def checkpoint(self, fold: int) -> Path | None:
        """The file of a fold's unfinished state, if it is kept."""
        begin = self.checkpoints
        return None if begin is None else begin.with_name(f"{begin.name}-{fold}.safetensors")


@dataclass(frozen=True)
class UnitTrainer:
    """Trains units, skips those that are finished, and writes each as soon as it is."""

    run: RunDirectory
    settings: KeypointModelSettings
    seed: int
    computing: Computing

    def train(self, units: Sequence[Unit], evidence: Evidence, desc: str) -> list[Regressor]:
        """The trained regressors, in the order of `units`."""
        run, computing = self.run, self.computing
        tasks = [
            self._task(unit, evidence) for unit in units
            if run.finished_unit(STAGE, str(unit.name)) is None
        ]  # fmt: skip
        run.checkpoint_folder(STAGE).mkdir(parents=True, exist_ok=True)
        with bar(total=len(units), desc=desc, unit="model", show=computing.progress) as shown:
            shown.update(len(units) - len(tasks))
            for task, fitted in _perform(tasks, evidence, computing):
                self._keep(task.unit, evidence, fitted)
                shown.update()
        return [load_regressor(run, unit.name, evidence.schema, computing.device) for unit in units]

    def _task(self, unit: Unit, evidence: Evidence) -> _Task:
        plan, passes = self._plan(unit, evidence)
        device = str(self.computing.device)
        job = RegressorJob(str(unit.name), unit.view, unit.bank, plan, passes, self.seed, device)
        attempt = self.run.stages[STAGE]["attempt"]
        begin = self.run.checkpoint_folder(STAGE) / f"{attempt}-{safe_file_name(job.name)}"
        return _Task(unit, job, None if self.computing.engine.cluster else begin)

    def _plan(self, unit: Unit, evidence: Evidence) -> tuple[Plan, int]:
        """How a unit is trained, and how often an epoch goes through its rows."""
        settings = self.settings
        factor = _FACE_EPOCHS if unit.name.kind is UnitKind.FACE else 1.0
        epochs = max(round(settings.epochs * factor), 1)
        passes = 1
        if settings.epochs >= KeypointModelSettings().epochs:  # who asks for fewer epochs gets fewer
            examples = min(_example_count(unit, evidence), MOST_EXAMPLES)
            needed = math.ceil(_LEAST_STEPS * settings.batch_size / (examples * epochs))
            passes = min(max(needed, 1), _MOST_PASSES)
        plan = Plan(epochs, settings.batch_size, settings.learning_rate, best_by=settings.best_by)
        return plan, passes

    def _keep(self, unit: Unit, evidence: Evidence, fitted: list[Fitted]) -> None:
        name = str(unit.name)
        files = regressor_files(unit.name, unit.view, fitted, evidence.schema, _example_count(unit, evidence))
        best = [network.history[network.best_epoch] for network in fitted]
        self.run.save_unit(STAGE, name, files, {"best": best})
        self.run.record({"stage": STAGE, "unit": name, "label": unit.label, "best": best})


def _example_count(unit: Unit, evidence: Evidence) -> int:
    """About how many examples one fold's model learns from."""
    labelled = evidence.anchors.exact[evidence.training]
    sought = sought_keypoints(unit.view, unit.bank, np.any(labelled, axis=0))
    count = int(labelled[:, sought].any(axis=1).sum())
    mirrored = 1 if evidence.partners is None else 2
    return max(round(count * mirrored * (1 - 1 / evidence.fold_count)), 1)


def _perform(
    tasks: list[_Task], evidence: Evidence, computing: Computing
) -> Iterator[tuple[_Task, list[Fitted]]]:
    """Each task and what came of it, as they are finished: by a process per core or GPU."""
    engine, steps = computing.engine, [_steps(task, evidence) for task in tasks]
    gpus = _gpus(computing.device)
    most = min(os.cpu_count() or 1, _MOST_WORKERS) if computing.device.type == "cpu" else gpus
    workers = min(most, len(tasks))
    few = workers < 2 or sum(steps) < _WORTH_WORKERS
    # The longest first; a step of a regressor of all keypoints takes about three times as long.
    todo = list(range(len(tasks)))
    if tasks and (engine.cluster or not few):
        todo.sort(key=lambda i: -steps[i] * (3 if tasks[i].unit.view.keypoint is None else 1))
        try:
            ordered = {i: tasks[i] for i in todo}
            for number, fitted in engine.results(_train, evidence, ordered, workers, gpus=gpus):
                todo.remove(number)
                yield tasks[number], fitted
        except WorkersLost as lost:
            _log.warning("%s: going on with one model at a time", lost)
    for i in todo:  # few, or those of workers that were lost
        yield tasks[i], _train(evidence, tasks[i])


def _gpus(device: torch.device) -> int:
    """How many CUDA devices may be used: all, unless one of them was named."""
    if device.type != "cuda":
        return 0
    return torch.cuda.device_count() if device.index is None else 1


def _steps(task: _Task, evidence: Evidence) -> float:
    """How many training steps a unit takes, over all folds."""
    plan = task.job.plan
    examples = task.job.passes * min(_example_count(task.unit, evidence), MOST_EXAMPLES)
    return plan.epochs * evidence.fold_count * examples / plan.batch_size


def _train(evidence: Evidence, task: _Task) -> list[Fitted]:
    """Train one unit; always with one thread, so that its result does not depend on where it runs."""
    with alone(1):
        return train_folds(task.job, evidence, checkpoint=task.checkpoint)
