"""The command as a process: streams that are closed, full or gone, and signals at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labelfill.data.synthetic import write_table
from tests.driving import PRIOR, done
from tests.trained_runs import Trained, draw_small_table

ROOT = Path(__file__).parents[2]
LABELFILL = f"{sys.executable} -m labelfill"
full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a shell makes of a command in which `labelfill` stands for this checkout's program."""
    return subprocess.run(
        ["sh", "-c", command.replace("labelfill ", f"{LABELFILL} ")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_table(tmp_path / "t.csv", draw_small_table())
    return tmp_path / "t.csv"


# -- streams ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "labelfill inspect t.csv >&-",
        pytest.param("labelfill inspect t.csv >/dev/full", marks=full_device),
        pytest.param("labelfill inspect t.csv --json >/dev/full", marks=full_device),
        pytest.param("labelfill --help >/dev/full", marks=full_device),
        pytest.param("labelfill --version >/dev/full", marks=full_device),
        "labelfill train-final --help >&-",
        pytest.param("labelfill completion bash >/dev/full", marks=full_device),
    ],
)
def test_results_that_cannot_be_written_are_exit_5(table: Path, command: str) -> None:
    """Whatever the result is, short or long; one sentence, and nothing of the interpreter's own."""
    ended = shell(command, table.parent)
    assert ended.returncode == 5
    lines = [line for line in ended.stderr.splitlines() if "error" in line]
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("labelfill: error: the results cannot be written to standard output: ")
    assert ended.stderr.endswith(f"{lines[0]}\n")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("labelfill inspect none.csv", 3),
        ("labelfill inspect --no-such-option", 2),
        ("labelfill inspect t.csv", 0),
    ],
)
@pytest.mark.parametrize(
    "streams", ["2>&-", pytest.param("2>/dev/full", marks=full_device), "<&- 2>&-", "2>&1 >/dev/null | :"]
)
def test_the_exit_code_does_not_depend_on_sentences(
    table: Path, command: str, code: int, streams: str
) -> None:
    """With stderr closed, full or gone it is the same, and no error is sent to stdout."""
    if streams.endswith("| :"):
        command = f"{{ {command} {streams.removesuffix('| :')}; echo $? >code; }} | :; exit $(cat code)"
    else:
        command = f"{command} {streams}"
    ended = shell(command, table.parent)
    assert ended.returncode == code
    assert "error" not in ended.stdout
    assert ended.stderr == ""


def test_closed_streams_harm_no_file(table: Path) -> None:
    """A file that is opened does not take the number of a stream, and get what is printed."""
    command = "labelfill train-keypoint-models --data t.csv --run-dir run --method prior -v <&- >&- 2>&-"
    assert shell(command, table.parent).returncode == 5
    assert shell("labelfill impute --run-dir run --out filled.csv", table.parent).returncode == 0
    assert (table.parent / "filled.csv").read_bytes().startswith(b"left_eye_center_x,")


def test_the_work_is_done_though_its_result_cannot_be_told(table: Path) -> None:
    """Exit code 5, and the same command again says that it was done before."""
    command = "labelfill train-keypoint-models --data t.csv --run-dir run --method prior"
    assert shell(f"{command} >&-", table.parent).returncode == 5
    again = shell(command, table.parent)
    assert again.returncode == 0
    assert "already done" in again.stdout


# -- signals ----------------------------------------------------------------------------------------


def begin(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "labelfill", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs tests in the background ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_until_caught(process: subprocess.Popen[str]) -> None:
    """Until the program's first line has been: before it signals are the interpreter's."""
    status = Path(f"/proc/{process.pid}/status")
    for _ in range(10_000):
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.001)
    raise AssertionError("no signal is caught")


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc")


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.4, 1.2])
def test_a_signal_while_loading_is_a_sentence(table: Path, number: signal.Signals, seconds: float) -> None:
    """From the first line on: 130, the sentence, nothing after it; and the command goes on or begins anew."""
    command = ["train-keypoint-models", "--data", table, "--run-dir", "run", *PRIOR]
    with begin(table.parent, *command) as process:
        wait_until_caught(process)
        time.sleep(seconds)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    if process.returncode == 0:  # a quick machine was done before
        return
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("labelfill: stopped; ")
    assert "Traceback" not in errors
    assert errors.count("stopped;") == 1
    assert not list(table.parent.rglob("*.tmp-*"))


