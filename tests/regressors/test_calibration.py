"""Weights of members, scales of errors and radii, from cross-fitted residuals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill.arrays import Array
from labelfill.regressors.calibration.blending import Calibration, calibrate, gain_of_averaging

SPREAD = np.array([3.0, 1.5, 1.0])  # px per coordinate: prior, face and patch regressor


def gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def heavy_tailed(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Student's t of 3 degrees of freedom, each error scaled as a whole."""
    factor = np.sqrt(3 / rng.chisquare(3, size=(*shape[:-1], 1)))
    return rng.standard_normal(shape) * factor


def members(
    rng: np.random.Generator, rows: int, keypoints: int = 2, errors: object = gaussian
) -> tuple[Array, Array]:
    """Residuals (3, n, K, 2) of unlike size, and what each states; some rows are harder, and said to be."""
    assert callable(errors)
    hard = np.exp(0.4 * rng.standard_normal((1, rows, keypoints)))
    sigma = SPREAD[:, None, None] * hard
    residuals: Array = errors(rng, (3, rows, keypoints, 2)) * sigma[..., None]
    return residuals, 0.7 * sigma  # all members are too sure of themselves


def covered(calibration: Calibration, residuals: Array, sigmas: Array, coverage: float) -> Array:
    """(K,): the share of fresh cases that lie within their radius."""
    error, sigma = calibration.blend(residuals, sigmas)
    inside: Array = np.linalg.norm(error, axis=2) <= sigma * calibration.radius_factor(coverage)
    return inside.mean(axis=0)


# -- weights ----------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 40), gaps=st.sampled_from([0.0, 0.5, 0.95]))
@settings(deadline=None, max_examples=60)
def test_weights_are_shares(seed: int, rows: int, gaps: float) -> None:
    """Whatever is missing, weights are not negative and add up to 1, and all figures are finite."""
    rng = np.random.default_rng(seed)
    residuals, sigmas = members(rng, rows, keypoints=3)
    residuals[rng.random(residuals.shape[:3]) < gaps] = np.nan
    residuals[rng.integers(0, 3)] = np.nan if rng.random() < 0.3 else residuals[0]
    found = calibrate(residuals, np.where(np.isfinite(residuals[..., 0]), sigmas, np.nan))
    assert (found.weights >= 0).all()
    np.testing.assert_allclose(found.weights.sum(axis=1), 1.0)
    for figure in (found.sigma_scale, found.correlation, found.ratios, found.radius_factor(0.9)):
        assert np.isfinite(figure).all()
    assert (np.diff(found.ratios, axis=1) >= 0).all()
    assert (found.sigma_scale > 0).all()


def test_the_better_member_counts_more() -> None:
    """Independent members are weighted about by inverse variance, as least squares has it."""
    residuals, sigmas = members(np.random.default_rng(0), 2000)
    expected = SPREAD**-2 / (SPREAD**-2).sum()
    np.testing.assert_allclose(calibrate(residuals, sigmas).weights, np.tile(expected, (2, 1)), atol=0.05)


def test_the_blend_is_no_worse_than_the_best_member() -> None:
    """On fresh rows the weighted answer errs no more than the best member alone."""
    rng = np.random.default_rng(1)
    found = calibrate(*members(rng, 300))
    residuals, sigmas = members(rng, 3000)
    blended, _ = found.blend(residuals, sigmas)
    assert np.mean(blended**2) < np.mean(residuals[2] ** 2)


def test_a_keypoint_with_few_rows_borrows_weights() -> None:
    """Five residuals by which the worst member looks perfect do not decide alone."""
    rng = np.random.default_rng(2)
    residuals, sigmas = members(rng, 400, keypoints=3)
    residuals[:, 5:, 2] = np.nan
    residuals[0, :5, 2] = 0.01
    weights = calibrate(residuals, sigmas).weights
    assert weights[2, 2] > 0.3
    assert weights[2, 0] < 0.5


