"""Ideas that once were written several times stand in one file each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "labelfill"
IDEAS = {
    "a round Gaussian's radius": (r"2\.44\d|-2 \* (math|np)\.log\(", "regressors/calibration/conformal.py"),
    "the split-conformal rank": (r"\+ 1\) \* coverage", "regressors/calibration/conformal.py"),
    "the bound of log sigma": (r"(clip|clamp)\([^()]*-4(\.0)?, 4|LOG_SIGMA_RANGE =", "networks/loss.py"),
    "mirror averaging": (r"straight\[1\] ?\*\* ?2", "regressors/mirror_averaging.py"),
    "borrowing what a row to be filled lacks": (
        r"\.noise\[generator|lacking\[generator",
        "sources/anchors.py",
    ),
    "errors as figures": (
        r"np\.mean\(np\.abs\(|np\.sqrt\(np\.mean\(\(?\w*error|abs\(errors?\)\.mean",
        "regressors/scores.py",
    ),
}


@pytest.mark.parametrize("idea", IDEAS)
def test_an_idea_stands_in_one_file(idea: str) -> None:
    """Its formula is found there, and nowhere else in the package."""
    pattern, home = IDEAS[idea]
    found = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if re.search(pattern, path.read_text(encoding="utf-8"))
    }
    assert found == {home}
