"""The deliberate faults of ``benchmarks/mutations.py`` still fit the code, and one of them is caught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.mutations import (
    BY_NAME,
    MUTATIONS,
    ROOT,
    Mutation,
    Outdated,
    Verdict,
    main,
    mutated,
    verdict_of,
)

TOY = Mutation("toy", "a sum is a difference", "toy.py", "a + b", "a - b", ("test_toy.py",))


def judged(folder: Path, test: str) -> Verdict:
    """What a file of tests says of a function that adds, mutated."""
    (folder / "toy.py").write_text("def added(a, b):\n    return a + b\n")
    (folder / "test_toy.py").write_text(test)
    with mutated(TOY, folder):
        return verdict_of(folder, TOY.tests)


def test_there_are_fifteen_each_of_its_own_name() -> None:
    """Faults are asked for by name, and their tests are files that are there."""
    assert len(MUTATIONS) == len(BY_NAME) == 15
    assert all((ROOT / file).is_file() for mutation in MUTATIONS for file in mutation.tests)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_changes_a_text_that_stands_once(mutation: Mutation, tmp_path: Path) -> None:
    """The code is as the mutation knows it, is Python with it, and is as before without it."""
    copy, source = tmp_path / mutation.file, (ROOT / mutation.file).read_text(encoding="utf-8")
    copy.parent.mkdir(parents=True)
    copy.write_text(source, encoding="utf-8")
    with mutated(mutation, tmp_path):
        assert copy.read_text(encoding="utf-8") != source
    assert copy.read_text(encoding="utf-8") == source


def test_code_that_has_changed_is_named(tmp_path: Path) -> None:
    """A text that is gone, or stands twice, is no reason to believe that anything was caught."""
    for content, count in (("a * b", 0), ("a + b, a + b", 2)):
        (tmp_path / "toy.py").write_text(content)
        with pytest.raises(Outdated, match=f"toy.py holds {count} times, not once"), mutated(TOY, tmp_path):
            pass
    (tmp_path / "toy.py").write_text("a + b")
    with pytest.raises(Outdated, match="no Python"), mutated(replace(TOY, instead="a +"), tmp_path):
        pass


def test_an_assertion_catches_a_fault(tmp_path: Path) -> None:
    """The first test that fails is named, its parameters with it."""
    verdict = judged(
        tmp_path,
        "import pytest\nfrom toy import added\n"
        "@pytest.mark.parametrize('case', ['a - b'])\n"
        "def test_sums(case):\n    assert added(2, 1) == 3, 'no [sum] - really'\n",
    )
    assert (verdict.caught, verdict.told) == (True, "test_toy.py::test_sums[a - b]")


@pytest.mark.parametrize(
    ("test", "told"),
    [
        ("from toy import added\ndef test_sums():\n    assert added(2, 0) == 2\n", ""),
        ("from toy import other\n", "test_toy.py cannot be run: "),
        (
            "def test_sums():\n    import toy\n    toy.other()\n",
            "test_toy.py::test_sums breaks: AttributeError",
        ),
        ("", "pytest ended with 5"),
    ],
    ids=["passes", "no import", "breaks", "no test"],
)
def test_what_fails_otherwise_catches_nothing(tmp_path: Path, test: str, told: str) -> None:
    """Tests that pass, cannot be collected, break or are not there."""
    verdict = judged(tmp_path, test)
    assert not verdict.caught
    assert verdict.told.startswith(told)
    assert bool(verdict.told) == bool(told)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout: git tells which files are copied")
def test_one_is_caught_in_a_copy_of_the_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    """The tests pass without the fault and fail with it; the exit status is 0, and 2 for a name unknown."""
    assert main(["radius-halved"]) == 0
    printed = capsys.readouterr().out
    assert "caught" in printed
    assert "tests/regressors/test_radii.py::" in printed
    assert "1 of 1 faults are caught" in printed
    with pytest.raises(SystemExit, match="2"):
        main(["radius-doubled"])
