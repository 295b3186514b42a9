"""Stages that are done, changed, or killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from labelfill.networks.devices import processors
from tests.driving import QUICK, done, files_below, labelfill
from tests.event_files import CURVES, check_curves
from tests.trained_runs import SMALL_FINAL, Trained

ROOT = Path(__file__).parents[2]


PROGRAM = """
import sys
from labelfill.cli.main import main
from tests.trained_runs import answer_few_rows_at_once
answer_few_rows_at_once()
sys.exit(main(sys.argv[1:]))
"""
WITH_WORKERS = f"from labelfill.networks import tasks; tasks._WORTH_WORKERS = 0\n{PROGRAM}"


def killed(arguments: list[str], when: Callable[[int], bool], program: str = PROGRAM) -> None:
    """Run a command in a process of its own and kill it as soon as something is the case for its id."""
    environment = {**os.environ, **QUICK, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300  # a busy machine takes its time
    while not when(process.pid):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()


def any_file(folder: Path, pattern: str) -> Callable[[int], bool]:
    return lambda process: any(folder.glob(pattern))


def all_files(run: Path) -> dict[str, bytes]:
    return files_below(run, "keypoint-models", "shared-models", "final") | {
        name: (run / name).read_bytes() for name in ("split.csv", "filled.csv", "filled.provenance.csv")
    }


@pytest.mark.slow
def test_a_killed_job_ends_with_the_same_bytes(small_final: Trained, tmp_path: Path) -> None:
    """Killed within a unit, between units and within the final network: the same files as without a stop.

    The stopped run writes learning curves, too: they change nothing, and are whole in the end.
    """
    run = tmp_path / "run"
    table = str(small_final.table)
    train = ["train-keypoint-models", "--data", table, "--run-dir", str(run), "--epochs", "2"]
    final = ["train-final", "--run-dir", str(run), *map(str, SMALL_FINAL)]
    train, final = [*train, *CURVES], [*final, *CURVES]
    killed(train, any_file(run, "checkpoints/*/*.safetensors"))
    assert not any(run.glob("keypoint-models/*/model.json"))
    half = labelfill("impute", "--run-dir", run)
    assert half.code == 3
    assert half.sentence == (
        f"train-keypoint-models in {run} is unfinished: run "
        f"`labelfill train-keypoint-models --run-dir {run}` again to finish it"
    )
    killed(train, any_file(run, "keypoint-models/*/model.json"))
    assert done(*train)["state"] == "resume"
    assert not any(run.glob("checkpoints/*/*"))
    done("impute", "--run-dir", run)
    killed(final, any_file(run, "checkpoints/*/*-0.safetensors"))
    unfinished = labelfill("predict", "--run-dir", run, "--images", table, "--out", tmp_path / "p.csv")
    assert unfinished.code == 3
    assert "train-final in" in unfinished.sentence
    assert "is unfinished" in unfinished.sentence
    assert done(*final)["state"] == "resume"
    straight, stopped = all_files(small_final.run), all_files(run)
    assert list(straight) == list(stopped)
    assert [name for name in straight if straight[name] != stopped[name]] == []
    if CURVES:
        check_curves(run)


def processes() -> dict[int, tuple[int, str]]:
    """Parent and command line of every process that runs."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                command = (folder / "cmdline").read_text()
            except OSError:  # it has just ended
                continue
            if state != "Z":
                found[int(folder.name)] = int(parent), command
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="no /proc to look for processes in")
@pytest.mark.skipif(processors() < 2, reason="one processor starts no workers")
def test_a_killed_job_leaves_no_workers(small: Trained, tmp_path: Path) -> None:
    """Worker processes end with the program that started them, however it ends."""
    workers: set[int] = set()

    def working(process: int) -> bool:
        workers.update(
            child
            for child, (parent, command) in processes().items()
            if parent == process and "loky" in command
        )
        return len(workers) >= 2 and any(tmp_path.glob("run/checkpoints/*/*"))

    train = ["train-keypoint-models", "--data", str(small.table), "--run-dir", str(tmp_path / "run")]
    killed([*train, "--epochs", "50"], working, WITH_WORKERS)
    deadline = time.monotonic() + 20
    while workers & processes().keys():
        assert time.monotonic() < deadline, "workers go on"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_finished_stage_does_nothing(small_final: Trained) -> None:
    """It says so, and no file but the manifest is touched."""
    run = small_final.run

    def touched() -> dict[str, int]:
        return {
            file.relative_to(run).as_posix(): file.stat().st_mtime_ns
            for file in run.rglob("*")
            if file.is_file() and not file.name.startswith(".") and file.name != "manifest.json"
        }

    commands = (
        ["train-keypoint-models", "--data", small_final.table, "--run-dir", run, "--epochs", 2],
        ["impute", "--run-dir", run],
        ["train-final", "--run-dir", run, *SMALL_FINAL],
    )
    for command in commands:  # of a copied run: what is cached of a table tells its place
        done(*command)
    before = touched()
    for command in commands:
        assert done(*command)["state"] == "done before"
        assert "already done with the same input and settings" in labelfill(*command).out
    assert touched() == before


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["train-keypoint-models", "--epochs", 3], "settings.epochs: was 2, is 3"),
        (["train-keypoint-models", "--epochs", 2, "--seed", 5], "seed: was 0, is 5"),
        (
            ["train-keypoint-models", "--epochs", 2, "--mirror-pairs", "none"],
            'settings.mirror_pairs: was "auto", is "none"',
        ),
        (["impute", "--coverage", 0.8], "settings.coverage: was 0.9, is 0.8"),
        (["train-final", "--epochs", 3], "settings.second_session_epochs: was 1, is 0"),
    ],
)
def test_a_changed_setting_is_named(small_final: Trained, command: list[object], named: str) -> None:
    """Exit code 2, what changed from what to what, and the two ways out; what is there stays."""
    before = all_files(small_final.run)
    data = ["--data", small_final.table] if command[0] == "train-keypoint-models" else []
    refused = labelfill(*command, *data, "--run-dir", small_final.run)
    assert refused.code == 2
    assert named in refused.sentence
    assert "use --force to start over, or choose another --run-dir" in refused.sentence
    assert all_files(small_final.run) == before


