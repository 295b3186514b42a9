"""Outputs that belong together, and jobs killed at any step."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labelfill.errors import UsageError
from labelfill.runs import RunDirectory

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with RunDirectory.open(tmp_path / "run") as opened:
        yield opened


def fill(run: RunDirectory, out: Path, text: bytes = b"filled", overwrite: bool = False) -> None:
    sidecar = out.with_suffix(".provenance.csv")
    with run.outputs("impute", [sidecar, out], overwrite=overwrite) as (sidecar_file, table_file):
        table_file.write(text)
        sidecar_file.write(b"provenance of " + text)
    run.finish_stage("impute")


def test_outputs_appear_together_and_are_recorded(run: RunDirectory, tmp_path: Path) -> None:
    """Both files stand with their hashes; inside the run directory they are recorded by relative path."""
    run.begin_stage("impute", {})
    fill(run, run.path / "filled.csv")
    assert list(run.require_stage("impute")["outputs"]) == ["filled.provenance.csv", "filled.csv"]
    assert run.begin_stage("impute", {}) == "done"
    run.begin_stage("impute", {}, force=True)
    fill(run, tmp_path / "filled.csv")
    assert list(run.require_stage("impute")["outputs"])[1] == str(tmp_path / "filled.csv")


def test_somebody_elses_file_is_not_overwritten(run: RunDirectory, tmp_path: Path) -> None:
    """An existing output needs --force, unless this stage wrote it and nobody changed it."""
    out = tmp_path / "filled.csv"
    out.write_bytes(b"precious")
    run.begin_stage("impute", {})
    with pytest.raises(
        UsageError,
        match=r"filled\.csv already exists: choose another file, or use " "--force to overwrite it",
    ):
        fill(run, out)
    assert out.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["filled.csv", "run"]
    fill(run, out, overwrite=True)
    fill(run, out, b"again")  # our own, unchanged
    out.write_bytes(b"edited by hand")
    with pytest.raises(UsageError, match="already exists"):
        fill(run, out)


def test_outputs_that_fail_leave_nothing(run: RunDirectory, tmp_path: Path) -> None:
    """A failure while writing leaves neither file, and no temporary one."""
    run.begin_stage("impute", {})
    with (
        pytest.raises(RuntimeError),
        run.outputs("impute", [tmp_path / "a", tmp_path / "b"], overwrite=False) as files,
    ):
        files[0].write(b"half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


KILLS = """
import filelock, json, os, shutil, signal, sys
from pathlib import Path
from labelfill.runs import RunDirectory, write_bytes

def job(folder):
    with RunDirectory.open(folder / "run") as run:
        if run.begin_stage("train", {"seed": 0}) != "done":
            for unit in ("nose", "mouth"):
                if run.finished_unit("train", unit) is None:
                    kept = run.checkpoint_folder("train")
                    kept.mkdir(parents=True, exist_ok=True)
                    if not (kept / unit).is_file():
                        write_bytes(kept / unit, b"epoch")
                    run.save_unit("train", unit, {f"models/{unit}.bin": (kept / unit).read_bytes()})
            run.finish_stage("train")
        if run.begin_stage("impute", {"models": run.stage_fingerprint("train")}) != "done":
            paths = [folder / "f.provenance.csv", folder / "f.csv"]
            with run.outputs("impute", paths, overwrite=False) as (sidecar, table):
                for file in (table, sidecar):
                    file.write(b"filled")
            run.finish_stage("impute")

def in_a_process(folder, step, place):
    child = os.fork()
    if child == 0:
        real, calls = getattr(os, step), 0
        def deadly(*arguments, **named):
            nonlocal calls
            calls += 1
            if calls == place:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)
        setattr(os, step, deadly)
        try:
            job(folder)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def files(folder):
    # Every file that a job leaves, without the one that tells the time.
    paths = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in paths.items() if name != "run/manifest.json"}

root, step = Path(sys.argv[1]), sys.argv[2]
folders = [root / name for name in ("calm", "once", "often")]
kills = differences = between = 0
for folder in folders:
    folder.mkdir()
assert in_a_process(folders[0], step, 0) == 0
while True:
    shutil.rmtree(folders[1])
    folders[1].mkdir()
    code = in_a_process(folders[1], step, kills + 1)
    if code == 0:
        break
    assert code == -signal.SIGKILL, code
    kills += 1
    between += (folders[1] / "f.provenance.csv").exists() and not (folders[1] / "f.csv").exists()
    assert in_a_process(folders[1], step, 0) == 0, kills
    differences += files(folders[1]) != files(folders[0])
for place in range(kills, 0, -2):
    in_a_process(folders[2], step, place)
assert in_a_process(folders[2], step, 0) == 0
differences += files(folders[2]) != files(folders[0])
print(json.dumps({"kills": kills, "differences": differences, "between": between}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", ["replace", "open"])
def test_a_job_killed_at_any_write_step_ends_the_same(tmp_path: Path, step: str) -> None:
    """SIGKILL before each rename and each opening in turn: the next run ends as an undisturbed one.

    Also killed again and again in one folder, and between the renames of two outputs that belong together.
    """
    command = [sys.executable, "-c", KILLS, str(tmp_path), step]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    counted = json.loads(ended.stdout)
    assert counted["kills"] >= 10
    assert counted["differences"] == 0
    assert counted["between"] >= 1 or step != "replace"
