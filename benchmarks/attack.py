"""Tries to break the program from outside: odd paths, packed bombs, limits, signals, names, numbers, options.

Each try is a line of shell in a folder of its own that holds a small table, and a run in which all three
stages are done. It has to end with one of the exit codes that are expected, without a traceback and without
calling anything a mistake in labelfill itself, within its bounds of time and memory, and with the inputs as
they were.

Prints a table of groups: tried, held; and what did not hold. Exit code 1 if anything did not.
"""

from __future__ import annotations

import hashlib
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attack_tries import GROUPS, Try
from benchmarks.measuring import as_markdown, parser, say, some_of
from labelfill.arrays import Images
from labelfill.data.synthetic import draw_table, write_table
from labelfill.schema import ImageSize

KEYPOINTS = ("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip")
INPUTS = ("t.csv", "truth.csv", "filled.csv")
_BROKEN = ("Traceback (most recent call last)", "this is a bug in labelfill", "Exception ignored")
_SHOWN = 400


@dataclass(frozen=True)
class Outcome:
    """How a try ended; `wrong` says what did not hold, and is empty if all did."""

    tried: Try
    code: int
    seconds: float
    megabytes: float
    wrong: str


def main() -> int:
    """Run the groups asked for; the exit code."""
    options = parser(__doc__, "python -m benchmarks.attack --group paths,streams")
    options.add_argument("--group", type=some_of(GROUPS, "group"), default=list(GROUPS), metavar="NAME")
    options.add_argument("--only", default="", help="tries whose name or command holds this text")
    options.add_argument("--skip", type=int, default=0, help="leave out the first tries of each group")
    options.add_argument("--seconds", type=float, default=math.inf, help="begin no further try after so long")
    options.add_argument("--verbose", action="store_true", help="name each try and what it said")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="labelfill-attack-") as folder:
        arena = prepared(Path(folder) / "arena")
        outcomes, begun = [], time.monotonic()
        for outcome in attacked(arena, given.group, given.only, given.skip):
            outcomes.append(outcome)
            if given.verbose or outcome.wrong:
                say(
                    f"{outcome.tried.group}: {outcome.tried.name}: {outcome.code}, {outcome.seconds:.1f} s, "
                    f"{outcome.megabytes:.0f} MB {outcome.wrong}\n    {outcome.tried.command}"
                )
            if time.monotonic() - begun > given.seconds:
                say(f"stopped after {len(outcomes)} tries")
                break
    tried = Counter(outcome.tried.group for outcome in outcomes)
    held = Counter(outcome.tried.group for outcome in outcomes if not outcome.wrong)
    rows = [[group, str(count), str(held[group])] for group, count in tried.items()]
    rows.append(["all", str(tried.total()), str(held.total())])
    print(as_markdown(["group", "tried", "held"], rows), end="")
    return 0 if held.total() == tried.total() else 1


def prepared(arena: Path) -> Path:
    """A folder with a table of blanks, its truth, a run with all stages done, and image files."""
    arena.mkdir()
    drawn = draw_table(60, 5, keypoints=KEYPOINTS, image_size=ImageSize(24, 24), gaps=0.1)
    write_table(arena / "t.csv", drawn)
    drawn.labels[:] = drawn.truth
    write_table(arena / "truth.csv", drawn)
    write_pictures(arena / "pictures", drawn.images)
    for words in (
        "train-keypoint-models --data t.csv --run-dir run --method prior",
        "impute --run-dir run --out filled.csv",
        "train-final --run-dir run --filled filled.csv --epochs 1",
    ):
        command = [sys.executable, "-m", "labelfill", *words.split(), "-q"]
        subprocess.run(command, cwd=arena, env=environment(), stdout=subprocess.DEVNULL, check=True)
    return arena


def write_pictures(folder: Path, images: Images) -> None:
    """The first images as files, and a table that names them."""
    from PIL import Image

    folder.mkdir()
    lines = ["image_path,nose_tip_x,nose_tip_y"]
    for number, image in enumerate(images[:12]):
        Image.fromarray(image).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{number % 5 + 9},12")
    (folder / "p.csv").write_text("\n".join(lines) + "\n")


def attacked(arena: Path, groups: list[str], only: str, skip: int) -> Iterator[Outcome]:
    """What came of each try, in a copy of the arena."""
    for group in groups:
        for number, tried in enumerate(GROUPS[group]()):
            if number >= skip and only in f"{tried.name} {tried.command}":
                place = arena.with_name(f"{group}-{number}")
                shutil.copytree(arena, place, symlinks=True)
                yield outcome_of(tried, place)
                subprocess.run(["chmod", "-R", "u+rwX", place], check=False, stderr=subprocess.DEVNULL)
                shutil.rmtree(place, ignore_errors=True)


def environment() -> dict[str, str]:
    """Of the program: this checkout, one thread, networks of one epoch."""
    root = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "LABELFILL_FINAL_EPOCHS": "1"}


def outcome_of(tried: Try, place: Path) -> Outcome:
    """Run a try, and look at what it left."""
    for name, content in tried.files.items():
        (place / name).write_bytes(content)
    before = hashes(place)
    command = f'PY={sys.executable}; labelfill() {{ "$PY" -m labelfill "$@"; }}\n{tried.command}'
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=place, env=environment(), stdin=subprocess.DEVNULL,
            stdout=said, stderr=said, start_new_session=True, preexec_fn=_as_a_person,
        )  # fmt: skip
        try:
            code = process.wait(tried.seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the session that was started above
            process.wait()
            code = -1
        said.seek(0)
        text = said.read().decode(errors="backslashreplace")
    seconds = time.perf_counter() - begun
    # Of the largest process so far: a bound, not a measure of this one.
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    wrong = []
    if code == -1:
        wrong.append(f"had not ended after {tried.seconds:g} s")
    elif code not in tried.codes:
        wrong.append(f"ended with {code}, expected {' or '.join(map(str, tried.codes))}")
    wrong += [f"said {words!r}" for words in _BROKEN if words in text]
    wrong += [
        f"changed {name}" for name in before if not tried.changes and hashes(place).get(name) != before[name]
    ]
    if megabytes > tried.megabytes:
        wrong.append(f"took over {tried.megabytes} MB")
    told = f"| {text.strip()[-_SHOWN:]}" if wrong else ""
    return Outcome(tried, code, seconds, megabytes, "; ".join(wrong) + told)


def _as_a_person() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it


def hashes(place: Path) -> dict[str, str]:
    """SHA-256 of the inputs that are there."""
    return {
        name: hashlib.sha256((place / name).read_bytes()).hexdigest()
        for name in INPUTS
        if (place / name).is_file()
    }


if __name__ == "__main__":
    sys.exit(main())
