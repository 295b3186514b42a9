"""Label sources: grouping by missing patterns, disputed keypoints, convention offsets."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill.errors import DataError
from labelfill.shape.prior import ShapePrior, fit_shape_prior
from labelfill.sources.agreement import Agreement, find_agreement
from labelfill.sources.conventions import ConventionOffset, measure_offset
from labelfill.sources.groups import UNKNOWN, find_groups, least_offset, reference_groups
from tests.drawn_shapes import CHIN, LEFT_EYE, LIP, NOSE, RIGHT_EYE, Array, faces

KAGGLE = Path(os.environ.get("LABELFILL_DATA", Path(__file__).parents[3] / "shared/data")) / "kaggle"
SHARED = [LEFT_EYE, RIGHT_EYE, NOSE, LIP]
MOVED = {NOSE: np.array([0.3, 4.5]), LIP: np.array([-0.4, -5.0])}


def patterns(*counted: tuple[int, list[int]], keypoints: int = 7) -> np.ndarray:
    """Rows (n, K): for each (count, labelled keypoints) that many rows."""
    rows = np.zeros((sum(count for count, _ in counted), keypoints), bool)
    begin = 0
    for count, labelled in counted:
        rows[begin : begin + count, labelled] = True
        begin += count
    return rows


def two_sources(
    rng: np.random.Generator, rows: int = 150, moved: dict[int, Array] | None = None
) -> tuple[Array, Array, np.ndarray]:
    """Truth and labels (2 rows, K, 2), and which are of source 1; source 2 labels `SHARED` alone."""
    truth = faces(2 * rows, rng)
    labels = truth.copy()
    first = np.arange(2 * rows) < rows
    for keypoint, offset in (moved or {}).items():
        labels[~first, keypoint] += offset
    labels[np.ix_(~first, [k for k in range(truth.shape[1]) if k not in SHARED])] = np.nan
    return truth, labels, first


def prior_of(labels: Array) -> ShapePrior:
    return fit_shape_prior(labels, np.where(np.isfinite(labels), 0.0, np.inf))


# -- groups -----------------------------------------------------------------------------------------


def test_two_patterns_are_two_sources() -> None:
    """Rows that label all and rows that label few are two groups, numbered by their first rows."""
    labelled = patterns((60, SHARED), (140, list(range(7))))
    groups = find_groups(labelled)
    assert groups.names == ("1", "2")
    assert groups.assign(labelled).tolist() == [0] * 60 + [1] * 140
    assert groups.assign(labelled[::-1]).tolist() == [1] * 140 + [0] * 60


def test_a_rare_pattern_joins_the_nearest_frequent_one() -> None:
    """Rows with a few labels more or less belong to the source whose pattern they overlap most."""
    labelled = patterns((100, list(range(7))), (100, SHARED), (2, [0, 1, 2]), (2, [0, 2, 3, 4, 5, 6]))
    groups = find_groups(labelled)
    assert groups.assign(labelled).tolist() == [0] * 100 + [1] * 100 + [1] * 2 + [0] * 2


def test_rows_without_labels_have_no_known_source() -> None:
    """Where sources are told apart by labels, a row that has none is of no known source."""
    labelled = patterns((100, list(range(7))), (100, SHARED), (3, []))
    assert find_groups(labelled).assign(labelled)[-3:].tolist() == [UNKNOWN] * 3


@pytest.mark.parametrize(
    ("rows", "few", "count"), [(100, 29, 1), (100, 30, 2), (2000, 90, 1), (2000, 110, 2), (40, 10, 1)]
)
def test_a_source_needs_thirty_rows_and_a_twentieth_of_the_table(rows: int, few: int, count: int) -> None:
    """A pattern of fewer than 30 rows or 5% of the rows makes no source of its own."""
    assert len(find_groups(patterns((rows, list(range(7))), (few, SHARED))).names) == count


def test_patterns_that_differ_in_one_keypoint_are_one_source() -> None:
    """Two frequent patterns that differ in a single keypoint are labelled by the same people."""
    assert find_groups(patterns((100, list(range(7))), (100, list(range(6))))).names == ("1",)


@pytest.mark.parametrize("gaps", [0.05, 0.3, 0.5])
@pytest.mark.parametrize("keypoints", [1, 2, 5, 15])
def test_random_gaps_are_one_source(gaps: float, keypoints: int) -> None:
    """Gaps strewn independently over the table tell of no second source, in at least 19 of 20 tables."""
    rng = np.random.default_rng([keypoints, round(gaps * 100)])
    single = [len(find_groups(rng.random((rows, keypoints)) >= gaps).names) == 1 for rows in [200, 2000] * 10]
    assert sum(single) >= 19


@given(
    labelled=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5),
    repeats=st.integers(1, 80),
)
@settings(deadline=None, max_examples=60)
def test_every_labelled_row_of_the_table_itself_has_a_source(
    labelled: list[list[bool]], repeats: int
) -> None:
    """However few or odd the patterns, a row of unknown source shares no label with any frequent pattern."""
    rows = np.repeat(np.array(labelled), repeats, axis=0)
    groups = find_groups(rows)
    assigned = groups.assign(rows)
    assert assigned.shape == (len(rows),)
    assert assigned.max() < len(groups.names)
    for row in rows[assigned == UNKNOWN]:
        assert not (groups.patterns & row).any()


def test_a_column_names_the_sources() -> None:
    """A declared column decides alone, in order of first rows; blank and new values are of unknown source."""
    labelled = patterns((6, SHARED))
    groups = find_groups(labelled, ["b", "a", "b ", "", "a", "b"], "studio")
    assert groups.names == ("b", "a")
    assert groups.column == "studio"
    assert groups.assign(labelled, ["b", "a", "b ", "", "a", "c"]).tolist() == [0, 1, 0, UNKNOWN, 1, UNKNOWN]
    assert groups.assign(labelled).tolist() == [UNKNOWN] * 6
    assert groups.revealed_by(labelled).tolist() == [0] * 6  # b has more rows of the only pattern
    assert groups.assign(labelled[:0], []).dtype == np.int64
    with pytest.raises(DataError, match="'studio' names no source"):
        find_groups(labelled, [" "] * 6, "studio")


@pytest.mark.skipif(not KAGGLE.is_dir(), reason=f"no Kaggle labels at {KAGGLE} (LABELFILL_DATA)")
def test_kaggles_table_has_two_sources() -> None:
    """On Kaggle's labels the grouping finds the first 2,284 rows and the other 4,765."""
    with open(KAGGLE / "labels.csv", newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        columns = [name for name in next(lines) if name.endswith(("_x", "_y"))]
        observed = np.array([[bool(text.strip()) for text in line[: len(columns)]] for line in lines])
    labelled = observed.reshape(len(observed), -1, 2).all(axis=2)
    groups = find_groups(labelled)
    assert np.bincount(groups.assign(labelled)).tolist() == [2284, 4765]


def test_the_reference_group_labels_a_keypoint_with_most_others() -> None:
    """Each keypoint's convention is that of the group whose rows are labelled most completely."""
    labelled = patterns((100, list(range(6))), (100, [0, 1, 2, 6]), (5, list(range(7))))
    groups = np.repeat([0, 1, 0], [100, 100, 5])
    assert reference_groups(labelled, groups, 2).tolist() == [0] * 6 + [1]


# -- agreement --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_moved_keypoints_are_suspected_and_the_eyes_are_not(seed: int) -> None:
    """Of the keypoints that both sources label, those that one of them moved are suspected, no others."""
    _, labels, first = two_sources(np.random.default_rng(seed), moved=MOVED)
    found = find_agreement(prior_of(labels[first]), labels, 1, 0, ~first, first)
    assert np.flatnonzero(found.suspected).tolist() == [NOSE, LIP]
    assert np.flatnonzero(found.agreed).tolist() == [LEFT_EYE, RIGHT_EYE]
    assert not found.untested.any()


@pytest.mark.parametrize("seed", range(5))
def test_sources_of_one_convention_agree(seed: int) -> None:
    """Nothing is suspected where the second source labels fewer keypoints but means the same by them."""
    _, labels, first = two_sources(np.random.default_rng(seed))
    found = find_agreement(prior_of(labels[first]), labels, 1, 0, ~first, first)
    assert not found.suspected.any()
    assert np.flatnonzero(found.agreed).tolist() == SHARED


def test_another_population_is_no_other_convention() -> None:
    """Larger faces elsewhere in the image, all keypoints alike, are no reason to suspect one of them."""
    _, labels, first = two_sources(np.random.default_rng(1))
    labels[~first] = (labels[~first] - 31.5) * 1.05 + 31.5 + np.array([2.0, -1.5])
    found = find_agreement(prior_of(labels[first]), labels, 1, 0, ~first, first)
    assert not found.suspected.any()


def test_few_rows_are_not_tested() -> None:
    """A keypoint that under 30 rows of a source label is untested: neither agreed nor suspected."""
    truth, labels, first = two_sources(np.random.default_rng(2))
    few = np.flatnonzero(~first)[:20]
    labels[few, CHIN] = truth[few, CHIN]
    found = find_agreement(prior_of(labels[first]), labels, 1, 0, ~first, first)
    assert np.flatnonzero(found.untested).tolist() == [CHIN]
    assert not (found.agreed | found.suspected)[CHIN]


def test_a_single_shared_keypoint_tells_nothing() -> None:
    """With one shared keypoint there is nothing to compare it to: it is untested."""
    _, labels, first = two_sources(np.random.default_rng(3))
    labels[np.ix_(~first, [LEFT_EYE, RIGHT_EYE, LIP])] = np.nan
    found = find_agreement(prior_of(labels[first]), labels, 1, 0, ~first, first)
    assert np.flatnonzero(found.untested).tolist() == [NOSE]
    assert not (found.agreed | found.suspected).any()


def test_many_shared_keypoints_are_judged_one_by_one() -> None:
    """With too many keypoints to try all sets, the worst is dropped until the others agree."""
    rng = np.random.default_rng(4)
    grid = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), -1).reshape(-1, 2) * 12
    labels = grid + 2 * rng.standard_normal((200, 1, 2)) + 0.4 * rng.standard_normal((200, 16, 2))
    first = np.arange(200) < 100
    labels[~first, 5] += [0, 4]
    labels[~first, 11] += [3, 0]
    found = find_agreement(prior_of(labels[first]), labels, 1, 0, ~first, first)
    assert np.flatnonzero(found.suspected).tolist() == [5, 11]


