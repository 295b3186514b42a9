"""Runs that are trained once and used by many tests; nothing may change their files."""

from __future__ import annotations

import os
import shutil

# Before torch is loaded: networks as small as these lose time to a second thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

from labelfill.data.synthetic import DrawnTable, write_table
from tests.driving import done
from tests.trained_runs import Trained, draw_small_table, draw_two_sources


def _trained(folder: Path, drawn: DrawnTable, *options: str) -> Trained:
    trained = Trained(folder / "t.csv", folder / "run")
    write_table(trained.table, drawn)
    done("train-keypoint-models", "--data", trained.table, "--run-dir", trained.run, *options)
    return trained


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The small table with regressors, of two epochs."""
    return _trained(tmp_path_factory.mktemp("small"), draw_small_table(), "--epochs", "2")


@pytest.fixture(scope="session")
def small_prior(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The small table filled by its shape prior alone: in no time, for tests that fill many tables."""
    return _trained(tmp_path_factory.mktemp("small_prior"), draw_small_table(), "--method", "prior")


@pytest.fixture(scope="session")
def two_sources(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The table of two sources, with regressors."""
    return _trained(tmp_path_factory.mktemp("two_sources"), draw_two_sources())


@pytest.fixture(scope="session")
def two_sources_final(two_sources: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A copy of the run of two sources, with its table filled and the final network trained."""
    run = tmp_path_factory.mktemp("final") / "run"
    shutil.copytree(two_sources.run, run)
    done("impute", "--run-dir", run)
    done("train-final", "--run-dir", run, "--epochs", 2)
    return Trained(two_sources.table, run)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The demo sample, smaller than usual."""
    folder = tmp_path_factory.mktemp("sample")
    done("demo-data", "--rows", 120, "--out", folder)
    done("train-keypoint-models", "--data", folder / "training.csv", "--run-dir", folder / "run")
    return Trained(folder / "training.csv", folder / "run")
