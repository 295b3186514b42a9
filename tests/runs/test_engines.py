"""Stages computed by worker processes and a Dask cluster: the same bytes as in one process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labelfill.data.synthetic import write_table
from labelfill.regressors import answering, units
from labelfill.regressors.units import UnitTrainer
from labelfill.runs import engines
from tests.driving import done, files_below, labelfill
from tests.trained_runs import draw_small_table

distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")

TRAINED = ("keypoint-models", "shared-models", "final")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engines") / "t.csv"
    write_table(path, draw_small_table())
    return path


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a hundred rows are several shards."""
    monkeypatch.setattr(answering.ROWS_AT_ONCE, "rows", 16)


def all_stages(table: Path, run: Path, *options: object) -> dict[str, bytes]:
    """What the three stages leave."""
    out = run.parent / f"{run.name}.csv"
    done("train-keypoint-models", "--data", table, "--run-dir", run, *options)
    done("impute", "--run-dir", run, "--out", out, *options)
    done("train-final", "--run-dir", run, "--filled", out)
    filled = {file.suffixes[0]: file.read_bytes() for file in (out, out.with_suffix(".provenance.csv"))}
    return {**files_below(run, *TRAINED), **filled}


@pytest.fixture(scope="module")
def serial(table: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    before, answering.ROWS_AT_ONCE.rows = answering.ROWS_AT_ONCE.rows, 16
    left = all_stages(table, tmp_path_factory.mktemp("serial") / "run")
    answering.ROWS_AT_ONCE.rows = before
    return left


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two worker processes with two threads each on this machine."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
    ) as two:
        yield two


def test_a_cluster_that_loses_a_worker_comes_to_the_same_bytes(
    table: Path, serial: dict[str, bytes], cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    cluster_s = ("--backend", "dask", "--scheduler", cluster.scheduler_address)
    assert all_stages(table, tmp_path / "run", *cluster_s) == serial
    assert len(killed) == 1


def test_worker_processes_come_to_the_same_bytes(
    table: Path, serial: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models trained by loky's processes, however small they are, are those of one process."""
    monkeypatch.setattr(units, "_WORTH_WORKERS", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    done("train-keypoint-models", "--data", table, "--run-dir", tmp_path / "run")
    left = files_below(tmp_path / "run", *TRAINED)
    assert left == {name: serial[name] for name in left}


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
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4, and how to start one."""
    monkeypatch.setattr(engines, "_PATIENCE", 1)
    nowhere = ("--backend", "dask", "--scheduler", "tcp://127.0.0.1:9")
    outcome = labelfill("train-keypoint-models", "--data", table, "--run-dir", tmp_path / "run", *nowhere)
    assert outcome.code == 4
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in outcome.sentence
    assert "dask scheduler" in outcome.sentence


def test_a_scheduler_needs_the_backend_that_has_one(table: Path, tmp_path: Path) -> None:
    """--scheduler would do nothing without --backend dask."""
    asked = ("--data", table, "--run-dir", tmp_path / "run", "--scheduler", "tcp://127.0.0.1:9")
    outcome = labelfill("train-keypoint-models", *asked)
    assert outcome.code == 2
    assert "only --backend dask has one" in outcome.sentence


def test_a_backend_that_is_not_installed_says_how_to_get_it(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    run = ("--data", table, "--run-dir", tmp_path / "run", "--backend", "dask")
    outcome = labelfill("train-keypoint-models", *run)
    assert outcome.code == 2
    assert "pip install 'labelfill[dask]'" in outcome.sentence