@pytest.mark.slow
def test_force_starts_over(small_final: Trained, tmp_path: Path) -> None:
    """--force fills anew with the changed setting; the models stay as they are."""
    run, out = tmp_path / "run", tmp_path / "filled.csv"
    shutil.copytree(small_final.run, run)
    done("impute", "--run-dir", run, "--out", out)
    assert labelfill("impute", "--run-dir", run, "--out", out, "--coverage", 0.6).code == 2
    done("impute", "--run-dir", run, "--out", out, "--coverage", 0.6, "--force")
    assert out.read_bytes() == (run / "filled.csv").read_bytes()
    assert (tmp_path / "filled.provenance.csv").read_bytes() != (run / "filled.provenance.csv").read_bytes()
    models = ("keypoint-models", "shared-models")
    assert files_below(run, *models) == files_below(small_final.run, *models)


@pytest.mark.slow
def test_another_table_is_split_anew(small_prior: Trained, tmp_path: Path) -> None:
    """--force with another table divides that table's rows, not the first one's."""
    table, run = tmp_path / "t.csv", tmp_path / "run"
    lines = small_prior.table.read_bytes().splitlines(keepends=True)
    table.write_bytes(b"".join([lines[0], *reversed(lines[1:])]))
    train = ["train-keypoint-models", "--run-dir", run, "--method", "prior"]
    done(*train, "--data", small_prior.table)
    first = (run / "split.csv").read_bytes()
    assert labelfill(*train, "--data", table).code == 2
    done(*train, "--data", table, "--force")
    assert (run / "split.csv").read_bytes() != first
    table.write_bytes(b"".join(lines[:60]))
    done(*train, "--data", table, "--force")
    assert len((run / "split.csv").read_bytes().splitlines()) == 60


def test_models_trained_anew_are_noticed(small_prior: Trained, tmp_path: Path) -> None:
    """What was filled by earlier models, or learnt from that, is not taken for done: exit code 2 says why."""
    run = tmp_path / "run"
    shutil.copytree(small_prior.run, run)
    done("impute", "--run-dir", run)
    done("train-final", "--run-dir", run)
    train = ["train-keypoint-models", "--run-dir", run, "--data", small_prior.table, "--method", "prior"]
    done(*train, "--seed", 1, "--force")
    for command in ("impute", "train-final"):
        refused = labelfill(command, "--run-dir", run)
        assert refused.code == 2
        assert f"{command}" in refused.sentence
        assert "models: was" in refused.sentence
