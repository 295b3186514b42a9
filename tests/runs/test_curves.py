"""Learning curves for TensorBoard. That they survive a stop and change no result: test_stages_resume.py."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.driving import done, files_below, labelfill
from tests.event_files import check_curves, needs_tensorboard, read_curves
from tests.trained_runs import Trained


@pytest.mark.slow
@needs_tensorboard
def test_curves_tell_what_the_models_histories_tell(small: Trained, tmp_path: Path) -> None:
    """Of models that were finished before, and of the final network's two sessions; nothing else changes."""
    run = tmp_path / "run"
    shutil.copytree(small.run, run)
    (run / "tensorboard" / "keypoint-models" / "gone").mkdir(parents=True)
    before = files_below(run, "keypoint-models", "shared-models")
    train = ("train-keypoint-models", "--data", small.table, "--run-dir", run, "--epochs", 2)
    assert done(*train, "--tensorboard")["state"] == "done before"
    check_curves(run)
    done("impute", "--run-dir", run)
    done("train-final", "--run-dir", run, "--epochs", 2, "--second-session-epochs", 1, "--tensorboard")
    check_curves(run)
    assert len(read_curves(run)["final"]["rmse"]) == 3
    assert files_below(run, "keypoint-models", "shared-models") == before


@needs_tensorboard
def test_a_dry_run_says_where_they_would_go(small: Trained) -> None:
    """Among the folders that would be written."""
    train = ("train-keypoint-models", "--data", small.table, "--run-dir", small.run / "new", "--dry-run")
    assert str(small.run / "new" / "tensorboard") in done(*train, "--tensorboard")["writes"]
    assert str(small.run / "new" / "tensorboard") not in done(*train)["writes"]


def test_without_tensorboard_one_sentence_says_what_to_install(
    small: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is read or trained; exit code 2."""
    for name in [name for name in sys.modules if name.startswith(("torch.utils.tensorboard", "tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    train = ("train-keypoint-models", "--data", small.table, "--run-dir", tmp_path / "run", "--tensorboard")
    for command in (train, (*train, "--dry-run")):
        refused = labelfill(*command)
        assert refused.code == 2
        assert refused.sentence == "--tensorboard needs tensorboard: pip install 'labelfill[tensorboard]'"
    assert not (tmp_path / "run" / "keypoint-models").exists()