@needs_proc
def test_a_second_signal_does_no_harm(table: Path) -> None:
    """Many signals of both kinds, at once and while the first is obeyed: as if there had been one."""
    with begin(table.parent, "run", "--data", table, "--run-dir", "run") as process:
        wait_until_caught(process)
        time.sleep(1.5)
        for _ in range(20):
            for number in (signal.SIGTERM, signal.SIGINT):
                if process.poll() is None:
                    process.send_signal(number)
            time.sleep(0.005)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("labelfill: stopped; ")
    assert "Traceback" not in errors
    assert errors.count("stopped;") == 1


IMPORTED = """
import signal, time

try:
    signal.raise_signal(signal.SIGTERM)
    time.sleep(0.1)
    print("whole", flush=True)
except KeyboardInterrupt:
    print("broken off", flush=True)
"""
IMPORTING = """
import time
from labelfill.cli._signals import SIGNALS

SIGNALS.catch()
try:
    import imported
    time.sleep(10)
except KeyboardInterrupt:
    print("stopped")
"""


def test_a_signal_waits_for_the_end_of_an_import(tmp_path: Path) -> None:
    """PyTorch, interrupted while it is imported, aborted the process."""
    (tmp_path / "imported.py").write_text(IMPORTED)
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTING], env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        stdout=subprocess.PIPE, timeout=60, text=True, check=True,
    )  # fmt: skip
    assert ended.stdout.split("\n") == ["whole", "stopped", ""]


def test_signals_that_are_not_for_it_are_ignored(table: Path) -> None:
    """A command in a shell's background is not ended by Ctrl-C, as other programs are not."""
    ended = shell(
        "(trap '' INT; labelfill inspect t.csv & p=$!; sleep 0.5; kill -INT $p; wait $p)", table.parent
    )
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr


INTERRUPTED_PRINTS = """
import signal, sys
from labelfill.cli._streams import replace_streams

def interrupt(*_):
    raise KeyboardInterrupt

replace_streams()
stream = getattr(sys, sys.argv[1])
print("begun", file=stream, flush=True)
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
interrupts = number = 0
while interrupts < 300:
    try:
        number += 1
        print(f"line {number}", file=stream, flush=True)
    except KeyboardInterrupt:
        interrupts += 1
signal.signal(signal.SIGALRM, signal.SIG_IGN)
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_signal_lets_no_line_be_written_twice(tmp_path: Path, stream: str) -> None:
    """Not even one that comes when the bytes are out and the writer does not know it yet."""
    written = tmp_path / "written"
    with written.open("w") as file:
        subprocess.run(  # whose exit code says nothing: a signal may come at any place of the script
            [sys.executable, "-c", INTERRUPTED_PRINTS, stream],
            cwd=ROOT, timeout=60, check=False, **{stream: file},
        )  # fmt: skip
    # A signal within `except` ends the script; two chained tracebacks have lines in common.
    lines = [line for line in written.read_text().splitlines() if line.startswith(("begun", "line "))]
    assert lines[0] == "begun"
    assert len(lines) > 1
    assert len(lines) == len(set(lines))


# -- files that never end ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", ["mkfifo odd", "ln -s /dev/zero odd"])
@pytest.mark.parametrize(
    "command",
    [
        "labelfill inspect odd",
        "labelfill train-keypoint-models --data t.csv --run-dir run --method prior --distrust odd",
        "labelfill evaluate t.csv odd",
        "labelfill train-keypoint-models --data t.csv --run-dir run --method prior --settings odd",
        "labelfill train-keypoint-models --data t.csv --run-dir run --method prior --mirror-pairs odd",
        "mkdir run; mv odd run/manifest.json; labelfill impute --run-dir run --data t.csv --out f.csv",
    ],
)
def test_what_never_ends_is_refused(table: Path, make: str, command: str) -> None:
    """A pipe without a writer, and a device: a sentence in place of waiting for ever."""
    ended = shell(f"{make}; {command}", table.parent)
    assert ended.returncode in (2, 3, 5)
    assert ended.stderr.splitlines()[-1].startswith("labelfill: error: ")


def test_ctrl_c_is_how_a_served_review_ends(small_prior: Trained, tmp_path: Path) -> None:
    """Exit code 0, and where decisions are is said; not that something was broken off."""
    done("impute", "--run-dir", small_prior.run, "--out", tmp_path / "filled.csv")
    with begin(tmp_path, "review", "--serve", "--run-dir", small_prior.run) as process:
        assert process.stderr is not None
        assert any("http://127.0.0.1:" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "0 decisions in" in out
    assert err == ""
