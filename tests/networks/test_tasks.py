"""Tasks in a row, and the trial by which it is estimated how long they take."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from labelfill.networks import tasks as module
from labelfill.networks.architectures import PatchRegressor
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.devices import Computing
from labelfill.networks.fit import Plan, fit
from labelfill.networks.tasks import Task, announce, estimated_seconds, perform
from labelfill.runs.engines import Engine
from tests.toy_examples import CPU, SIDE, examples

HERE = Computing(CPU)
TRAINED: list[tuple[int, int]] = []  # epochs and folds of what was trained in this process


@dataclass(frozen=True)
class ToyJob:
    """Toy networks."""

    plan: Plan = Plan(epochs=3, batch_size=16, learning_rate=5e-3)

    def train(
        self, evidence: int, folds: Sequence[int], checkpoint: Callable[[int], Path | None]
    ) -> list[Fitted]:
        TRAINED.append((self.plan.epochs, len(folds)))
        fitted = []
        for fold in folds:
            torch.manual_seed(fold)
            fitted.append(
                fit(
                    PatchRegressor(SIDE), lambda epoch: examples(epoch + evidence), None, self.plan,
                    key=(0, fold), checkpoint=checkpoint(fold),
                )
            )  # fmt: skip
        return fitted


def some_tasks(steps: float) -> list[Task]:
    return [Task(ToyJob(), (0, 1), steps, None) for _ in range(2)]


@pytest.fixture(autouse=True)
def trained() -> list[tuple[int, int]]:
    TRAINED.clear()
    return TRAINED


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system keeps no process to processors")
def test_no_more_processors_are_used_than_may_be() -> None:
    """Workers and threads of a command that a queue's scheduler keeps to one of the machine's processors."""
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import torch; "
        "from labelfill.networks import devices, tasks; torch.set_num_threads(3); "
        "device = devices.choose_device('cpu'); "
        "print(torch.get_num_threads(), tasks._workers(range(9), devices.Computing(device)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "1"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="GNU's OpenMP is read by glibc's systems alone")
@pytest.mark.parametrize(
    ("asked", "found"),
    [({}, "2000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
)
def test_threads_that_wait_for_each_other_soon_leave_the_processor(asked: dict[str, str], found: str) -> None:
    """What OpenMP itself says when PyTorch is loaded after labelfill; a person's own choice stands."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    environment = {**kept, "OMP_DISPLAY_ENV": "VERBOSE", **asked}
    program = "import labelfill, torch"
    told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert f"GOMP_SPINCOUNT = '{found}'" in told.stderr.decode()


def test_an_estimate_is_proportional_to_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch of one fold is tried: its time by the ratio of steps is the estimate."""
    monkeypatch.setattr(module, "_WORTH_A_TRIAL", 0)
    monkeypatch.setattr(module, "_workers", lambda *_: 1)
    monkeypatch.setattr(module, "_timed_epoch", lambda *_: (0.0, 7.0))
    tasks = [Task(ToyJob(), (0, 1), 10, None), Task(ToyJob(), (0, 1), 30, None)]
    # Of the smaller task an epoch of a fold is a sixth, which takes 7 s; both together are four times it.
    assert estimated_seconds(tasks, 0, HERE) == pytest.approx(7 * 6 * 4)


def test_a_trial_is_one_epoch_and_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The networks trained after it are those that would have been trained without it."""
    tasks = [Task(ToyJob(), (0, 1), 100, tmp_path / "unit")]
    without = dict(perform(tasks, 0, HERE, "toys"))
    monkeypatch.setattr(module, "_WORTH_A_TRIAL", 0)
    TRAINED.clear()
    for path in tmp_path.iterdir():
        path.unlink()
    seconds = estimated_seconds(tasks, 0, HERE)
    assert seconds is not None
    assert seconds > 0
    assert TRAINED == [(1, 1)]
    assert not list(tmp_path.iterdir())
    after = dict(perform(tasks, 0, HERE, "toys"))
    for one, other in zip(without[0], after[0], strict=True):
        assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)


def test_little_work_and_clusters_are_not_tried() -> None:
    """Little work takes less than a minute; of a cluster's workers nothing is known."""
    assert estimated_seconds(some_tasks(10), 0, HERE) == 0
    assert estimated_seconds([], 0, HERE) == 0
    assert estimated_seconds(some_tasks(1e6), 0, Computing(CPU, engine=Engine("dask"))) is None
    assert not TRAINED


@pytest.mark.parametrize(("often", "said"), [(1, []), (10**6, ["toys: about"])])
def test_long_work_is_announced(often: int, said: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """One sentence before it begins; nothing of short work."""
    caplog.set_level(logging.INFO, "labelfill")
    assert announce("toys", often * some_tasks(10), 0, HERE)
    assert [line[:11] for line in caplog.messages] == said
    assert all(line.endswith(" left") for line in caplog.messages)
