"""Stages computed by worker processes and a Dask cluster: the same bytes as in one process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labelfill.networks import tasks
from labelfill.regressors import answering
from labelfill.regressors.units import UnitTrainer
from labelfill.runs import engines
from tests.driving import done, files_below, labelfill
from tests.stages.test_stages_resume import all_files
from tests.trained_runs import SMALL_FINAL, Trained, answer_few_rows_at_once

distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")

TRAINED = ("keypoint-models", "shared-models")


TRAIN, ANSWER = tasks._train, answering._answer


def train_alike(*what: Any) -> Any:
    """A worker's training, with as many rows at once as in the process that the run is compared with."""
    answer_few_rows_at_once()
    return TRAIN(*what)


def answer_alike(*what: Any) -> Any:
    answer_few_rows_at_once()
    return ANSWER(*what)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a hundred rows are several shards, other than in the run that these are compared with."""
    monkeypatch.setattr(answering, "ROWS_AT_ONCE", 40)
    monkeypatch.setattr(tasks, "_train", train_alike)
    monkeypatch.setattr(answering, "_answer", answer_alike)


def train(trained: Trained, run: Path, *options: object) -> None:
    done("train-keypoint-models", "--data", trained.table, "--run-dir", run, "--epochs", 2, *options)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two worker processes with two threads each on this machine."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
    ) as two:
        yield two


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_comes_to_the_same_bytes(
    small_final: Trained, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All stages on two workers, reached by their scheduler's address, leave what one process leaves.

    One of the workers is killed while models are trained: what it held is done again by the other, or by the
    one that takes its place.
    """
    keep, killed = UnitTrainer._keep, []

    def kill_one(self: UnitTrainer, *finished: Any) -> None:
        if not killed:
            with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
                killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)
        keep(self, *finished)

    monkeypatch.setattr(UnitTrainer, "_keep", kill_one)
    run, cluster_s = tmp_path / "run", ("--backend", "dask", "--scheduler", cluster.scheduler_address)
    train(small_final, run, *cluster_s)
    done("impute", "--run-dir", run, *cluster_s)
    done("train-final", "--run-dir", run, *SMALL_FINAL)
    assert all_files(run) == all_files(small_final.run)
    assert len(killed) == 1


@pytest.mark.slow
def test_worker_processes_come_to_the_same_bytes(
    small: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models trained by loky's processes, however small they are, are those of one process."""
    monkeypatch.setattr(tasks, "_WORTH_WORKERS", 0)
    monkeypatch.setattr(tasks, "processors", lambda: 2)
    train(small, tmp_path / "run")
    assert files_below(tmp_path / "run", *TRAINED) == files_below(small.run, *TRAINED)


@pytest.mark.slow
@pytest.mark.parametrize(("told", "seen"), [("5,7", {"5", "7"}), (None, {"0", "1"})])
def test_each_worker_process_sees_one_gpu_of_several(
    told: str | None, seen: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that the command may use; with a single one nothing is changed."""
    if told is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    jobs = dict.fromkeys(range(24), "none is named")

    def visible(gpus: int) -> set[str]:
        found = engines.LOCAL.results(os.getenv, "CUDA_VISIBLE_DEVICES", jobs, 2, gpus=gpus)
        return {value for _, value in found}

    assert visible(2) <= seen
    assert visible(1) == {told or "none is named"}


def test_a_scheduler_that_does_not_answer_is_named(
    small_prior: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4, and how to start one."""
    monkeypatch.setattr(engines, "_PATIENCE", 1)
    nowhere = ("--backend", "dask", "--scheduler", "tcp://127.0.0.1:9")
    asked = ("--data", small_prior.table, "--run-dir", tmp_path / "run", *nowhere)
    outcome = labelfill("train-keypoint-models", *asked)
    assert outcome.code == 4
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in outcome.sentence
    assert "dask scheduler" in outcome.sentence


def test_a_scheduler_needs_the_backend_that_has_one(small_prior: Trained, tmp_path: Path) -> None:
    """--scheduler would do nothing without --backend dask."""
    nowhere = ("--scheduler", "tcp://127.0.0.1:9")
    asked = ("--data", small_prior.table, "--run-dir", tmp_path / "run", *nowhere)
    outcome = labelfill("train-keypoint-models", *asked)
    assert outcome.code == 2
    assert "it is only used with --backend dask" in outcome.sentence


def test_a_backend_that_is_not_installed_says_how_to_get_it(
    small_prior: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    run = ("--data", small_prior.table, "--run-dir", tmp_path / "run", "--backend", "dask")
    outcome = labelfill("train-keypoint-models", *run)
    assert outcome.code == 2
    assert "pip install 'labelfill[dask]'" in outcome.sentence
