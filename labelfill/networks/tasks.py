"""Networks trained as independent tasks, several at a time: in worker processes, on a cluster, or here."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from labelfill.networks.checkpoints import Fitted
from labelfill.networks.devices import Computing
from labelfill.networks.memory import alone
from labelfill.runs.engines import WorkersLost

_log = logging.getLogger("labelfill")

# In fewer steps than this in all, starting worker processes costs more than it saves.
_WORTH_WORKERS = 600
_MOST_WORKERS = 8


class Job(Protocol):
    """Networks of several folds that one task trains."""

    def train(
        self, evidence: Any, folds: Sequence[int], checkpoint: Callable[[int], Path | None]
    ) -> list[Fitted]:
        """Train the networks of some folds, each without its fold's rows, by what all tasks share.

        Parameters
        ----------
        checkpoint
            From a fold to the file of its unfinished state, if it is kept.
        """


@dataclass(frozen=True)
class Task:
    """Networks to train in one go, and all they need beside the evidence, for a worker process.

    Attributes
    ----------
    folds
        One network for each.
    steps
        About how many training steps that takes, those of larger networks counted several times.
    checkpoints
        How names of its checkpoints begin; None on a cluster, where a unit that stops is begun again.
    """

    job: Job
    folds: tuple[int, ...]
    steps: float
    checkpoints: Path | None

    def checkpoint(self, fold: int) -> Path | None:
        """The file of a fold's unfinished state, if it is kept."""
        begin = self.checkpoints
        return None if begin is None else begin.with_name(f"{begin.name}-{fold}.safetensors")


def perform(tasks: Sequence[Task], evidence: Any, computing: Computing) -> Iterator[tuple[int, list[Fitted]]]:
    """The number of each task and what came of it; by a process per core or GPU, the longest first."""
    engine, steps = computing.engine, [task.steps for task in tasks]
    gpus = _gpus(computing.device)
    most = min(os.cpu_count() or 1, _MOST_WORKERS) if computing.device.type == "cpu" else gpus
    workers = min(most, len(tasks))
    few = workers < 2 or sum(steps) < _WORTH_WORKERS
    todo = list(range(len(tasks)))
    if tasks and (engine.cluster or not few):
        todo.sort(key=lambda i: -steps[i])
        try:
            ordered = {i: tasks[i] for i in todo}
            for number, fitted in engine.results(_train, evidence, ordered, workers, gpus=gpus):
                todo.remove(number)
                yield number, fitted
        except WorkersLost as lost:
            _log.warning("%s: going on with one model at a time", lost)
    for i in todo:  # few, or those of workers that were lost
        yield i, _train(evidence, tasks[i])


def _gpus(device: torch.device) -> int:
    """How many CUDA devices may be used: all, unless one of them was named."""
    if device.type != "cuda":
        return 0
    return torch.cuda.device_count() if device.index is None else 1


def _train(evidence: Any, task: Task) -> list[Fitted]:
    """Train one task; always with one thread, so that its result does not depend on where it runs."""
    with alone(1):
        return task.job.train(evidence, task.folds, task.checkpoint)
