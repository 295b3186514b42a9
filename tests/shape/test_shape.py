"""The shape prior: conditioning, robust fitting with gaps, mirrored rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill.arrays import Array
from labelfill.errors import DataError
from labelfill.schema import ImageSize, KeypointSchema, mirror_partners
from labelfill.shape.prior import ShapePrior, fit_shape_prior, mirror_fits, with_mirrored

LEAST_NOISE = 0.01  # px², what the prior takes an exact label's variance to be
FACE = KeypointSchema(("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"), ImageSize(96, 96))
PARTNERS = mirror_partners(FACE.keypoints)


def random_prior(keypoints: int, rng: np.random.Generator) -> ShapePrior:
    factor = rng.normal(size=(2 * keypoints, 2 * keypoints))
    covariance = 9 * factor @ factor.T / (2 * keypoints) + np.eye(2 * keypoints)
    return ShapePrior(rng.uniform(20, 70, size=(keypoints, 2)), covariance)


def draw(prior: ShapePrior, rows: int, rng: np.random.Generator) -> Array:
    flat = rng.multivariate_normal(prior.mean.ravel(), prior.covariance, size=rows)
    return flat.reshape(rows, prior.keypoints, 2)


def hide(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> Array:
    """Noise 0 where a keypoint is labelled, infinite where it is not."""
    hidden = rng.random((*shape[:2], 1)) < share
    return np.broadcast_to(np.where(hidden, np.inf, 0.0), shape).copy()


def blanked(xy: Array, noise: Array) -> Array:
    """Labels as a table has them: NaN where nothing is known."""
    return np.where(np.isfinite(noise), xy, np.nan)


def faces(rows: int, rng: np.random.Generator) -> Array:
    """Symmetric faces that move, grow, turn and look aside."""
    front = np.array([(17.0, -15), (-17, -15), (0, 0), (12, 20), (-12, 20)])
    depth = np.array([0.0, 0, 12, 3, 3])
    grow = 1 + 0.08 * rng.standard_normal((rows, 1, 1))
    aside = np.stack([0.25 * rng.standard_normal((rows, 1)) * depth, np.zeros((rows, 5))], -1)
    place = np.array([47.5, 48.0]) + 2.5 * rng.standard_normal((rows, 1, 2))
    return grow * front + aside + place + 0.7 * rng.standard_normal((rows, 5, 2))


def relative_error(found: Array, true: Array) -> float:
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


# -- conditioning -----------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), keypoints=st.integers(1, 5), share=st.floats(0, 1))
@settings(deadline=None, max_examples=40)
def test_conditioning_is_the_gaussian_conditional(seed: int, keypoints: int, share: float) -> None:
    """Expectation and covariance are those of the textbook, for any pattern (x without y, too) and noise."""
    rng = np.random.default_rng(seed)
    prior = random_prior(keypoints, rng)
    noise = rng.uniform(0.1, 4.0, size=(1, keypoints, 2))
    noise[rng.random(noise.shape) < share] = np.inf
    xy = blanked(draw(prior, 1, rng), noise)
    found = prior.condition(xy, noise)

    known = np.isfinite(noise).ravel()
    between = prior.covariance[:, known]
    system = prior.covariance[np.ix_(known, known)] + np.diag(noise.ravel()[known])
    mean = prior.mean.ravel() + between @ np.linalg.solve(system, (xy.ravel() - prior.mean.ravel())[known])
    remaining = prior.covariance - between @ np.linalg.solve(system, between.T)
    np.testing.assert_allclose(found.xy.ravel(), mean, rtol=1e-7)
    for k in range(keypoints):
        block = slice(2 * k, 2 * k + 2)
        np.testing.assert_allclose(found.covariance[0, k], remaining[block, block], rtol=1e-6, atol=1e-8)


@given(seed=st.integers(0, 2**32 - 1), keypoints=st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_exact_labels_are_returned(seed: int, keypoints: int) -> None:
    """An observed exact coordinate comes back up to the least noise, and is as sure as that noise."""
    rng = np.random.default_rng(seed)
    prior = random_prior(keypoints, rng)
    noise = hide((6, keypoints, 2), 0.4, rng)
    xy = blanked(draw(prior, 6, rng), noise)
    found = prior.condition(xy, noise)
    observed = np.isfinite(noise).all(axis=-1)
    assert np.abs(found.xy[observed] - xy[observed]).max(initial=0) < 5 * LEAST_NOISE**0.5
    assert found.sigma[observed].max(initial=0) <= LEAST_NOISE**0.5 + 1e-9
    assert (found.sigma[~observed] > LEAST_NOISE**0.5).all()


def test_nothing_known_is_the_prior_itself() -> None:
    """A row without labels is expected at the mean, as surely as the prior's covariance says."""
    prior = random_prior(3, np.random.default_rng(0))
    nothing = np.full((2, 3, 2), np.nan)
    found = prior.condition(nothing, np.full((2, 3, 2), np.inf))
    np.testing.assert_allclose(found.xy, np.stack([prior.mean] * 2))
    np.testing.assert_allclose(found.covariance[1, 2], prior.covariance[4:, 4:])
    distance, degrees = prior.squared_distance(nothing, np.full((2, 3, 2), np.inf))
    assert distance.tolist() == [0.0, 0.0]
    assert degrees.tolist() == [0, 0]


