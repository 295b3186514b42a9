"""Corrections from what the answers for a row's other keypoints tell."""

from __future__ import annotations

import numpy as np
import pytest

from labelfill.arrays import Array
from labelfill.regressors.calibration.joint_correction import Found, JointCorrection, fit_joint_correction

KEYPOINTS = np.array([0, 1, 3])
SHAPE = np.array([[-20.0, 0.0], [20.0, 0.0], [0.0, 5.0], [0.0, 25.0]])  # keypoint 2 is not answered together


def drawn(
    rows: int, shared: float, seed: int = 0, angle: Array | None = None, scale: Array | None = None
) -> tuple[Found, Array, Array]:
    """Answers, their blend and the truth; `shared` px of every error come from one turn of the whole row.

    The first member sees the turn in full at keypoint 3 alone; the blend takes no notice.
    """
    rng = np.random.default_rng(seed)
    angle = np.zeros(rows) if angle is None else angle
    scale = np.ones(rows) if scale is None else scale
    turn = shared * rng.standard_normal((rows, 1, 1)) * np.array([1.0, 0.0])
    noise = 0.3 * rng.standard_normal((rows, len(SHAPE), 2))
    expected = np.broadcast_to(SHAPE, noise.shape) + 0.5 * rng.standard_normal((rows, 1, 2))
    truth = expected + turn + noise
    member = expected.copy()
    member[:, 3] += (turn + 0.1 * rng.standard_normal(turn.shape))[:, 0]

    def placed(points: Array) -> Array:
        cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
        x, y = points[..., 0], points[..., 1]
        return np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=-1) * scale[:, None, None]

    blended = placed(expected)
    found = Found(blended, placed(member)[None], scale, angle)
    return found, blended, placed(truth)


def rmse(answer: Array, truth: Array) -> float:
    return float(np.sqrt(np.nanmean((answer - truth)[:, KEYPOINTS] ** 2)))


def fitted(shared: float, rows: int = 240) -> JointCorrection:
    found, blended, truth = drawn(rows, shared)
    correction, _ = fit_joint_correction(found, blended, truth, np.arange(rows) % 3, KEYPOINTS, None)
    assert correction is not None
    return correction


def test_a_shared_error_is_seen_in_other_answers() -> None:
    """What one answer tells of the whole row corrects the others, also in rows that nothing was fitted on."""
    correction = fitted(shared=2.0)
    found, blended, truth = drawn(200, 2.0, seed=1)
    assert rmse(correction.apply(found, blended), truth) < 0.4 * rmse(blended, truth)


def test_errors_that_nothing_tells_of_are_left() -> None:
    """No correction is claimed where the answers for other keypoints tell nothing."""
    found, blended, truth = drawn(240, shared=0.0)
    correction, corrected = fit_joint_correction(found, blended, truth, np.arange(240) % 3, KEYPOINTS, None)
    assert correction is None
    np.testing.assert_array_equal(corrected, blended)


def test_corrected_rows_are_told_by_maps_that_did_not_see_them() -> None:
    """The errors that calibration rests on are as large as those of new rows, not of rows known by heart."""
    found, blended, truth = drawn(60, shared=1.0)
    correction, corrected = fit_joint_correction(found, blended, truth, np.arange(60) % 3, KEYPOINTS, None)
    assert correction is not None
    assert rmse(corrected, truth) > rmse(correction.apply(found, blended), truth)
    fresh, fresh_blended, fresh_truth = drawn(2000, 1.0, seed=3)
    expected_error = rmse(correction.apply(fresh, fresh_blended), fresh_truth)
    assert rmse(corrected, truth) == pytest.approx(expected_error, rel=0.25)


def test_other_keypoints_and_blanks_stay() -> None:
    """Only keypoints that are answered together are corrected, and what nobody answered stays blank."""
    correction = fitted(shared=2.0)
    found, blended, _ = drawn(10, 2.0, seed=2)
    blended[4, 0] = np.nan
    corrected = correction.apply(found, blended)
    np.testing.assert_array_equal(corrected[:, 2], blended[:, 2])
    assert np.isnan(corrected[4, 0]).all()
    assert np.isfinite(np.delete(corrected, 4, axis=0)).all()


