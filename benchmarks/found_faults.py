"""Runs the tests of found faults on a checkout of labelfill, and prints which of them fail there.

`--expect fail` is for a checkout that has the faults: exit code 0 if a test of each fault fails there. With
`--expect pass` it is 0 if all tests pass.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

from benchmarks.measuring import as_markdown, parser

ROOT = Path(__file__).parents[1]
TESTS = "tests/cli/test_found_faults.py"


def main() -> int:
    """Run the tests on the checkout; the exit code."""
    options = parser(__doc__, "python -m benchmarks.found_faults ../labelfill-before --expect fail")
    options.add_argument("checkout", type=Path, help="folder that holds the package labelfill")
    options.add_argument("--expect", choices=("pass", "fail"), default="pass")
    given = options.parse_args()
    ended = by_fault(given.checkout.resolve())
    rows = [
        [fault, *(str(outcomes.count(outcome)) for outcome in ("passed", "failed", "skipped"))]
        for fault, outcomes in sorted(ended.items())
    ]
    print(as_markdown(["fault", "passed", "failed", "skipped"], rows), end="")
    if given.expect == "fail":
        return 0 if all("failed" in outcomes for outcomes in ended.values()) else 1
    return 0 if all(set(outcomes) == {"passed"} for outcomes in ended.values()) else 1


def by_fault(checkout: Path) -> dict[str, list[str]]:
    """How the tests of each fault ended."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "tests.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--no-header", TESTS, f"--junitxml={told}"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "LABELFILL_CHECKOUT": str(checkout)},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        ended: dict[str, list[str]] = defaultdict(list)
        for case in ElementTree.parse(told).iter("testcase"):
            fault = re.sub(r"^test_|\[.*", "", case.get("name", "")).replace("_", " ")
            kinds = {child.tag for child in case}
            failed = kinds & {"failure", "error"}
            ended[fault].append("failed" if failed else "skipped" if "skipped" in kinds else "passed")
    return ended


if __name__ == "__main__":
    sys.exit(main())