# -- offsets ----------------------------------------------------------------------------------------


def agreed_eyes() -> Agreement:
    agreed, suspected = np.zeros((2, 7), bool)
    agreed[[LEFT_EYE, RIGHT_EYE]] = True
    suspected[NOSE] = True
    return Agreement(1, 0, agreed, suspected, np.zeros(7, bool))


def measured(
    rng: np.random.Generator,
    offset: Array,
    *,
    rows: int = 200,
    answer_noise: float = 1.5,
    label_noise: float = 0.0,
    bias: float = 0.0,
    posed: float = 0.0,
) -> tuple[ConventionOffset, Array, Array, Array]:
    """An offset measured on one half of generated rows; labels, answers and true noses of the other half.

    `posed` lets the offset grow with how far the nose lies beside the eyes' middle.
    """
    truth = faces(2 * rows, rng)
    seen = truth[:, NOSE].copy()  # a trained regressor errs independently of its answers, not of the truth
    truth[:, NOSE] += answer_noise * rng.standard_normal((2 * rows, 2))
    labels = truth.copy()
    beside = truth[:, NOSE, :1] - truth[:, [LEFT_EYE, RIGHT_EYE], 0].mean(axis=1, keepdims=True)
    labels[:, NOSE] += offset + posed * beside + label_noise * rng.standard_normal((2 * rows, 2))
    answer = seen + bias
    residual = -bias + answer_noise * rng.standard_normal((rows, 2))
    used = np.arange(rows)
    found = measure_offset(agreed_eyes(), NOSE, labels, used, answer[used], residual, extent=40.0)
    return found, labels[rows:], answer[rows:], truth[rows:, NOSE]


