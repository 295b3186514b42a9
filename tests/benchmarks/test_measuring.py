"""What measuring programs share, and the entry points that start them."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from benchmarks.measuring import as_markdown, numbers, once, run_python, some_of

SCRIPTS = Path(__file__).parents[2] / "scripts"
ENTRY_POINTS = [
    "bench", "coverage", "few_rows", "final_variants", "fuzz", "growth", "journey", "make_pictures", "memory",
    "torture",
]  # fmt: skip


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_entry_point_starts_programs_that_are_there(name: str) -> None:
    """Every module that it names is found."""
    modules = re.findall(r"-m (benchmarks\.\S+)", (SCRIPTS / name).read_text(encoding="utf-8"))
    assert modules
    assert all(importlib.util.find_spec(module) for module in modules)


def test_options_take_words_and_numbers_separated_by_commas() -> None:
    """A word that is not known is refused by one that is."""
    assert numbers("0,12") == [0, 12]
    assert some_of(("a", "b"), "kind")("b,a") == ["b", "a"]
    with pytest.raises(argparse.ArgumentTypeError, match="no kind 'c'; there are a, b"):
        some_of(("a", "b"), "kind")("a,c")


def test_what_is_done_once_is_not_done_again(tmp_path: Path) -> None:
    """Its result is stored as JSON, and the work is left alone from then on."""
    assert once(tmp_path / "a.json", "a", lambda: {"rows": 3}) == {"rows": 3}
    assert once(tmp_path / "a.json", "a", pytest.fail) == {"rows": 3}


def test_a_process_tells_what_it_printed_and_took() -> None:
    """Seconds, processor seconds and memory; an exit code that is not allowed ends the program."""
    ended = run_python("-c", "import os; print(os.environ['OMP_NUM_THREADS'])", threads=3)
    assert ended.printed == "3\n"
    assert ended.seconds > 0
    assert ended.peak_memory > 2**20
    with pytest.raises(SystemExit, match=rf"{re.escape(sys.executable)} -c exit\(4\) ended with 4"):
        run_python("-c", "exit(4)")


def test_tables_are_written_in_markdown() -> None:
    """A line for the head, one below it, and one for each row."""
    assert as_markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |\n"