def test_turned_and_larger_rows_are_corrected_alike() -> None:
    """A row that is turned and enlarged gets the turned and enlarged correction."""
    correction = fitted(shared=2.0)
    angle, scale = np.full(50, 0.7), np.full(50, 1.5)
    plain, blended, truth = drawn(50, 2.0, seed=4)
    turned, turned_blended, turned_truth = drawn(50, 2.0, seed=4, angle=angle, scale=scale)
    straight = np.linalg.norm(correction.apply(plain, blended) - truth, axis=2)
    other = np.linalg.norm(correction.apply(turned, turned_blended) - turned_truth, axis=2)
    np.testing.assert_allclose(other, 1.5 * straight, rtol=1e-9, atol=1e-9)


def test_mirrored_rows_are_corrected_alike() -> None:
    """With mirror partners a mirrored row gets the mirrored correction."""
    found, blended, truth = drawn(240, shared=2.0)
    partners = (1, 0, 2, 3)
    correction, _ = fit_joint_correction(found, blended, truth, np.arange(240) % 3, KEYPOINTS, partners)
    assert correction is not None

    def mirrored(points: Array) -> Array:
        flipped: Array = points[..., list(partners), :] * np.array([-1.0, 1.0])
        return flipped

    image = Found(mirrored(found.expected), mirrored(found.members), found.scale, -found.angle)
    straight = mirrored(correction.apply(found, blended))
    np.testing.assert_allclose(correction.apply(image, mirrored(blended)), straight, rtol=0, atol=1e-6)


def test_a_strange_row_is_not_extrapolated_to() -> None:
    """However far an answer departs, the correction stays within what was seen in fitting."""
    correction = fitted(shared=2.0)
    found, blended, _ = drawn(1, 2.0, seed=5)
    found.members[0, 0, 3] += 1e6
    assert np.abs(correction.apply(found, blended) - blended).max() < 20.0


def test_wrong_labels_hardly_count() -> None:
    """A few labels far off leave the correction of the others about as good."""
    found, blended, truth = drawn(240, shared=2.0)
    truth[::25, 0] += 40.0
    correction, _ = fit_joint_correction(found, blended, truth, np.arange(240) % 3, KEYPOINTS, None)
    assert correction is not None
    fresh, fresh_blended, fresh_truth = drawn(200, 2.0, seed=1)
    assert rmse(correction.apply(fresh, fresh_blended), fresh_truth) < 0.6 * rmse(fresh_blended, fresh_truth)


@pytest.mark.parametrize("rows", [0, 5, 29])
def test_few_rows_are_not_fitted(rows: int) -> None:
    """With few labelled rows nothing is corrected."""
    found, blended, truth = drawn(rows, shared=2.0)
    correction, corrected = fit_joint_correction(found, blended, truth, np.arange(rows) % 3, KEYPOINTS, None)
    assert correction is None
    np.testing.assert_array_equal(corrected, blended)


def test_what_is_not_linear_is_learnt_too() -> None:
    """An error that goes with the size of a departure, whatever its sign, is corrected by the radial part."""
    rng = np.random.default_rng(8)

    def bent(rows: int) -> tuple[Found, Array, Array]:
        found, blended, truth = drawn(rows, shared=0.0, seed=int(rng.integers(1000)))
        turn = rng.standard_normal(rows)
        found.members[0, :, 3, 0] += turn
        truth[:, 0, 1] += 2.0 * (turn**2 - 1)
        return found, blended, truth

    found, blended, truth = bent(400)
    correction, _ = fit_joint_correction(found, blended, truth, np.arange(400) % 3, KEYPOINTS, None)
    assert correction is not None
    assert len(correction.support) == 400
    fresh, fresh_blended, fresh_truth = bent(300)
    assert rmse(correction.apply(fresh, fresh_blended), fresh_truth) < 0.75 * rmse(fresh_blended, fresh_truth)