def test_a_planted_offset_is_recovered() -> None:
    """The mean offset is found; its 99% interval holds it in at least 95 of 100 tables."""
    planted = np.array([0.3, 4.5])
    held = 0
    for seed in range(50):
        found, *_ = measured(np.random.default_rng(seed), planted, bias=0.7, label_noise=0.5)
        assert found.claimed
        np.testing.assert_allclose(found.mean, planted, atol=0.7)
        held += int(((found.interval[0] <= planted) & (planted <= found.interval[1])).sum())
    assert held >= 95  # of 100 coordinates


@pytest.mark.parametrize(
    ("offset", "rows", "claimed"),
    [((0.0, 0.0), 300, False), ((0.6, 0.6), 300, False), ((0.0, 2.0), 300, True), ((0.0, 2.0), 10, False)],
)
def test_only_a_large_and_certain_offset_is_claimed(
    offset: tuple[float, float], rows: int, claimed: bool
) -> None:
    """An offset is claimed if its interval excludes the smallest size, and on at least 30 rows."""
    found, *_ = measured(np.random.default_rng(0), np.array(offset), rows=rows)
    assert found.claimed is claimed
    assert found.rows == rows


def test_the_least_offset_grows_with_the_face() -> None:
    """A pixel at least, and a fiftieth of the face's extent on large images."""
    assert least_offset(0.0) == 1.0
    assert least_offset(300.0) == pytest.approx(6.0)


