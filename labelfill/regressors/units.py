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
from labelfill.networks.fit import Plan
from labelfill.networks.memory import alone
from labelfill.regressors.ensemble import Regressor
from labelfill.regressors.files import STAGE, load_regressor, regressor_files
from labelfill.regressors.patch_regressor import MOST_EXAMPLES, Evidence, sought_keypoints, train_folds
from labelfill.regressors.unit_names import UnitKind, UnitName
from labelfill.regressors.views import View
from labelfill.runs import RunDirectory, safe_file_name
from labelfill.runs.engines import LOCAL, Engine, WorkersLost
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
class _Job:
    """A unit and all it needs beside the evidence, for a worker process.

    Attributes
    ----------
    checkpoints
        How names of its checkpoints begin; None on a cluster, where a unit that stops is begun again.
    """

    unit: Unit
    plan: Plan
    passes: int
    seed: int
    device: str
    checkpoints: Path | None


class UnitTrainer:
    """Trains units, skips those that are finished, and writes each as soon as it is."""

    def __init__(
        self,
        run: RunDirectory,
        settings: KeypointModelSettings,
        seed: int,
        device: torch.device,
        progress: bool,
        engine: Engine = LOCAL,
    ) -> None:
        self._run, self._settings, self._seed = run, settings, seed
        self._device, self._progress, self._engine = device, progress, engine

    def train(self, units: Sequence[Unit], evidence: Evidence, desc: str) -> list[Regressor]:
        """The trained regressors, in the order of `units`."""
        todo = [unit for unit in units if self._run.finished_unit(STAGE, str(unit.name)) is None]
        folder = self._run.checkpoint_folder(STAGE)
        folder.mkdir(parents=True, exist_ok=True)
        attempt = self._run.stages[STAGE]["attempt"]
        jobs = [
            _Job(unit, *self._plan(unit, evidence), self._seed, str(self._device),
                 None if self._engine.cluster else folder / f"{attempt}-{safe_file_name(str(unit.name))}")
            for unit in todo
        ]  # fmt: skip
        with bar(total=len(units), desc=desc, unit="model", show=self._progress) as shown:
            shown.update(len(units) - len(jobs))
            for job, fitted in _perform(jobs, evidence, self._device, self._engine):
                self._keep(job, evidence, fitted)
                shown.update()
        return [load_regressor(self._run, unit.name, evidence.schema, self._device) for unit in units]

    def _plan(self, unit: Unit, evidence: Evidence) -> tuple[Plan, int]:
        """How a unit is trained, and how often an epoch goes through its rows."""
        settings = self._settings
        factor = _FACE_EPOCHS if unit.name.kind is UnitKind.FACE else 1.0
        epochs = max(round(settings.epochs * factor), 1)
        passes = 1
        if settings.epochs >= KeypointModelSettings().epochs:  # who asks for fewer epochs gets fewer
            examples = min(_example_count(unit, evidence), MOST_EXAMPLES)
            needed = math.ceil(_LEAST_STEPS * settings.batch_size / (examples * epochs))
            passes = min(max(needed, 1), _MOST_PASSES)
        plan = Plan(epochs, settings.batch_size, settings.learning_rate, best_by=settings.best_by)
        return plan, passes

    def _keep(self, job: _Job, evidence: Evidence, fitted: list[Fitted]) -> None:
        unit = job.unit
        files = regressor_files(unit.name, unit.view, fitted, evidence.schema, _example_count(unit, evidence))
        best = [one.history[one.best_epoch] for one in fitted]
        self._run.save_unit(STAGE, str(unit.name), files, {"best": best})
        self._run.record({"stage": STAGE, "unit": str(unit.name), "label": unit.label, "best": best})


def _example_count(unit: Unit, evidence: Evidence) -> int:
    """About how many examples one fold's model learns from."""
    labelled = evidence.anchors.exact[evidence.training]
    sought = sought_keypoints(unit.view, unit.bank, np.any(labelled, axis=0))
    count = int(labelled[:, sought].any(axis=1).sum())
    mirrored = 1 if evidence.partners is None else 2
    return max(round(count * mirrored * (1 - 1 / evidence.fold_count)), 1)


def _perform(
    jobs: list[_Job], evidence: Evidence, device: torch.device, engine: Engine
) -> Iterator[tuple[_Job, list[Fitted]]]:
    """Each job and what came of it, as they are finished: by a process per core or GPU."""
    steps = [_steps(job, evidence) for job in jobs]
    gpus = _gpus(device)
    most = min(os.cpu_count() or 1, _MOST_WORKERS) if device.type == "cpu" else gpus
    workers = min(most, len(jobs))
    few = workers < 2 or sum(steps) < _WORTH_WORKERS
    if not jobs or (few and not engine.cluster):
        for job in jobs:
            yield job, _train(evidence, job)
        return
    # The longest first; a step of a regressor of all keypoints takes about three times as long.
    todo = sorted(
        range(len(jobs)), key=lambda i: -steps[i] * (3 if jobs[i].unit.view.keypoint is None else 1)
    )
    try:
        ordered = {i: jobs[i] for i in todo}
        for number, fitted in engine.results(_train, evidence, ordered, workers, gpus=gpus):
            todo.remove(number)
            yield jobs[number], fitted
    except WorkersLost as lost:
        _log.warning("%s: going on with one model at a time", lost)
    for i in todo:  # none, unless workers were lost
        yield jobs[i], _train(evidence, jobs[i])


def _gpus(device: torch.device) -> int:
    """How many CUDA devices may be used: all, unless one of them was named."""
    if device.type != "cuda":
        return 0
    return torch.cuda.device_count() if device.index is None else 1


def _steps(job: _Job, evidence: Evidence) -> float:
    """How many training steps a unit takes, over all folds."""
    examples = job.passes * min(_example_count(job.unit, evidence), MOST_EXAMPLES)
    return job.plan.epochs * evidence.fold_count * examples / job.plan.batch_size


def _train(evidence: Evidence, job: _Job) -> list[Fitted]:
    """Train one unit; always with one thread, so that its result does not depend on where it runs."""
    begin = job.checkpoints

    def checkpoint(fold: int) -> Path | None:
        return None if begin is None else begin.with_name(f"{begin.name}-{fold}.safetensors")

    with alone(1):
        return train_folds(
            job.unit.view, job.unit.bank, evidence, job.plan,
            seed=job.seed, name=str(job.unit.name), device=torch.device(job.device), passes=job.passes,
            checkpoint=checkpoint,
        )  # fmt: skip