def test_rows_do_not_depend_on_their_company() -> None:
    """Conditioning a table at once gives what conditioning row by row gives, for random patterns."""
    rng = np.random.default_rng(1)
    prior = random_prior(6, rng)
    noise = hide((1200, 6, 2), 0.5, rng) * rng.uniform(1, 2, size=(1200, 1, 1)) + 0.5  # all rows differ
    xy = blanked(draw(prior, 1200, rng), noise)
    together = prior.condition(xy, noise)
    for row in (0, 600, 1199):
        alone = prior.condition(xy[row : row + 1], noise[row : row + 1])
        np.testing.assert_allclose(together.xy[row], alone.xy[0], atol=1e-9)
        np.testing.assert_allclose(together.covariance[row], alone.covariance[0], atol=1e-9)


def test_distances_of_usual_rows_are_chi_squared() -> None:
    """The squared distance of rows drawn from the prior has the mean of its degrees of freedom."""
    rng = np.random.default_rng(2)
    prior = random_prior(4, rng)
    noise = hide((4000, 4, 2), 0.4, rng)
    distance, degrees = prior.squared_distance(blanked(draw(prior, 4000, rng), noise), noise)
    assert degrees.tolist() == np.isfinite(noise).sum(axis=(1, 2)).tolist()
    assert distance.sum() / degrees.sum() == pytest.approx(1, abs=0.03)


@given(seed=st.integers(0, 2**32 - 1), keypoints=st.integers(1, 5), share=st.floats(0, 1))
@settings(deadline=None, max_examples=40)
def test_residuals_from_others_leave_a_keypoint_out(seed: int, keypoints: int, share: float) -> None:
    """A label's residual is its distance from what conditioning on all other keypoints expects of it."""
    rng = np.random.default_rng(seed)
    prior = random_prior(keypoints, rng)
    noise = np.where(rng.random((1, keypoints, 2)) < share, np.inf, 0.5)  # x without y, too
    xy = blanked(draw(prior, 1, rng), noise)
    residual, covariance = prior.residuals_from_others(xy, noise)
    for k in range(keypoints):
        others = noise.copy()
        others[:, k] = np.inf
        expected = prior.condition(xy, others)
        known = np.isfinite(noise[0, k])
        np.testing.assert_allclose(residual[0, k][known], (xy - expected.xy)[0, k][known], atol=1e-6)
        assert not residual[0, k][~known].any()
        wanted = (expected.covariance[0, k] + 0.5 * np.eye(2))[np.ix_(known, known)]
        np.testing.assert_allclose(covariance[0, k][np.ix_(known, known)], wanted, rtol=1e-6)
        assert not covariance[0, k][~known].any()


# -- fitting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_known_gaussian_is_recovered(share: float) -> None:
    """Mean and covariance come back from labels of which half are missing."""
    rng = np.random.default_rng(3)
    true = random_prior(4, rng)
    noise = hide((2000, 4, 2), share, rng)
    found = fit_shape_prior(blanked(draw(true, 2000, rng), noise), noise)
    assert np.abs(found.mean - true.mean).max() < 0.4
    assert relative_error(found.covariance, true.covariance) < 0.12


def test_label_noise_is_not_part_of_the_shape() -> None:
    """Stated noise is taken out of the covariance: the prior is that of true shapes."""
    rng = np.random.default_rng(4)
    true = random_prior(3, rng)
    noise = np.full((3000, 3, 2), 4.0)
    noisy = draw(true, 3000, rng) + 2.0 * rng.standard_normal((3000, 3, 2))
    assert relative_error(fit_shape_prior(noisy, noise).covariance, true.covariance) < 0.15


def test_wrong_rows_hardly_move_the_prior() -> None:
    """With one label shifted by 15 px in 5% of the rows, expectations get less than 2% worse."""
    rng = np.random.default_rng(5)
    xy = faces(1500, rng)
    noise = hide(xy.shape, 0.05, rng)
    wrong = xy.copy()
    wrong[np.arange(75), rng.integers(5, size=75)] += (15.0, 0.0)
    clean, robust = (fit_shape_prior(blanked(rows, noise), noise) for rows in (xy, wrong))
    not_robust = ShapePrior(wrong.mean(axis=0), np.cov(wrong.reshape(1500, -1), rowvar=False))
    no_nose = noise.copy()
    no_nose[:, 2] = np.inf

    def miss(prior: ShapePrior) -> float:
        return float(np.sqrt(np.mean((prior.condition(xy, no_nose).xy - xy)[:, 2] ** 2)))

    assert np.abs(robust.mean - clean.mean).max() < 0.15
    assert miss(robust) < 1.02 * miss(clean)
    assert miss(not_robust) > 1.08 * miss(clean)


