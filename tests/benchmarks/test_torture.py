"""A few of the kills of ``scripts/torture``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="no /proc to tell processor time")
def test_a_process_is_killed_by_its_processor_time() -> None:
    """One that only waits is left to end by itself, one that works is killed in its midst."""
    with mock.patch.dict(os.environ):  # it is a program, and chooses the settings of its process
        from benchmarks.torture_runs import kill_after
    ends = []
    for work in ("import time; time.sleep(0.3)", "while True: pass"):
        process = subprocess.Popen([sys.executable, "-c", work])
        kill_after(process.pid, 0.5)
        ends.append(process.wait())
    assert ends == [0, -signal.SIGKILL]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="no /proc to tell processor time")
def test_five_kills_at_random_moments_change_no_byte() -> None:
    """Runs of all stages, killed and continued: the same tables, sidecars and weights as without a kill."""
    ended = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.torture_runs",
            "--kills",
            "5",
            "--workers",
            "0",
            "--no-steps",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["kills at random moments"] == 5
    assert told["ends"] >= 1
    assert [told[name] for name in ("differences", "unreadable", "failed", "orphans")] == [0, 0, 0, 0]
