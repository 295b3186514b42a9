"""Settings of the final network that are gone, and run directories of the version that had them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from labelfill.settings import FinalModelSettings, Preset
from tests.driving import done, labelfill
from tests.trained_runs import Trained

MODEL = "final/model.json"
OF_DEFAULT = {
    "shuffle": "on", "rotate": "none", "activation": None, "batch_norm": None, "dropout": None,
    "features": None, "l1": 0.0, "l2": 0.0,
}  # fmt: skip
OF_PHASE1 = {
    "shuffle": "on", "rotate": "none", "activation": "leaky-relu", "batch_norm": "on", "dropout": 0.1,
    "features": "none", "l1": 0.0, "l2": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("name", FinalModelSettings.gone)
def test_a_setting_that_is_gone_is_refused(name: str, tmp_path: Path) -> None:
    """As flag, as variable and in a settings file: exit code 2, and what to use instead."""
    file, variable = tmp_path / "s.toml", f"LABELFILL_FINAL_{name.upper()}"
    flag, key = "--" + name.replace("_", "-"), name.replace("_", "-")
    file.write_text(f"[final]\n{key} = 1\n")
    train = ["train-final", "--run-dir", tmp_path / "run"]
    refused = {
        flag: labelfill(*train, flag, "1"),
        f"{file}: [final] {key}": labelfill(*train, "--settings", file),
    }
    with mock.patch.dict(os.environ, {variable: "1"}):
        refused[variable] = labelfill(*train)
    for where, outcome in refused.items():
        assert outcome.code == 2
        assert outcome.sentence.startswith(f"{where} is gone: {FinalModelSettings.gone[name]}")
        assert "--preset" in outcome.sentence or "compare --journey" in outcome.sentence
    assert not (tmp_path / "run").exists()


def as_version_0_1_wrote_it(run: Path, gone: dict[str, Any], given: dict[str, Any]) -> None:
    """Put into a run's files what the last version wrote there of settings that are gone.

    The manifest's inputs and the network's file held all of them, the settings as resolved those given.
    """
    about = json.loads((run / MODEL).read_text())
    about["settings"].update(gone)
    text = json.dumps(about, indent=1).encode()
    (run / MODEL).write_bytes(text)
    manifest = json.loads((run / "manifest.json").read_text())
    stage = manifest["stages"]["train-final"]
    stage["inputs"]["settings"].update(gone)
    del stage["seal"]  # it had none
    manifest["settings"]["final"].update({**dict.fromkeys(gone), **given})
    for files in (stage["outputs"], *(unit["files"] for unit in stage["units"].values())):
        files[MODEL] = hashlib.sha256(text).hexdigest()
    (run / "manifest.json").write_text(json.dumps(manifest, indent=2))
    lines = "".join(f"{name.replace('_', '-')} = {json.dumps(value)}\n" for name, value in given.items())
    settings = (run / "settings.toml").read_text()
    assert settings.count("[final]\n") == 1
    (run / "settings.toml").write_text(settings.replace("[final]\n", "[final]\n" + lines))


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "gone"), [("default", OF_DEFAULT), ("phase1", OF_PHASE1)])
def test_a_run_of_the_last_version_is_read(
    small_prior: Trained, tmp_path: Path, preset: Preset, gone: dict[str, Any]
) -> None:
    """Its network answers as before, is exported and reported, and its stages are done; nothing is lost."""
    run = tmp_path / "run"
    shutil.copytree(small_prior.run, run)
    done("impute", "--run-dir", run)
    train = ["train-final", "--run-dir", run, "--preset", preset, "--second-session-epochs", 1]
    result = done(*train)
    predict = ["predict", "--run-dir", run, "--images", small_prior.table, "--out"]
    done(*predict, tmp_path / "now.csv")
    as_version_0_1_wrote_it(run, gone, {"shuffle": "on"})
    done(*predict, tmp_path / "then.csv")
    assert (tmp_path / "then.csv").read_bytes() == (tmp_path / "now.csv").read_bytes()
    assert done(*train)["evaluation rmse"] == result["evaluation rmse"]
    assert done(*train)["state"] == "done before"
    if preset == "default":
        done("export", "--run-dir", run, "--format", "torch", "--out", tmp_path / "model.pt2")
    done("report", "--run-dir", run, "--out", tmp_path / "report.html")
    done("impute", "--run-dir", run, "--out", tmp_path / "again.csv")
    assert '[final]\nshuffle = "on"\npreset' in (run / "settings.toml").read_text(), "of the network there"


@pytest.mark.slow
def test_a_network_that_the_last_version_trained_otherwise_is_not_taken_for_this_one(
    small_prior_final: Trained, tmp_path: Path
) -> None:
    """It is read; training that would end with another is refused, naming what differs, but for --force."""
    run = tmp_path / "run"
    shutil.copytree(small_prior_final.run, run)
    train = ["train-final", "--run-dir", run]
    as_version_0_1_wrote_it(run, {**OF_DEFAULT, "l1": 0.001}, {"l1": 0.001})
    done("predict", "--run-dir", run, "--images", small_prior_final.table, "--out", tmp_path / "p.csv")
    refused = labelfill(*train)
    assert refused.code == 2
    assert "settings.l1: was 0.001, is 0.0" in refused.sentence
    assert "use --force to start over" in refused.sentence
    refused = labelfill(*train, "--settings", run / "settings.toml")
    assert refused.sentence.startswith(f"{run / 'settings.toml'}: [final] l1 is gone: ")
    done(*train, "--force")
    assert "l1" not in (run / "settings.toml").read_text()
