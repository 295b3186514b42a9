"""The faults of the first attack on the program, one test each, by its command line in a process of its own.

The program is that of this checkout, or of the one that `LABELFILL_CHECKOUT` names: `benchmarks.found_faults`
shows so that these tests fail where the faults are.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from tests.browser import chromium

CHECKOUT = Path(os.environ.get("LABELFILL_CHECKOUT", Path(__file__).parents[2]))
PROGRAM = (sys.executable, "-m", "labelfill")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CHECKOUT), "LABELFILL_FINAL_EPOCHS": "1"}
KEYPOINTS, SIZE, ROWS = ("eye", "nose", "mouth"), 24, 40
BROKEN = ("Traceback", "a bug in labelfill", "a mistake in labelfill itself")  # now, and in former versions

pytestmark = pytest.mark.slow


def program(folder: Path, *arguments: object, streams: str = "") -> subprocess.CompletedProcess[str]:
    """What became of a command whose streams a shell may have closed or led elsewhere."""
    command = ["sh", "-c", f'"$@" {streams}', "sh", *PROGRAM, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120
    )


def write(table: Path, keypoints: tuple[str, ...] = KEYPOINTS, *, same_images: bool = False) -> None:
    """Rows of a drifting shape, each third without its last keypoint; of the same images all but one."""
    random = np.random.default_rng(0)
    with table.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow([f"{keypoint}_{axis}" for keypoint in keypoints for axis in "xy"] + ["Image"])
        for row in range(ROWS):
            place = random.normal(12, 1.5, 2)
            points = [
                place + np.array([3 * k - 3, k]) + random.normal(0, 0.3, 2) for k in range(len(keypoints))
            ]
            cells = [f"{value:.2f}" for point in points for value in point]
            if row > 0 if same_images else row % 3 == 0:
                cells[-2:] = ["", ""]
            seed = 0 if same_images else row
            pixels = np.random.default_rng(seed).integers(0, 256, SIZE * SIZE)
            lines.writerow([*cells, " ".join(map(str, pixels))])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table and a run in which all three stages are done."""
    folder = tmp_path_factory.mktemp("trained")
    write(folder / "t.csv")
    for command in (
        ("train-keypoint-models", "--data", "t.csv", "--run-dir", "run", "--method", "prior"),
        ("impute", "--run-dir", "run", "--out", "filled.csv"),
        ("train-final", "--run-dir", "run", "--filled", "filled.csv"),
    ):
        assert program(folder, *command).returncode == 0
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(trained, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("arguments", "streams", "code"),
    [
        (("inspect", "t.csv"), ">&-", 5),
        (("inspect", "none.csv"), "2>&-", 3),
        (("inspect", "none.csv"), "2>/dev/full", 3),
        (("--help",), ">/dev/full", 5),
    ],
)
def test_1_streams(folder: Path, arguments: tuple[str, ...], streams: str, code: int) -> None:
    """The exit code does not depend on whether a sentence could be printed, results not written are 5."""
    ended = program(folder, *arguments, streams=streams)
    assert ended.returncode == code
    assert "error" not in ended.stdout
    assert not any(word in ended.stderr for word in BROKEN)


@pytest.mark.parametrize("text", ['{"format": 1, "stages": {}}', "[" * 100_000 + "]" * 100_000])
def test_2_run_files_that_parse_but_are_not_ours(folder: Path, text: str) -> None:
    """A manifest without its input, and one that is nested very deeply: exit code 3 with the file's name."""
    if text.startswith("{"):
        manifest = json.loads((folder / "run" / "manifest.json").read_text())
        del manifest["input"]
        text = json.dumps(manifest)
    (folder / "run" / "manifest.json").write_text(text)
    ended = program(folder, "predict", "--run-dir", "run", "--images", "t.csv", "--out", "p.csv")
    assert ended.returncode == 3
    assert "manifest.json" in ended.stderr
    assert not any(word in ended.stderr for word in BROKEN)