def test_a_member_that_never_answers_gets_no_weight() -> None:
    """An absent member is no perfect one: the others share the weight."""
    residuals, sigmas = members(np.random.default_rng(3), 300)
    residuals[1] = np.nan
    residuals[2, :, 1] = np.nan
    found = calibrate(residuals, np.where(np.isfinite(residuals[..., 0]), sigmas, np.nan))
    np.testing.assert_allclose(found.weights[:, 1], 0.0)
    assert found.weights[1].tolist() == [1.0, 0.0, 0.0]
    assert found.weights[0, 2] > found.weights[0, 0] > 0


def test_members_that_do_not_answer_leave_their_weight_to_the_others() -> None:
    """In a row that a member does not answer, the others answer; where none does, nothing is said."""
    one = np.ones(1)
    found = Calibration(np.array([[0.2, 0.3, 0.5]]), one, np.zeros(1), np.ones((1, 1)), one.astype(np.int64))
    xy = np.zeros((3, 3, 1, 2))
    xy[:, :, 0, :] = np.array([1.0, 2.0, 4.0])[:, None, None]
    sigma = np.ones((3, 3, 1))
    xy[2, 1], sigma[2, 1] = np.nan, np.nan
    xy[:, 2], sigma[:, 2] = np.nan, np.nan
    blended, stated = found.blend(xy, sigma)
    np.testing.assert_allclose(blended[:2, 0, 0], [0.2 + 0.6 + 2.0, (0.2 + 0.6) / 0.5])
    np.testing.assert_allclose(stated[:2, 0], 1.0)
    assert np.isnan(blended[2]).all()
    assert np.isnan(stated[2]).all()


# -- radii ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("errors", [gaussian, heavy_tailed])
@pytest.mark.parametrize(
    ("rows", "coverage"),
    [(20, 0.5), (20, 0.9), (150, 0.5), (150, 0.9), (150, 0.99), (1000, 0.5), (1000, 0.9), (1000, 0.99)],
)
def test_radii_hold_as_often_as_they_should(errors: object, rows: int, coverage: float) -> None:
    """On fresh rows the radius holds in the stated share of cases, within what chance allows."""
    rng = np.random.default_rng([rows, round(coverage * 100)])
    shares = []
    for _ in range(20):
        found = calibrate(*members(rng, rows, errors=errors))
        shares.append(covered(found, *members(rng, 500, errors=errors), coverage).mean())
    # Chance of the calibration rows and of the fresh ones, over 20 tables of two keypoints.
    chance = np.sqrt(coverage * (1 - coverage) * (1 / rows + 1 / 500) / 40)
    assert np.mean(shares) > coverage - 3 * chance - 0.01
    assert np.mean(shares) < coverage + 3 * chance + 0.01 + 1 / min(rows, 200)


def test_too_few_residuals_for_the_coverage_give_the_widest_radius() -> None:
    """Ten residuals cannot tell what holds in 99 of 100 cases: the largest of them is taken."""
    found = calibrate(*members(np.random.default_rng(9), 10, keypoints=1))
    np.testing.assert_array_equal(found.radius_factor(0.99), found.ratios.max(axis=1))
    assert found.rows.tolist() == [10]


def test_sigma_is_the_error_per_coordinate() -> None:
    """The calibrated sigma is the root mean square error per coordinate, however wrongly members state it."""
    rng = np.random.default_rng(4)
    found = calibrate(*members(rng, 1000))
    residuals, sigmas = members(rng, 4000)
    error, sigma = found.blend(residuals, sigmas)
    assert np.sqrt(np.mean(error**2 / sigma[..., None] ** 2)) == pytest.approx(1.0, abs=0.06)


