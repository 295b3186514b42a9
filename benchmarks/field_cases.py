"""Files as people have them: every case of a folder run as its README says, beside what is expected.

Each case is a folder with a ``README.txt`` that holds lines ``in this folder: COMMAND`` and ``expected:``.
What the cases known here have to end with is checked: an exit code, and words of what is printed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import parser


@dataclass(frozen=True)
class Expected:
    """How a command has to end: its exit code, and a pattern that what it prints holds."""

    code: int
    pattern: str
    further: tuple[str, ...] = ()


_PLACEHOLDER = r"601 points are exactly \({0}, {0}\), first .* row 1 .*pass --missing-value {0} "
KNOWN = {
    "01": Expected(3, _PLACEHOLDER.format(-1)),
    "01d": Expected(3, _PLACEHOLDER.format(-1)),
    "02": Expected(3, _PLACEHOLDER.format(0)),
    "03": Expected(3, "32,767 characters.*Excel has cut it; export the table again"),
    "05b": Expected(0, "80 image files turned.*(?s:.*)images of 192x256"),
    "06b": Expected(0, "12 bits are used, so 4,095 is white"),
    "08b": Expected(3, _PLACEHOLDER.format(0)),
    "09e": Expected(3, "192x192.*96x96"),
    "11": Expected(0, "80 rows with 15 keypoints"),
    "12b": Expected(0, "images of 96x96", ("ghost.json",)),
    "15f": Expected(0, "pass --coordinates share"),
    "17": Expected(3, "is no table but", ("a.pts", "data.yaml", "a.xml", "x.slp", "c.h5")),
}


def main() -> None:
    options = parser(__doc__, "python -m benchmarks.field_cases FOLDER")
    options.add_argument("folder", type=Path, help="holds a folder for each case")
    options.add_argument("--only", help="the cases to run, separated by commas")
    asked = options.parse_args()
    wrong = [case for case in _cases(asked) if not _holds(case)]
    names = ", ".join(case.name for case in wrong) or "none"
    print(f"\nnot as expected: {names}")
    sys.exit(bool(wrong))


def _cases(asked: argparse.Namespace) -> list[Path]:
    names = asked.only.split(",") if asked.only else None
    found = sorted(readme.parent for readme in asked.folder.glob("*/README.txt"))
    return [case for case in found if names is None or case.name in names]


def _holds(case: Path) -> bool:
    """Run a case on a copy of its folder; whether it ends as expected, or nothing is known of it."""
    readme = (case / "README.txt").read_text()
    command = re.findall(r"in this folder: labelfill (.*)", readme)[0].split()
    expected = KNOWN.get(case.name)
    files = [command[-1], *(expected.further if expected else ())]
    print(f"\n{case.name}: {' '.join(re.findall('expected: (.*)', readme))}")
    holds = True
    for file in files:
        words = command if file == command[-1] else [*command[:-1], file]
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copytree(case, Path(folder) / case.name))
            ended = subprocess.run(
                [sys.executable, "-m", "labelfill", *words], cwd=copy, capture_output=True, text=True
            )
        printed = ended.stderr + ended.stdout
        if expected is not None and file == command[-1]:
            holds &= ended.returncode == expected.code and bool(re.search(expected.pattern, printed))
        holds &= "Traceback" not in printed and "bug in labelfill" not in printed
        print(f"  labelfill {' '.join(words)}: exit {ended.returncode}")
        for line in printed.splitlines()[:4]:
            print(f"    {line[:300]}")
    print(f"  {'as expected' if holds else 'NOT AS EXPECTED'}")
    return holds


if __name__ == "__main__":
    main()