def test_one_keypoint_has_a_prior() -> None:
    """A table of a single keypoint gives its mean and its variance, not less."""
    rng = np.random.default_rng(6)
    xy = np.array([30.0, 40.0]) + np.array([2.0, 5.0]) * rng.standard_normal((3000, 1, 2))
    found = fit_shape_prior(xy, np.zeros_like(xy))
    assert np.abs(found.mean - [30, 40]).max() < 0.3
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), [2, 5], rtol=0.05)
    assert found.extent == 0
    assert found.keypoints == 1


@pytest.mark.slow
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 12), keypoints=st.integers(1, 5))
@settings(deadline=None, max_examples=15)
def test_few_rows_still_give_a_sound_prior(seed: int, rows: int, keypoints: int) -> None:
    """However few the rows and labels, the covariance is positive definite and expectations are finite."""
    rng = np.random.default_rng(seed)
    true = random_prior(keypoints, rng)
    noise = hide((rows, keypoints, 2), 0.3, rng)
    xy = blanked(draw(true, rows, rng), noise)
    if not np.isfinite(noise).any():
        with pytest.raises(DataError, match="no training row labels any keypoint"):
            fit_shape_prior(xy, noise)
        return
    found = fit_shape_prior(xy, noise)
    assert np.linalg.eigvalsh(found.covariance).min() > 0
    assert np.isfinite(found.condition(xy, noise).xy).all()
    again = fit_shape_prior(xy, noise)
    np.testing.assert_array_equal(found.covariance, again.covariance)  # nothing is left to chance


def test_few_rows_are_shrunk() -> None:
    """From 15 rows of 8 keypoints, held-out shapes are expected better than the sample covariance would."""
    rng = np.random.default_rng(7)
    size = 8
    together = np.tile(np.eye(2), (size, size)) * 16.0  # shapes move as a whole
    true = ShapePrior(rng.uniform(20, 70, size=(size, 2)), together + np.eye(2 * size))
    xy, new = draw(true, 15, rng), draw(true, 300, rng)
    fitted = fit_shape_prior(xy, np.zeros_like(xy))
    sample = ShapePrior(xy.mean(axis=0), np.cov(xy.reshape(15, -1), rowvar=False))
    half = np.zeros_like(new)
    half[:, size // 2 :] = np.inf

    def miss(prior: ShapePrior) -> float:
        return float(np.sqrt(np.mean((prior.condition(new, half).xy - new)[:, size // 2 :] ** 2)))

    assert miss(fitted) < 1.5  # 1.06 if the prior were known
    assert miss(fitted) < miss(sample)


def test_a_keypoint_nobody_labels_stays_wide() -> None:
    """The prior says nothing sure about a keypoint without labels, and the others are untouched by it."""
    rng = np.random.default_rng(8)
    xy = faces(800, rng)
    noise = np.zeros_like(xy)
    noise[:, 2] = np.inf
    found = fit_shape_prior(blanked(xy, noise), noise).condition(blanked(xy, noise), noise)
    assert np.isfinite(found.xy).all()
    assert found.sigma[:, 2].min() > 1


# -- mirrored rows ----------------------------------------------------------------------------------


def test_mirrored_rows_follow_the_rows() -> None:
    """Copies come after the rows, with sides and noise exchanged; no partner, no label."""
    rng = np.random.default_rng(9)
    xy, noise = faces(3, rng), hide((3, 5, 2), 0.3, rng)
    partners = (1, 0, -1, 4, 3)
    both, both_noise = with_mirrored(xy, noise, FACE, partners)
    np.testing.assert_array_equal(both[:3], xy)
    np.testing.assert_array_equal(both_noise[3:, 0], noise[:, 1])
    np.testing.assert_allclose(both[3:, 0, 0], 95 - xy[:, 1, 0])
    np.testing.assert_allclose(both[3:, 4, 1], xy[:, 3, 1])
    assert np.isinf(both_noise[3:, 2]).all()


def test_mirrored_rows_fit_symmetric_faces_only() -> None:
    """Symmetric faces pass; partners by wrong names fail, and so do profiles that all look one way."""
    rng = np.random.default_rng(10)
    xy = faces(300, rng)
    noise = hide(xy.shape, 0.2, rng)
    held_out = np.arange(300) % 5 == 0
    assert mirror_fits(blanked(xy, noise), noise, held_out, FACE, PARTNERS)
    assert not mirror_fits(blanked(xy, noise), noise, held_out, FACE, (3, 4, 2, 0, 1))
    profiles = xy + np.array([0.0, 0, 9, 4, 4])[:, None] * (1.0, 0.0)
    assert not mirror_fits(blanked(profiles, noise), noise, held_out, FACE, PARTNERS)
    assert not mirror_fits(blanked(xy, noise), noise, held_out, FACE, (-1,) * 5)
