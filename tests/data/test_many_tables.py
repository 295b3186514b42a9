"""``impute`` with a pattern for --data: many tables, each filled as it would be by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.driving import done, labelfill
from tests.trained_runs import Trained

PARTS = 3


@pytest.fixture
def trained(small_prior: Trained, tmp_path: Path) -> Trained:
    """A copy of the run, and its table cut into parts of unlike length."""
    shutil.copytree(small_prior.run, tmp_path / "run")
    header, *lines = small_prior.table.read_bytes().splitlines(keepends=True)
    (tmp_path / "parts").mkdir()
    for number, part in enumerate((lines[:20], lines[20:70], lines[70:])):
        (tmp_path / "parts" / f"p{number}.csv").write_bytes(header + b"".join(part))
    return Trained(tmp_path / "parts", tmp_path / "run")


def many(trained: Trained, pattern: str = "p*.csv") -> tuple[object, ...]:
    return ("impute", "--run-dir", trained.run, "--data", trained.table / pattern, "--out", filled(trained))


def filled(trained: Trained) -> Path:
    return trained.run.parent / "filled"


def test_each_is_filled_as_by_itself(trained: Trained, tmp_path: Path) -> None:
    """The same bytes, sidecars too, in a folder that is made; the numbers add up."""
    summaries = done(*many(trained))["tables"]
    assert [one["rows"] for one in summaries] == [20, 50, 30]
    (tmp_path / "alone").mkdir()
    for number in range(PARTS):
        table, out = trained.table / f"p{number}.csv", tmp_path / "alone" / f"p{number}.csv"
        alone = done("impute", "--run-dir", trained.run, "--data", table, "--out", out)
        assert alone["filled"] == summaries[number]["filled"] > 0
    both = [
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (filled(trained), tmp_path / "alone")
    ]
    assert both[0] == both[1]
    assert len(both[0]) == 4 * PARTS  # each with its provenance, its sources and what to look at first


def test_a_bad_table_is_named_and_the_rest_goes_on_later(trained: Trained) -> None:
    """Those before it stay; once it is repaired they are not done again."""
    bad = trained.table / "p1.csv"
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    outcome = labelfill(*many(trained))
    assert outcome.code == 3
    assert "p1.csv" in outcome.sentence
    assert (filled(trained) / "p0.csv").is_file()
    assert not (filled(trained) / "p1.csv").exists()
    bad.write_bytes(whole)
    assert [one["state"] for one in done(*many(trained))["tables"]] == ["done before", "fresh", "fresh"]


def test_a_dry_run_writes_nothing(trained: Trained) -> None:
    """It tells of each table what would be done."""
    plans = done(*many(trained), "--dry-run")["tables"]
    assert not filled(trained).exists()
    assert [one["filled"] for one in plans] == [one["filled"] for one in done(*many(trained))["tables"]]
    assert "p2.csv" in labelfill(*many(trained), "--dry-run").out


def test_the_text_has_a_line_for_each(trained: Trained) -> None:
    """And one for all."""
    lines = labelfill(*many(trained)).out.splitlines()
    assert [line.split()[0] for line in lines[: PARTS + 2]] == ["table", "p0.csv", "p1.csv", "p2.csv", "all"]
    assert lines[PARTS + 1].split()[1] == "100"


@pytest.mark.parametrize(
    ("further", "code", "said"),
    [
        (("--data", "nothing*.csv"), 3, "no file matches nothing*.csv"),
        (("--distrust", "d.csv"), 2, "--distrust refers to the rows of one table"),
        (("--corrections", "c.csv"), 2, "--corrections refers to the rows of one table"),
    ],
)
def test_what_cannot_be_is_refused(trained: Trained, further: tuple[str, ...], code: int, said: str) -> None:
    """In one sentence, with nothing written."""
    outcome = labelfill(*many(trained), *further)
    assert outcome.code == code
    assert said in outcome.sentence
    assert not filled(trained).exists()


def test_two_tables_of_one_name_are_refused(trained: Trained) -> None:
    """They would be filled into one file."""
    (trained.table / "more").mkdir()
    shutil.copy(trained.table / "p0.csv", trained.table / "more")
    outcome = labelfill(*many(trained, "**/p0.csv"))
    assert outcome.code == 3
    assert "have the same name" in outcome.sentence


def test_a_file_in_place_of_the_folder_is_kept(trained: Trained) -> None:
    """--out is a folder here."""
    filled(trained).write_text("mine")
    outcome = labelfill(*many(trained))
    assert outcome.code == 2
    assert "is a file" in outcome.sentence
    assert filled(trained).read_text() == "mine"


def test_tables_are_not_filled_over_themselves(trained: Trained) -> None:
    """Even if the folder is theirs."""
    outcome = labelfill("impute", "--run-dir", trained.run, "--data", trained.table / "p*.csv",
                        "--out", trained.table)  # fmt: skip
    assert outcome.code == 2
    assert "the original is never changed" in outcome.sentence
