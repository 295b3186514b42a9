"""Runs the small jobs of ``same_results`` on one checkout, and keeps what came of them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.job_inputs import SAMPLE_ROWS, write_inputs
from benchmarks.small_jobs import Job, Step

MOST_SECONDS = 600


@dataclass(frozen=True)
class Said:
    """How one command ended and what it printed."""

    arguments: str
    code: int
    out: str
    err: str


class Failed(Exception):
    """Something that the comparison needs could not be made; its text says what."""


def environment(checkout: Path, bytecode: Path) -> dict[str, str]:
    """The environment of every command: one thread, the checkout's package, no settings of the caller's.

    What Python compiles goes to the folder `bytecode`, so that nothing is written into a checkout.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LABELFILL_")}
    return kept | {
        "PYTHONPATH": str(checkout),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "PYTHONPYCACHEPREFIX": str(bytecode),
    }


def digest(parts: Iterator[bytes]) -> str:
    """A hash of several texts, of which none can pass for a part of another."""
    found = hashlib.sha256()
    for part in parts:
        found.update(hashlib.sha256(part).digest())
    return found.hexdigest()


def _file_parts(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield str(path.relative_to(folder)).encode()
            yield path.read_bytes()


def make_inputs(folder: Path, checkout: Path) -> None:
    """The inputs, drawn by one checkout, unless they are there already from the same code of this folder."""
    made_by = digest(iter([Path(__file__).with_name("job_inputs.py").read_bytes()]))
    mark = folder / "made-by"
    if mark.is_file() and mark.read_text() == made_by:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    drawn = subprocess.run(
        [sys.executable, "-m", "labelfill", "demo-data", "--out", "sample", "--rows", str(SAMPLE_ROWS), "-q"],
        cwd=folder, env=environment(checkout.resolve(), folder.resolve().parent / "bytecode"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if drawn.returncode:
        raise Failed(f"{checkout} draws no sample: {drawn.stderr}")
    write_inputs(folder)
    mark.write_text(made_by)


def input_folders(job: Job) -> tuple[str, ...]:
    """What a job reads; wrong lists lie beside every table."""
    return tuple(dict.fromkeys((*job.inputs, "refused"))) if job.inputs else ()


class Checkout:
    """One version of the code, and its results in a folder.

    Every job is run in the same folder ``now``, so that absolute paths which a run remembers are still right
    in the jobs that go on with its files.
    """

    def __init__(self, path: Path, kept: Path, inputs: Path) -> None:
        self.path, self.inputs = path.resolve(), inputs.resolve()
        name = hashlib.sha256(str(self.path).encode()).hexdigest()[:12]
        self.results = (
            kept.resolve() / name
        )  # names of one length: no table on the screen is wider for its path
        self.now = self.results / "now"
        package = self.path / "labelfill"
        if not (package / "__main__.py").is_file():
            raise Failed(f"{path} is no checkout: there is no {package / '__main__.py'}")
        self._environment = environment(self.path, kept.resolve() / "bytecode")
        self._code = digest(_file_parts(package))
        found = subprocess.run(
            [sys.executable, "-c", "import labelfill; print(labelfill.__file__)"],
            cwd="/", env=self._environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not found.stdout.startswith(str(package)):
            raise Failed(f"Python imports {found.stdout.strip() or found.stderr}, not {package}")

    def folder(self, job: Job) -> Path:
        return self.results / job.name

    def _stamp(self, job: Job, base: str) -> str:
        """What a job's results depend on."""
        versions = [sys.version, *(version(name) for name in ("torch", "numpy"))]
        read = [digest(_file_parts(self.inputs / name)) for name in input_folders(job)]
        return digest(iter([json.dumps([self._code, read, versions, asdict(job), base]).encode()]))

    def perform(self, job: Job, base: Job | None) -> float:
        """Run a job unless it was run before with the same code; the seconds that it took now."""
        done = self.folder(job) / "done"
        stamp = self._stamp(job, (self.folder(base) / "done").read_text() if base else "")
        if done.is_file() and done.read_text() == stamp:
            return 0.0
        begun = time.perf_counter()
        for folder in (self.folder(job), self.now):
            shutil.rmtree(folder, ignore_errors=True)
        if base is None:
            self.now.mkdir(parents=True)
        else:
            shutil.copytree(self.folder(base) / "files", self.now)
        for name in input_folders(job):
            shutil.copytree(self.inputs / name, self.now / "inputs" / name, dirs_exist_ok=True)
        if job.settings:
            (self.now / "labelfill.toml").write_text(job.settings)
        said = [self._call(step) for step in job.steps]
        self.folder(job).mkdir(parents=True)
        self.now.rename(self.folder(job) / "files")
        (self.folder(job) / "said.json").write_text(json.dumps([asdict(one) for one in said], indent=1))
        done.write_text(stamp)
        return time.perf_counter() - begun

    def said(self, job: Job) -> list[Said]:
        """What the commands of a finished job said, without the absolute path of its folder."""
        lines: list[dict[str, Any]] = json.loads((self.folder(job) / "said.json").read_text())
        said = [Said(**line) for line in lines]
        return [replace(one, out=self.anywhere(one.out), err=self.anywhere(one.err)) for one in said]

    def anywhere(self, text: str) -> str:
        return text.replace(str(self.now), "FOLDER").replace(str(self.path), "CHECKOUT")

    def _call(self, step: Step) -> Said:
        process = subprocess.Popen(
            [sys.executable, "-m", "labelfill", *step.words],
            cwd=self.now, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="surrogateescape",
        )  # fmt: skip
        if step.stop:
            self._stop(process, step)
        try:
            out, err = process.communicate(timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += f"\nstopped after {MOST_SECONDS} seconds"
        return Said(step.arguments, process.returncode, out, err)

    def _stop(self, process: subprocess.Popen[str], step: Step) -> None:
        """Send a signal as soon as there is a file that was not there before."""
        before = set(self.now.glob(step.when))
        deadline = time.monotonic() + MOST_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if set(self.now.glob(step.when)) - before:
                process.send_signal(signal.Signals[step.stop])
                return
            time.sleep(0.002)