def test_3_weights_that_are_no_numbers(folder: Path) -> None:
    """A weight that is not a number in a file whose hash is right: exit code 3, and no prediction."""
    file, manifest = folder / "run" / "final" / "model.safetensors", folder / "run" / "manifest.json"
    before, tensors = file.read_bytes(), dict(load(file.read_bytes()))
    name = next(name for name, tensor in tensors.items() if tensor.dtype == np.float32)
    tensors[name] = tensors[name].copy()
    tensors[name].flat[0] = np.nan
    file.write_bytes(save(tensors))
    old, new = (hashlib.sha256(content).hexdigest() for content in (before, file.read_bytes()))
    manifest.write_text(manifest.read_text().replace(old, new))
    ended = program(folder, "predict", "--run-dir", "run", "--images", "t.csv", "--out", "p.csv")
    assert ended.returncode == 3
    assert "model.safetensors" in ended.stderr
    assert not (folder / "p.csv").exists()


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="there is no /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_4_signals(folder: Path, number: signal.Signals) -> None:
    """In the first moments, while modules are loaded: 130 and a sentence, nothing of the interpreter's."""
    command = (*PROGRAM, "train-keypoint-models", "--data", "t.csv", "--run-dir", "new", "--method", "prior")
    with subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell that runs tests in the background ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        _until_it_loads(process.pid)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert not any(word in errors for word in BROKEN)
    assert errors.count("stopped") == 1


def _until_it_loads(process: int) -> None:
    """Until the program has loaded numpy, which its first lines do not."""
    for _ in range(10_000):
        if "numpy" in Path(f"/proc/{process}/maps").read_text():
            return
        time.sleep(0.001)
    raise AssertionError("it loads nothing")


def test_5_layout(tmp_path: Path) -> None:
    """A keypoint's name of 10,000 characters does not make the report wider than the window."""
    write(tmp_path / "t.csv", ("eye", "nose", "n" * 10_000))
    for command in (
        ("train-keypoint-models", "--data", "t.csv", "--run-dir", "run", "--method", "prior"),
        ("impute", "--run-dir", "run", "--out", "filled.csv"),
        ("report", "--run-dir", "run", "--out", "report.html"),
    ):
        assert program(tmp_path, *command).returncode == 0
    with chromium(tmp_path / "browser") as browser:
        browser.get((tmp_path / "report.html").as_uri())
        wide, window = browser.execute_script(
            "return [document.documentElement.scrollWidth, window.innerWidth]"
        )
    assert wide <= window


def test_6_copies_that_the_message_denies(tmp_path: Path) -> None:
    """With all images identical, training says that blank points will be copied, as then they are."""
    write(tmp_path / "t.csv", same_images=True)
    trained = program(
        tmp_path, "train-keypoint-models", "--data", "t.csv", "--run-dir", "run", "--method", "prior"
    )
    filled = program(tmp_path, "impute", "--run-dir", "run", "--out", "filled.csv")
    assert (trained.returncode, filled.returncode) == (0, 0), trained.stderr
    assert "stays blank" not in trained.stderr
    assert "copied from identical images" in trained.stderr


@pytest.mark.parametrize("kind", ["blank lines", "columns"])
def test_7_slow_refusals(tmp_path: Path, kind: str) -> None:
    """Blank lines without end and a million columns are refused with their bound."""
    table = tmp_path / "t.csv"
    if kind == "blank lines":
        table.write_bytes(b"eye_x,eye_y,Image\n1,1,0 0 0 0\n" + b"\n" * (16 << 20) + b"1,1,0 0 0 0\n")
    else:
        table.write_text(",".join(f"c{number}" for number in range(1_000_000)) + "\n")
    ended = program(tmp_path, "inspect", table)
    assert ended.returncode == 3
    assert ("8 MB" if kind == "blank lines" else "a table may have") in ended.stderr
