"""Runs that are trained once for all processes that test; each process has copies of its own."""

from __future__ import annotations

import os
import shutil

# Before torch is loaded: networks as small as these lose time to a second thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable

import pytest
from filelock import FileLock

from labelfill.data.synthetic import DrawnTable, write_table
from tests.drawn_points import write_faces
from tests.driving import PRIOR, done
from tests.trained_runs import (
    SMALL_FINAL,
    TWO_SOURCES_FINAL,
    Trained,
    answer_few_rows_at_once,
    copied,
    draw_small_table,
    draw_two_sources,
)


@pytest.fixture(scope="session", autouse=True)
def few_rows_at_once() -> None:
    """Networks answer for so few rows at once that tables of a hundred rows are several chunks.

    To pad each fold's rows to the usual 128 would take two thirds of a training.
    """
    answer_few_rows_at_once()


TrainOnce = Callable[[str, Callable[[Trained], object]], Trained]


@pytest.fixture(scope="session")
def train_once(tmp_path_factory: pytest.TempPathFactory) -> TrainOnce:
    """Has the first process that asks for a name fill its folder, while others wait; copies that folder."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained-once"
    shared.mkdir(exist_ok=True)

    def trained(name: str, train: Callable[[Trained], object]) -> Trained:
        original, finished = shared / name, shared / f"{name}.finished"
        with FileLock(shared / f"{name}.lock"):
            if not finished.exists():
                shutil.rmtree(original, ignore_errors=True)  # what a process left that failed
                original.mkdir()
                train(Trained(original / "t.csv", original / "run"))
                finished.touch()
        return copied(original, tmp_path_factory.mktemp(name) / "copy")

    return trained


def _train(trained: Trained, drawn: DrawnTable, *options: object) -> None:
    write_table(trained.table, drawn)
    done("train-keypoint-models", "--data", trained.table, "--run-dir", trained.run, *options)


def _fill_and_train_final(trained: Trained, before: str, *options: object) -> None:
    """All that follows the regressors of another shared run, in a copy of it as it was trained."""
    copied(trained.table.parent.with_name(before), trained.table.parent)
    done("impute", "--run-dir", trained.run)
    done("train-final", "--run-dir", trained.run, *options)


@pytest.fixture(scope="session")
def small(train_once: TrainOnce) -> Trained:
    """The small table with regressors, of two epochs."""
    return train_once("small", lambda new: _train(new, draw_small_table(), "--epochs", 2))


@pytest.fixture(scope="session")
def small_final(small: Trained, train_once: TrainOnce) -> Trained:
    """The small table with regressors, filled, and the final network trained."""
    return train_once("small_final", lambda new: _fill_and_train_final(new, "small", *SMALL_FINAL))


@pytest.fixture(scope="session")
def small_prior(train_once: TrainOnce) -> Trained:
    """The small table filled by its shape prior alone: in no time, for tests that fill many tables."""
    return train_once("small_prior", lambda new: _train(new, draw_small_table(), *PRIOR))


@pytest.fixture(scope="session")
def small_prior_final(small_prior: Trained, train_once: TrainOnce) -> Trained:
    """The small table filled by its shape prior, and the final network trained."""
    return train_once("small_prior_final", lambda new: _fill_and_train_final(new, "small_prior"))


@pytest.fixture(scope="session")
def two_sources(train_once: TrainOnce) -> Trained:
    """The table of two sources, with regressors."""
    return train_once("two_sources", lambda new: _train(new, draw_two_sources()))


@pytest.fixture(scope="session")
def two_sources_final(two_sources: Trained, train_once: TrainOnce) -> Trained:
    """The run of two sources, its table filled and the final network trained."""
    return train_once(
        "two_sources_final", lambda new: _fill_and_train_final(new, "two_sources", *TWO_SOURCES_FINAL)
    )


@pytest.fixture(scope="session")
def sample(train_once: TrainOnce) -> Trained:
    """The demo sample, smaller than usual, with regressors."""

    def train(new: Trained) -> None:
        done("demo-data", "--rows", 80, "--out", new.table.parent)
        new.table.with_name("training.csv").rename(new.table)
        done("train-keypoint-models", "--data", new.table, "--run-dir", new.run)

    return train_once("sample", train)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Faces in files, and a shape prior learnt from them as a plain table."""
    folder = tmp_path_factory.mktemp("faces")
    write_faces(folder)
    done("train-keypoint-models", "--data", folder / "t.csv", "--run-dir", folder / "run", *PRIOR)
    return Trained(folder / "t.csv", folder / "run")
