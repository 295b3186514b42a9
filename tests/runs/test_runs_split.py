"""The split: its shares, and what must stay together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill.errors import DataError
from labelfill.runs import EVALUATION, TRAINING, VALIDATION, load_split, make_split, save_split


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Image numbers, patterns and perhaps groups of a small table."""
    rows = draw(st.integers(0, 150))

    def numbers(most: int) -> np.ndarray:
        return np.array(draw(st.lists(st.integers(-most, most), min_size=rows, max_size=rows)), np.int64)

    groups = numbers(draw(st.sampled_from([1, 5, 80]))) if draw(st.booleans()) else None
    return numbers(draw(st.sampled_from([3, 50, 10**9]))), numbers(draw(st.sampled_from([1, 6, 100]))), groups


@settings(deadline=None)
@given(tables(), st.integers(0, 2**40))
def test_what_belongs_together_is_never_divided(
    table: tuple[np.ndarray, np.ndarray, np.ndarray | None], seed: int
) -> None:
    """Rows of one image or one group lie in one part; at least half of the rows, and one, train."""
    images, patterns, groups = table
    parts = make_split(images, patterns, seed, groups)
    for together in (images, groups):
        for number in [] if together is None else np.unique(together):
            assert len(np.unique(parts[together == number])) == 1
    assert parts.dtype == np.int8
    assert (parts == TRAINING).sum() >= len(parts) / 2
    np.testing.assert_array_equal(parts, make_split(images, patterns, seed, groups))


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(0, 100))
def test_parts_have_their_shares(rows: int, seed: int) -> None:
    """Without copies: a tenth, at most 100 rows, to evaluate; 15 of 100 of the rest to validate."""
    parts = make_split(np.arange(rows), np.zeros(rows, np.int64), seed)
    evaluation = min(100, rows // 10)
    counts = [(parts == part).sum() for part in (TRAINING, VALIDATION, EVALUATION)]
    assert counts == [rows - evaluation - counts[1], round(0.15 * (rows - evaluation)), evaluation]


def test_each_pattern_has_its_share() -> None:
    """Each part holds every frequent pattern in proportion, to a row."""
    patterns = np.repeat([0, 1, 2], [600, 300, 100])
    parts = make_split(np.arange(1000), patterns, 0)
    for part, share in ((EVALUATION, 0.1), (VALIDATION, 0.135)):
        np.testing.assert_allclose(
            np.bincount(patterns[parts == part]), share * np.array([600, 300, 100]), atol=1
        )


def test_seeds_give_different_splits() -> None:
    """The seed decides which rows are held out."""
    one, other = (make_split(np.arange(500), np.zeros(500, np.int64), seed) for seed in (0, 1))
    assert (one != other).any()


def test_a_few_large_groups_are_divided_all_the_same() -> None:
    """With groups larger than a part should be, a part is one group, and half of the rows still train."""
    parts = make_split(np.arange(400), np.zeros(400, np.int64), 0, np.repeat(np.arange(4), 100))
    assert sorted(np.bincount(parts)) == [100, 100, 200]


def test_a_saved_split_reads_back(tmp_path: Path) -> None:
    """split.csv holds the split."""
    parts = make_split(np.arange(50), np.zeros(50, np.int64), 3)
    save_split(tmp_path / "split.csv", parts)
    np.testing.assert_array_equal(load_split(tmp_path / "split.csv", 50), parts)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1: field 1 is missing, expected 'row'; it is not a split"),
        ("row,part\n0,training\n", "splits 1 rows but the table has 2"),
        ("row,part\n0,training\n1,testing\n", "line 3: found '1,testing', expected '1,' and one of training"),
        ("row,part\n0,training\n2,training\n", "line 3: found '2,training'"),
        ("row,part\n0,training\n1\n", "line 3: found '1'"),
    ],
)
def test_a_split_of_another_table_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """A split that is damaged or has another number of rows is named, with what to do."""
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(DataError, match=sentence):
        load_split(tmp_path / "split.csv", 2)