def rmse(error: Array) -> float:
    return float(np.sqrt(np.mean(error**2)))


@pytest.mark.parametrize("seed", range(3))
def test_a_guess_errs_as_little_as_is_stated(seed: int) -> None:
    """A label minus the mean offset errs by what its variance says, whatever the answer's own error."""
    found, labels, _, truth = measured(
        np.random.default_rng(seed), np.array([0.3, 4.5]), rows=600, label_noise=1.5, answer_noise=1.5
    )
    error = rmse(found.guess(labels) - truth)
    assert error < rmse(labels[:, NOSE] - truth)
    assert error == pytest.approx(np.sqrt(found.guess_variance.mean()), rel=0.25)


@pytest.mark.parametrize("rows", [60, 120])
@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_a_guess_is_not_biased(rows: int, slope: float) -> None:
    """However weakly labels follow the position, guesses err to no side, and no coefficient runs away."""
    biases = []
    for seed in range(10):
        rng = np.random.default_rng([seed, rows])
        truth = faces(2 * rows, rng)
        labels = truth.copy()
        eyes = truth[:, [LEFT_EYE, RIGHT_EYE]].mean(axis=1)
        labels[:, NOSE] = eyes + [0.3, 16] + slope * (truth[:, NOSE] - eyes - [0, 12])
        labels[:, NOSE] += 0.4 * rng.standard_normal((2 * rows, 2))
        answer = truth[:, NOSE] + 0.8 * rng.standard_normal((2 * rows, 2))
        residual = 0.8 * rng.standard_normal((rows, 2))
        found = measure_offset(agreed_eyes(), NOSE, labels, np.arange(rows), answer[:rows], residual, 40.0)
        biases.append((found.guess(labels) - truth[:, NOSE])[rows:].mean(axis=0))
        assert np.abs(found.to_group[:-1]).max() < 2.0
    assert np.abs(np.mean(biases, axis=0)).max() < 0.3


def test_a_table_without_rows_of_the_group_is_no_fault() -> None:
    """Another table may have no row of the disputing source."""
    found, labels, answer, _ = measured(np.random.default_rng(9), np.array([0.3, 4.5]))
    assert found.guess(labels[:0]).shape == (0, 2)
    assert found.in_group(labels[:0], answer[:0]).shape == (0, 2)


def test_going_into_the_group_is_the_way_back() -> None:
    """A reference position moved into the group's convention lies where the group labels it."""
    found, labels, _, truth = measured(
        np.random.default_rng(6), np.array([0.3, 4.5]), rows=400, posed=0.3, answer_noise=1.0
    )
    back = found.in_group(labels, truth)
    assert np.abs((back - labels[:, NOSE]).mean(axis=0)).max() < 0.3
    assert rmse(back - labels[:, NOSE]) < 1.0


def test_unlabelled_anchors_leave_the_mean_offset() -> None:
    """A row that lacks one of the eyes, or both, is moved by the mean offset: its pose is not known."""
    found, labels, answer, _ = measured(np.random.default_rng(7), np.array([0.3, 4.5]), posed=0.3)
    labels[::2, LEFT_EYE] = np.nan
    labels[::3, RIGHT_EYE] = np.nan
    lacking = np.isnan(labels).any(axis=(1, 2))
    np.testing.assert_allclose(found.in_group(labels, answer)[lacking], answer[lacking] + found.mean)
    assert not np.allclose(found.in_group(labels, answer)[~lacking], answer[~lacking] + found.mean, atol=0.3)


def test_without_held_out_reference_rows_an_offset_is_still_measured() -> None:
    """No reference residual: the offset stands uncorrected, and all its figures are finite."""
    rng = np.random.default_rng(8)
    truth = faces(100, rng)
    labels = truth.copy()
    labels[:, NOSE] += [0, 4]
    answer = truth[:, NOSE] + rng.standard_normal((100, 2))
    found = measure_offset(agreed_eyes(), NOSE, labels, np.arange(100), answer, np.zeros((0, 2)), 40.0)
    assert found.claimed
    for figure in (found.mean, found.interval, found.noise, found.to_group, found.guess_variance):
        assert np.isfinite(figure).all()