def test_one_wrong_label_does_not_widen_every_radius() -> None:
    """A single residual of hundreds of px changes sigma by less than a tenth."""
    residuals, sigmas = members(np.random.default_rng(5), 300)
    before = calibrate(residuals, sigmas).sigma_scale
    residuals[2, 7, 0] = 300.0
    weights_kept = calibrate(residuals[2:], sigmas[2:]).sigma_scale
    alone = calibrate(np.delete(residuals[2:], 7, axis=1), np.delete(sigmas[2:], 7, axis=1)).sigma_scale
    assert before.shape == alone.shape
    np.testing.assert_allclose(weights_kept, alone, rtol=0.1)


def test_radii_grow_with_the_share_that_they_hold() -> None:
    """More coverage, wider radii; a Gaussian's 90% radius is near 2.15 sigma."""
    found = calibrate(*members(np.random.default_rng(6), 3000))
    factors = [found.radius_factor(coverage) for coverage in (0.5, 0.8, 0.9, 0.95, 0.99)]
    assert (np.diff(factors, axis=0) > 0).all()
    np.testing.assert_allclose(factors[2], np.sqrt(-2 * np.log(0.1)), rtol=0.08)


def test_a_keypoint_with_few_rows_borrows_its_quantile() -> None:
    """Under a hundred residuals the quantile is that of all keypoints, and it says of how many."""
    residuals, sigmas = members(np.random.default_rng(7), 400)
    residuals[:, 40:, 1] = np.nan
    found = calibrate(residuals, np.where(np.isfinite(residuals[..., 0]), sigmas, np.nan))
    assert found.rows.tolist() == [400, 440]


def test_the_correlation_of_errors_is_found() -> None:
    """Errors along a diagonal are correlated in x and y, and mirrored ones the other way."""
    rng = np.random.default_rng(8)
    residuals = 0.3 * rng.standard_normal((1, 500, 3, 2))
    along = rng.standard_normal((500, 1))
    residuals[0, :, 0] += along
    residuals[0, :, 1] += along * [1, -1]
    found = calibrate(residuals, np.ones((1, 500, 3))).correlation
    np.testing.assert_allclose(found, [0.92, -0.92, 0.0], atol=0.1)


def test_perfect_answers_are_no_trouble() -> None:
    """Residuals of zero give weights, a small sigma and no warning."""
    found = calibrate(np.zeros((2, 50, 1, 2)), np.ones((2, 50, 1)))
    _, sigma = found.blend(np.zeros((2, 1, 1, 2)), np.ones((2, 1, 1)))
    assert 0 < sigma[0, 0] < 0.2
    np.testing.assert_allclose(found.weights.sum(axis=1), 1.0)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16), folds=st.integers(2, 5), own=st.floats(0.0, 1.0), rows=st.integers(300, 600)
)
def test_averaging_gains_what_networks_err_each_by_themselves(
    seed: int, folds: int, own: float, rows: int
) -> None:
    """The error of the average over that of one network, from answers alone: no label is looked at."""
    generator = np.random.default_rng(seed)
    common = generator.normal(size=(1, rows, 3, 2)) * np.sqrt(1 - own)
    errors = common + generator.normal(size=(folds, rows, 3, 2)) * np.sqrt(own)
    gain = gain_of_averaging(errors + 40, np.ones((folds, rows, 3)))
    # A row's share is cut off at all of its variance: the gain is told too small rather than too large.
    true = np.sqrt((1 - own) + own / folds)
    assert (gain > true - 0.08).all()
    assert (gain <= 1).all()
    if own < 0.3:
        assert (gain < true + 0.08).all()


def test_networks_that_agree_gain_nothing_by_averaging() -> None:
    """Neither does one network alone; keypoints without an answer are as the others, or gain nothing."""
    answers, sigma = np.full((3, 50, 2, 2), 7.0), np.ones((3, 50, 2))
    np.testing.assert_array_equal(gain_of_averaging(answers, sigma), 1.0)
    np.testing.assert_array_equal(gain_of_averaging(answers[:1], sigma[:1]), 1.0)
    np.testing.assert_array_equal(gain_of_averaging(answers * np.nan, sigma), 1.0)
