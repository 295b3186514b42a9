"""Networks trained as independent tasks, several at a time: in worker processes, on a cluster, or here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from labelfill.networks.checkpoints import Fitted
from labelfill.networks.devices import Computing, processors
from labelfill.networks.fit import Plan
from labelfill.networks.memory import alone
from labelfill.runs.engines import WorkersLost
from labelfill.runs.progress import WORTH_SAYING, about, work_bar

_log = logging.getLogger("labelfill")

# In fewer steps than this in all, starting worker processes costs more than it saves.
_WORTH_WORKERS = 600
_MOST_WORKERS = 8
# Fewer steps take less than a minute on any processor, and need no estimate.
_WORTH_A_TRIAL = 2000


class Job(Protocol):
    """Networks of several folds that one task trains; a dataclass."""

    @property
    def plan(self) -> Plan:
        """How long and how fast each network learns."""

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


def perform(
    tasks: Sequence[Task], evidence: Any, computing: Computing, desc: str, *, done: int = 0,
    announced: bool = False,
) -> Iterator[tuple[int, list[Fitted]]]:  # fmt: skip
    """The number of each task and what came of it; by a process per core or GPU, the longest first.

    Parameters
    ----------
    desc, done
        What the progress bar is called, and how many models were finished before.
    announced
        Whether it was said how long this will take.
    """
    steps, models = [task.steps for task in tasks], done + len(tasks)
    with work_bar(sum(steps), desc=desc, show=computing.progress, announced=announced) as shown:
        shown.set_postfix_str(f"{done} of {models} models")
        for finished, (number, fitted) in enumerate(_performed(tasks, evidence, computing), done + 1):
            yield number, fitted
            shown.set_postfix_str(f"{finished} of {models} models", refresh=False)
            shown.update(steps[number])


def _performed(
    tasks: Sequence[Task], evidence: Any, computing: Computing
) -> Iterator[tuple[int, list[Fitted]]]:
    engine, steps = computing.engine, [task.steps for task in tasks]
    gpus, workers = _gpus(computing.device), _workers(tasks, computing)
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
            _log.warning("%s: continuing with one model at a time", lost)
    for i in todo:  # few, or those of workers that were lost
        yield i, _train(evidence, tasks[i])


def announce(what: str, tasks: Sequence[Task], evidence: Any, computing: Computing) -> bool:
    """Log about how long tasks will take, if that is over a minute; whether an estimate could be made."""
    seconds = estimated_seconds(tasks, evidence, computing)
    if seconds is not None and seconds >= WORTH_SAYING:
        _log.info("%s: %s left", what, about(seconds))
    return seconds is not None


def estimated_seconds(tasks: Sequence[Task], evidence: Any, computing: Computing) -> float | None:
    """About how long tasks will take; None on a cluster, whose workers are not known.

    One epoch of the network that costs least is trained and thrown away: it tells how long a step takes, and
    how long a task takes to get ready.
    """
    if computing.engine.cluster:
        return None
    steps = sum(task.steps for task in tasks)
    if steps < _WORTH_A_TRIAL:
        return 0.0
    task = min((task for task in tasks if task.steps), key=lambda each: each.steps / len(each.folds))
    ready, epoch = _timed_epoch(task, evidence, computing.device)
    epochs = len(task.folds) * task.job.plan.epochs
    return (len(tasks) * ready + steps * epoch * epochs / task.steps) / _workers(tasks, computing)


def _timed_epoch(task: Task, evidence: Any, device: torch.device) -> tuple[float, float]:
    """Seconds until a task's first network begins to learn, and of its first epoch; nothing is kept."""
    job: Any = task.job
    short = replace(job, plan=replace(job.plan, epochs=1))
    marks: list[float] = []

    def begin(_: int) -> None:  # asked for the file of an unfinished state, where a network begins to learn
        marks.append(time.perf_counter())

    for _ in range(1 if device.type == "cpu" else 2):  # the first epoch on a GPU is mostly warm-up
        started = time.perf_counter()
        marks = [started]
        with alone(1):
            short.train(evidence, task.folds[:1], begin)
    return marks[-1] - started, time.perf_counter() - marks[-1]


def _workers(tasks: Sequence[Task], computing: Computing) -> int:
    """How many tasks this machine trains at once."""
    on_cpu = computing.device.type == "cpu"
    most = min(processors(), _MOST_WORKERS) if on_cpu else _gpus(computing.device)
    return max(min(most, len(tasks)), 1)


def _gpus(device: torch.device) -> int:
    """How many CUDA devices may be used: all, unless one of them was named."""
    if device.type != "cuda":
        return 0
    return torch.cuda.device_count() if device.index is None else 1


def _train(evidence: Any, task: Task) -> list[Fitted]:
    """Train one task; always with one thread, so that its result does not depend on where it runs."""
    with alone(1):
        return task.job.train(evidence, task.folds, task.checkpoint)
