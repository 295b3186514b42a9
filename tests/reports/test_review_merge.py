"""Decisions of several reviewers: where they agree goes into one file, where they do not is told."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from labelfill.data.corrections import HEADER, REVIEWER, Decision, read_decisions
from labelfill.reports.review.merging import merge_decisions
from tests.driving import done, labelfill

ANNA = (
    "0,nose,accepted,10.0000,20.0000,anna", "1,nose,moved,5.0000,5.0000,anna", "2,nose,rejected,,,anna",
    "3,nose,moved,1.0000,1.0000,anna", '4,"eye, left",rejected,,,anna', "5,nose,wrong,,,anna",
)  # fmt: skip
# In another order, and without a column of reviewers.
BEN = (
    "4,\"eye, left\",accepted,7.0000,8.0000", "3,nose,moved,4.0000,5.0000", "2,nose,rejected,,",
    "1,nose,accepted,5.6000,5.8000", "0,nose,accepted,10.0000,20.0000", "6,nose,rejected,,",
)  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    anna, ben = tmp_path / "anna.csv", tmp_path / "ben.csv"
    anna.write_text("\n".join([",".join([*HEADER, REVIEWER]), *ANNA, ""]), encoding="utf-8")
    ben.write_text("\n".join([",".join(HEADER), *BEN, ""]), encoding="utf-8")
    return [anna, ben]


def test_what_two_reviewers_agree_on_is_written(files: list[Path], tmp_path: Path) -> None:
    """Equal decisions, places nearby (their mean) and those of one alone; each with who decided."""
    out = tmp_path / "merged.csv"
    told = done("review", "--merge", *files, "--out", out)
    merged = read_decisions(out)
    assert (told["agreed"], told["alone"], len(told["disputed"])) == (3, 2, 2)
    assert [row for row, _ in merged] == [0, 1, 2, 5, 6]
    assert (merged[0, "nose"].action, merged[0, "nose"].place) == ("accepted", (10.0, 20.0))
    assert (merged[1, "nose"].action, merged[1, "nose"].place) == ("moved", (5.3, 5.4))
    assert merged[2, "nose"].action == "rejected"
    assert [merged[row, "nose"].reviewer for row in (0, 5, 6)] == ["anna", "anna", ""]
    again = tmp_path / "again.csv"
    done("review", "--merge", *reversed(files), "--out", again)
    assert again.read_bytes() == out.read_bytes(), "the order of the files does not matter"


def test_where_reviewers_disagree_is_told(files: list[Path]) -> None:
    """Row, keypoint, what each decided and how far apart; --within says from where on places disagree."""
    said = labelfill("review", "--merge", *files)
    assert said.code == 0
    assert "  row 3, nose: anna moved at 1.0, 1.0; ben.csv moved at 4.0, 5.0 (5.0 px apart)" in said.out
    assert "  row 4, eye, left: anna rejected; ben.csv accepted at 7.0, 8.0\n" in said.out
    (first, _) = done("review", "--merge", *files)["disputed"]
    assert (first["row"], first["keypoint"], first["distance"]) == (3, "nose", 5.0)
    assert [one["action"] for one in first["decisions"]] == ["moved", "moved"]
    assert len(done("review", "--merge", *files, "--within", 5)["disputed"]) == 1
    assert len(done("review", "--merge", *files, "--within", 0.5)["disputed"]) == 3


def test_three_reviewers_agree_only_if_all_do() -> None:
    """Places that follow each other in small steps are as far apart as the first and the last."""
    chain = [[Decision(0, "nose", "moved", (x, 0.0), name)] for name, x in (("a", 0), ("b", 0.8), ("c", 1.6))]
    assert len(merge_decisions(chain, within=1).disputed) == 1
    (one,) = merge_decisions(chain, within=2).agreed
    assert one.reviewer == "a; b; c"
    assert one.place == pytest.approx((0.8, 0.0))


def test_what_cannot_be_merged_is_refused(files: list[Path], tmp_path: Path) -> None:
    """One file, a file that exists, a line that says nothing clear, options that would do nothing."""
    assert labelfill("review", "--merge", files[0]).code == 2
    assert "--force" in labelfill("review", "--merge", *files, "--out", files[0]).sentence
    broken = tmp_path / "broken.csv"
    broken.write_text("row,keypoint,action,x,y,reviewer\n0,nose,moved,1,,ben\n", encoding="utf-8")
    refused = labelfill("review", "--merge", files[0], broken)
    assert refused.code == 3
    assert f"{broken}, line 2: moved needs x and y" in refused.sentence
    assert labelfill("review", "--merge", files[0], tmp_path / "none.csv").code == 3
    for options in (["--serve"], ["--reviewer", "eva"], ["--rows", 3]):
        assert labelfill("review", "--merge", *files, *options).code == 2
    assert "--merge" in labelfill("review", "--within", 3).sentence


def test_names_that_need_quotes_come_back(files: list[Path], tmp_path: Path) -> None:
    """A merged file is read by any csv reader, and says what its parts say."""
    out = tmp_path / "merged.csv"
    done("review", "--merge", *files, "--out", out, "--within", 100)
    with open(out, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert set(lines[0]) == {*HEADER, REVIEWER}
    assert sorted({line["row"] for line in lines}) == ["0", "1", "2", "3", "5", "6"]
