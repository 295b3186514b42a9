"""The look at an installation: what is found, and what is called a problem."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from labelfill.api.doctor import _disk
from tests.driving import done, labelfill
from tests.faults import full, read_only, small_disk
from tests.trained_runs import Trained


class _NoDoubles(TorchDispatchMode):
    """Fails where a computation has a tensor of double precision: not every device knows it."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, torch.Tensor):
                assert tensor.dtype not in (torch.float64, torch.complex128), func
        return result


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the doctor finds here, on the CPU."""
    run = tmp_path_factory.mktemp("run")
    with _NoDoubles():
        outcome = labelfill("doctor", "--run-dir", run, "--device", "cpu", "--json")
    return {"code": outcome.code, **outcome.result}


@pytest.mark.slow
def test_a_healthy_installation(healthy: dict[str, Any]) -> None:
    """Versions and a tiny train and fill that finds drawn points, to a fraction of the image."""
    checks = {check["name"]: check for check in healthy["checks"]}
    assert f"torch {torch.__version__.split('+')[0]}" in checks["versions"]["found"]
    assert "RMSE" in checks["train and fill on cpu"]["found"]
    assert checks["train and fill on cpu"]["problem"] is None


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """The CPU is looked at all the same; exit code 4."""
    outcome = labelfill("doctor", "--run-dir", tmp_path, "--device", "cuda:1")
    assert outcome.code == 4
    assert "ok       train and fill on cpu: " in outcome.out
    assert "PROBLEM  train and fill on cuda:1: --device cuda:1 was requested, but PyTorch" in outcome.out
    assert outcome.out.endswith("1 problem\n")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_cuda_device_agrees_with_the_cpu(tmp_path: Path) -> None:
    """Fills of both devices lie close together."""
    outcome = labelfill("doctor", "--run-dir", tmp_path, "--device", "cuda:0")
    assert "PROBLEM  train and fill" not in outcome.out
    assert "px from the CPU's fills" in outcome.out


@pytest.mark.slow
def test_no_stage_computes_in_double_precision(
    healthy: dict[str, Any], small_prior: Trained, tmp_path: Path
) -> None:
    """Training, filling, the final network and predicting, on images and anchors: mps has no float64."""
    checks = {check["name"]: check["problem"] for check in healthy["checks"]}
    assert checks["train and fill on cpu"] is None, "it was watched, too"
    shutil.copytree(small_prior.run, tmp_path / "run")
    done("impute", "--run-dir", tmp_path / "run")
    with _NoDoubles():
        done("train-final", "--run-dir", tmp_path / "run", "--epochs", 1)
        done(
            "predict",
            "--run-dir",
            tmp_path / "run",
            "--images",
            small_prior.table,
            "--out",
            tmp_path / "p.csv",
        )


def test_disks_are_looked_at(tmp_path: Path) -> None:
    """A small disk, a full one and a read-only one are problems of input and output."""
    with small_disk(tmp_path / "disk", 1) as disk:
        small = _disk(disk / "run")
        with full(disk, 0):
            crammed = _disk(disk / "run")
        with read_only(disk):
            fixed = _disk(disk / "run")
    assert (
        str(small.problem) == "less than 2 GB of disk space is free; free some, or choose another --run-dir"
    )
    assert "cannot write" in str(crammed.problem) or "cannot be written" in str(crammed.problem)
    assert f"{disk} cannot be written: Read-only file system" in str(fixed.problem)
    assert {one.problem.exit_code for one in (small, crammed, fixed) if one.problem} == {5}


@pytest.mark.parametrize("target", ["run", "none"])
def test_a_link_that_leads_nowhere_is_no_folder_for_runs(tmp_path: Path, target: str) -> None:
    """Training would refuse it, too."""
    (tmp_path / "run").symlink_to(tmp_path / target)
    found = _disk(tmp_path / "run")
    assert str(found.problem).startswith(f"{tmp_path / 'run'} cannot be written: ")
