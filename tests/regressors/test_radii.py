"""Radii hold in the stated share of fresh cases, in every class of rows; wider if nothing verifies them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.regressors.calibration.radii import Radii, class_edges, fit_radii

Draw = tuple[Array, Array, Array]


def drawn(rng: np.random.Generator, rows: int, keypoints: int = 2, *, patterns: bool = False) -> Draw:
    """Heavy-tailed residuals, what is stated, and the prior's sigma; bare rows err more than is stated."""
    bare = rng.random((rows, keypoints)) < 0.5
    sigma = np.exp(0.3 * rng.standard_normal((rows, keypoints)))
    true = sigma * np.where(bare & patterns, 2.5, 1.0)
    tails = np.sqrt(4 / rng.chisquare(4, size=(rows, keypoints, 1)))
    return (
        rng.standard_normal((rows, keypoints, 2)) * true[..., None] * tails,
        sigma,
        np.where(bare, 4.0, 2.0),
    )


def fitted(case: Draw, groups: NDArray[np.int64] | None = None, sources: int = 1) -> Radii:
    error, sigma, prior_sigma = case
    rows, keypoints = sigma.shape
    of = np.zeros(rows, np.int64) if groups is None else groups
    labelled = np.ones((sources, keypoints), bool)
    return fit_radii(error, sigma, prior_sigma, of, labelled, np.zeros(keypoints, np.int64))


def inside(radii: Radii, case: Draw, coverage: float) -> NDArray[np.bool_]:
    error, sigma, prior_sigma = case
    covered: NDArray[np.bool_] = np.linalg.norm(error, axis=2) <= sigma * radii.factor(coverage, prior_sigma)
    return covered


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_radii_hold_in_the_stated_share_of_fresh_cases(coverage: float) -> None:
    """Over many calibrations of 200 rows the share of fresh cases within their radii is what was promised."""
    rng = np.random.default_rng(1)
    shares = [inside(fitted(drawn(rng, 200)), drawn(rng, 200), coverage).mean() for _ in range(60)]
    assert coverage - 0.01 < np.mean(shares) < coverage + 0.02


def test_radii_hold_for_rows_that_know_little_and_for_rows_that_know_much() -> None:
    """Conditional on the pattern class: the bare rows are not paid for by the others."""
    rng = np.random.default_rng(2)
    radii = fitted(drawn(rng, 1500, patterns=True))
    case = drawn(rng, 5000, patterns=True)
    held = inside(radii, case, 0.9)
    for bare in (2.0, 4.0):
        assert abs(held[case[2] == bare].mean() - 0.9) < 0.03


def test_classes_need_rows_and_a_difference() -> None:
    """Few rows, or rows that all know about as much, are one class."""
    rng = np.random.default_rng(3)
    assert not len(class_edges(np.full(1000, 2.0)))
    assert not len(class_edges(2 + 0.05 * rng.random(1000)))
    assert not len(class_edges(np.repeat([1.0, 5.0], 60)))
    assert not len(class_edges(np.zeros(0)))
    edges = class_edges(np.repeat([1.0, 2.0, 4.0], 400))
    assert edges.tolist() == [1.5, 3.0]


@pytest.mark.parametrize("rows", [9, 19, 99, 250])
def test_the_quantile_has_the_finite_sample_correction(rows: int) -> None:
    """Of n scores the ceil((n + 1) * coverage)-th is taken, as numpy's quantile confirms."""
    case = drawn(np.random.default_rng(rows), rows, keypoints=1)
    score = np.linalg.norm(case[0], axis=2)[:, 0] / case[1][:, 0]
    level = np.ceil((rows + 1) * 0.9) / rows
    expected = np.quantile(score, level, method="inverted_cdf")
    factor = fitted(case).factor(0.9, case[2])
    assert expected <= factor.max() <= np.sort(score)[min(int(level * rows) + rows // 100, rows - 1)]


def test_few_residuals_are_shared_and_none_are_survived() -> None:
    """A keypoint with few residuals has the radii of all; without any, those of a round Gaussian."""
    error, sigma, _ = drawn(np.random.default_rng(4), 400)
    error[5:, 1] = np.nan
    alike = np.ones_like(sigma)
    radii = fitted((error, sigma, alike))
    assert radii.learnt.tolist() == [400, 5]
    own, shared = radii.factor(0.9, alike)[0]
    score = np.linalg.norm(error, axis=2) / sigma
    assert shared == pytest.approx(np.nanquantile(score, 0.9), rel=0.03)
    assert own == pytest.approx(np.quantile(score[:, 0], 0.9), rel=0.03)
    none = fitted((np.full((3, 1, 2), np.nan), np.full((3, 1), np.nan), np.full((3, 1), np.nan)))
    assert none.factor(0.9, np.ones((1, 1)))[0, 0] == pytest.approx(2.146, abs=1e-3)


@pytest.mark.parametrize(("probes", "least"), [(1, 1.1), (2, 1.2), (6, 1.3)])
def test_what_no_label_verifies_is_wider(probes: int, least: float) -> None:
    """Where a source errs 1.5 times as much on what both label, its others get wider; never narrower.

    The more keypoints show it, the nearer to as much.
    """
    rng = np.random.default_rng(5)
    error, sigma, prior_sigma = drawn(rng, 3000, probes + 1)
    groups = np.repeat([0, 1, 2], 1000)
    error[groups == 1] *= 1.5
    error[groups == 2] *= 0.5
    error[groups > 0, -1] = np.nan
    labelled = np.ones((3, probes + 1), bool)
    labelled[1:, -1] = False
    reference = np.zeros(probes + 1, np.int64)
    radii = fit_radii(error, sigma, prior_sigma, groups, labelled, reference)
    assert least < radii.widening[1] < 1.6
    assert radii.widening[2] == 1.0
    assert radii.unverified(np.array([0, 1, -1]))[:, -1].tolist() == [False, True, False]
    assert radii.unverified(np.array([1]))[0, :-1].tolist() == [False] * probes
    assert radii.shift(np.array([1]))[0].tolist() == [*(1.0 for _ in range(probes)), radii.widening[1]]
    few = np.where(groups == 1, 0, groups)
    few[: 20 // (probes + 1)] = 1
    assert fit_radii(error, sigma, prior_sigma, few, labelled, reference).widening[1] == 1.2
