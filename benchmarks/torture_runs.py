"""Kills `labelfill run` again and again, goes on each time, and compares the end with an undisturbed run.

Every run is a process of its own, forked from one that has loaded everything, and ended by SIGKILL: at
random moments, with worker processes (the run, a worker, or all of them), and at each write step once.
Prints its counts as JSON; exit code 1 if anything differs or a killed run left what cannot be read.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import itertools
import json
import math
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

# Before torch is loaded: the sample is so small that a second thread would cost more than it saves.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ |= {
    "LABELFILL_KEYPOINT_MODELS_PATCH_SIZE": "8",
    "LABELFILL_KEYPOINT_MODELS_EPOCHS": "1",
    "LABELFILL_FINAL_EPOCHS": "3",
    "LABELFILL_FINAL_SECOND_SESSION_EPOCHS": "1",
}

import torch

import labelfill.final.stage
import labelfill.regressors.stage
from benchmarks.measuring import say
from labelfill.cli.main import main as labelfill
from labelfill.data.synthetic import draw_table, write_table
from labelfill.errors import LabelfillError
from labelfill.networks import memory, tasks
from labelfill.runs import RunDirectory
from labelfill.schema import ImageSize

KEYPOINTS = ("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip")
COMPARED = ("keypoint-models", "shared-models", "final", "split.csv", "filled.csv", "filled.provenance.csv")


class Torture:
    """A sample, what an undisturbed run makes of it, and what the killed ones did."""

    def __init__(self, folder: Path, seed: int, until: float) -> None:
        self.folder, self.random, self.until = folder, random.Random(seed), until
        self.table = folder / "t.csv"
        drawn = draw_table(100, 5, keypoints=KEYPOINTS, image_size=ImageSize(16, 16), gaps=0.1)
        write_table(self.table, drawn)
        self.count: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()
        run = folder / "calm"
        _, status, used = os.wait4(self.start(run), 0)
        assert status == 0, run.with_suffix(".err").read_text()
        self.seconds = used.ru_utime + used.ru_stime
        self.calm = self.files(run)
        load_what_was_loaded(run)  # importing would take most of the time of the runs to come

    def start(self, run: Path, prepare: Callable[[], None] | None = None) -> int:
        """Begin or continue the run in a process of its own; its id."""
        process = os.fork()
        if process:
            return process
        os.setpgid(0, 0)
        code = 1
        with open(run.with_suffix(".err"), "a") as log, redirect_stdout(log), redirect_stderr(log):
            os.dup2(log.fileno(), 2)
            try:
                if prepare is not None:
                    prepare()
                code = labelfill(["run", "--data", str(self.table), "--run-dir", str(run), "-q"])
                run.with_suffix(".modules").write_text("\n".join(sys.modules))
            finally:
                log.flush()
                os._exit(code)
        raise AssertionError

    def ended(self, process: int, run: Path) -> bool:
        """Whether the run has come to its end, by itself; checks what a killed one left."""
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if code != -signal.SIGKILL:
            if code != 0:
                self.count["failed"] += 1
                say(f"{run}: exit code {code}\n{run.with_suffix('.err').read_text()[-2000:]}")
            return True
        self.count["kills"] += 1
        try:
            stages = RunDirectory.read_only(run).stages
            unfinished = (name.split()[0] for name in stages if stages[name]["state"] != "done")
            self.stages[next(unfinished, "between")] += 1
        except LabelfillError as error:
            self.stages["before the first"] += 1
            if "contains no run" not in str(error):
                self.count["unreadable"] += 1
                say(f"{run}: {error}")
        return False

    def compare(self, run: Path) -> None:
        self.count["ends"] += 1
        found = self.files(run)
        different = [name for name in self.calm | found if self.calm.get(name) != found.get(name)]
        if different:
            self.count["differences"] += len(different)
            say(f"{run}: other bytes in {', '.join(different)}")
        leftovers = [
            path for path in run.rglob("*") if ".tmp-" in path.name or path.parent.name == "checkpoints"
        ]
        self.count["orphans"] += len(leftovers)
        if not different and not leftovers:
            shutil.rmtree(run)

    def files(self, run: Path) -> dict[str, str]:
        paths = [file for name in COMPARED for file in [run / name, *sorted((run / name).rglob("*"))]]
        return {
            path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
            if path.is_file()
        }

    def at_random(self, kills: int) -> None:
        """Kill at random moments, within half of the processor time that a whole run takes."""

        def kill(run: Path) -> int:
            process = self.start(run)
            kill_after(process, self.random.uniform(0, self.seconds / 2))
            return process

        self.until_enough("random", kills, kill, self.until)

    def workers(self, kills: int) -> None:
        """Kill the run, one of its workers, or all of them while workers train."""
        self.until_enough("workers", kills, self.kill_with_workers, math.inf)

    def kill_with_workers(self, run: Path) -> int:
        process = self.start(run, with_workers)
        workers = self.some_workers(process)
        time.sleep(self.random.uniform(0, 20))
        who = self.random.choice(["run", "all", "worker"]) if workers else "run"
        if who == "worker":
            # The run goes on without it, and has to come to the same end.
            with suppress(ProcessLookupError):
                os.kill(self.random.choice(workers), signal.SIGKILL)
                self.count["kills"] += 1
        else:
            for victim in workers if who == "all" else ():
                with suppress(ProcessLookupError):  # it may have ended by itself
                    os.kill(victim, signal.SIGKILL)
            os.kill(process, signal.SIGKILL)
        self.count[f"killed with workers: {who}"] += 1
        return process

    def until_enough(self, name: str, kills: int, kill: Callable[[Path], int], until: float) -> None:
        """Begin runs, `kill` each and go on until it ends; the last is carried to its end unharmed."""
        enough = self.count["kills"] + kills
        for number in itertools.count(1) if kills else ():
            run = self.folder / f"{name}-{number}"
            while self.count["kills"] < enough and time.monotonic() < until:
                process = kill(run)
                if self.ended(process, run):
                    break
            else:
                assert self.ended(self.start(run), run)
            self.compare(run)
            if self.count["kills"] >= enough or time.monotonic() >= until:
                return

    def some_workers(self, process: int) -> list[int]:
        """Ids of the worker processes, once there are any; none if the run ends without."""
        while True:
            if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return []
            found = [
                one for one, command in children(process) if "loky" in command and "tracker" not in command
            ]
            if found:
                return found
            time.sleep(0.02)

    def every_step(self) -> None:
        """One run, killed before each of its write steps in turn, and continued each time."""
        run, log = self.folder / "steps", self.folder / "steps.seen"
        log.touch()
        while True:
            process = self.start(run, lambda: deadly_steps(run, log))
            if self.ended(process, run):
                break
        self.count["write steps"] = len(log.read_text().splitlines())
        self.compare(run)


def load_what_was_loaded(run: Path) -> None:
    """Import here all that the run imported: the processes forked from now on have it already."""
    for name in run.with_suffix(".modules").read_text().splitlines():
        if name.startswith(("torch.", "sympy", "scipy", "skimage", "labelfill", "joblib", "tqdm")):
            with suppress(Exception):  # what cannot be imported on its own is imported by those who need it
                importlib.import_module(name)


def kill_after(process: int, seconds: float) -> None:
    """Kill a process once it has used so much processor time; how busy the machine is makes no difference."""
    tick = os.sysconf("SC_CLK_TCK")
    status = Path(f"/proc/{process}/stat")
    while True:
        fields = status.read_text().rpartition(")")[2].split()  # ours until it is waited for
        if fields[0] == "Z":
            return
        if (int(fields[11]) + int(fields[12])) / tick >= seconds:
            os.kill(process, signal.SIGKILL)
            return
        time.sleep(0.003)


def with_workers() -> None:
    tasks._WORTH_WORKERS = 0  # type: ignore[misc]  # so small a sample would be trained without


def children(process: int) -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == process:
                    yield int(folder.name), (folder / "cmdline").read_text()
            except OSError:  # it has just ended
                continue


def deadly_steps(run: Path, log: Path) -> None:
    """Let this process be killed before the first write step that is not in `log` yet, after adding it.

    A step is an opening, a synchronisation, a renaming or a removal of a file, told apart by what came
    before it and by the file's content, without what differs from attempt to attempt.
    """
    seen = set(log.read_text().splitlines())
    last = ["begin"]

    def step(kind: str, path: Path, content: bytes = b"") -> None:
        name = re.sub(r"\.tmp-.*|[0-9a-f]{16,}", "", str(path))
        digest = hashlib.sha256(settled(content)).hexdigest()[:16] if content else ""
        key = f"{kind} {name} {digest or last[0]}"
        if str(path).startswith(str(run)) and key not in seen:
            with open(log, "a") as file:
                file.write(key + "\n")
            os.kill(os.getpid(), signal.SIGKILL)
        if content:
            last[0] = digest

    opening, replacing, unlinking = os.open, os.replace, Path.unlink

    def deadly_open(path: object, flags: int, *rest: int, **named: object) -> int:
        if flags & os.O_CREAT:
            step("open", Path(str(path)))
        return opening(path, flags, *rest, **named)  # type: ignore[arg-type]  # passed on as they came

    def deadly_replace(source: Path, target: Path) -> None:
        if Path(source).is_file():
            step("replace", Path(target), Path(source).read_bytes())
        replacing(source, target)

    def deadly_unlink(path: Path, missing_ok: bool = False) -> None:
        step("unlink", path)
        unlinking(path, missing_ok)

    os.open, os.replace, Path.unlink = deadly_open, deadly_replace, deadly_unlink  # type: ignore[assignment]


def settled(content: bytes) -> bytes:
    """A file's content without times, process ids and the random names of attempts."""
    content = re.sub(rb'"(created|begun|finished|since|time)": "[^"]*"', b"", content)
    return re.sub(rb'"(seconds|rows_per_second|pid|attempt|state)": [^,}\n]*', b"", content)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="in all, at random moments (default: 200)")
    parser.add_argument("--workers", type=int, default=8, help="of them with worker processes (default: 8)")
    parser.add_argument("--no-steps", action="store_true", help="leave out the kills at each write step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="fewer random kills after so long")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    memory.ANSWERED_AT_ONCE = 16  # padding to 128 rows would take most of the time
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="labelfill-torture-"))
    torture = Torture(folder, arguments.seed, begun + arguments.seconds)
    torture.at_random(arguments.kills - arguments.workers)
    torture.workers(arguments.workers)
    at_random = torture.count["kills"]
    if not arguments.no_steps:
        torture.every_step()
    names = ("ends", "differences", "unreadable", "failed", "orphans", "write steps")
    told = {
        "kills at random moments": at_random,
        **{name: torture.count[name] for name in names},
        "killed in": dict(torture.stages),
        **{name: count for name, count in torture.count.items() if name.startswith("killed")},
        "processor seconds of an undisturbed run": round(torture.seconds, 1),
        "seconds": round(time.monotonic() - begun),
    }
    print(json.dumps(told, indent=1))
    bad = sum(torture.count[name] for name in ("differences", "unreadable", "failed", "orphans"))
    if not bad:
        shutil.rmtree(folder)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
