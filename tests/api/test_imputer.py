"""`KeypointImputer` keeps scikit-learn's conventions."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labelfill import ImageSize, KeypointImputer, UsageError
from labelfill.data.synthetic import DrawnTable, draw_table

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone  # noqa: E402 - only where it is installed
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.pipeline import Pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

NAMES = ("left_eye_center", "right_eye_center", "nose_tip")


@pytest.fixture(scope="module")
def drawn() -> DrawnTable:
    table = draw_table(80, 5, keypoints=NAMES, image_size=ImageSize(24, 30), gaps=0.2)
    table.labels[3, 1, 0], table.labels[4, 2, 1] = np.nan, np.nan
    return table


@pytest.fixture(scope="module")
def X(drawn: DrawnTable) -> np.ndarray:
    return drawn.labels.reshape(len(drawn.labels), -1)


def imputer(**parameters: Any) -> KeypointImputer:
    return KeypointImputer(method="prior", **parameters)


@pytest.fixture(scope="module")
def fitted(X: np.ndarray, drawn: DrawnTable) -> KeypointImputer:
    return imputer(keypoints=NAMES).fit(X, images=drawn.images)


def test_blanks_are_filled_and_observed_values_come_back(
    fitted: KeypointImputer,
    X: np.ndarray,
    drawn: DrawnTable,
) -> None:
    """Nothing is NaN, observed values are the same numbers, inputs are not changed, radii are of fills."""
    before, images = X.copy(), drawn.images.copy()
    filled = fitted.transform(X, images=drawn.images)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(drawn.images, images)
    assert filled.shape == X.shape
    assert not np.isnan(filled).any()
    np.testing.assert_array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])
    blank = np.isnan(X).reshape(len(X), -1, 2).any(axis=2)
    np.testing.assert_array_equal(np.isfinite(fitted.radius_), blank)
    assert (fitted.radius_[blank] > 0).all()


def test_it_learns(fitted: KeypointImputer, X: np.ndarray, drawn: DrawnTable) -> None:
    """What it fills is nearer to the truth than the mean of the column."""
    blank, truth = np.isnan(X), drawn.truth.reshape(X.shape)
    mean = np.broadcast_to(np.nanmean(X, axis=0), X.shape)
    filled = fitted.transform(X, images=drawn.images)
    assert np.mean((filled - truth)[blank] ** 2) < np.mean((mean - truth)[blank] ** 2)


def test_seed_and_coverage_are_asked_for(X: np.ndarray, drawn: DrawnTable) -> None:
    """Another seed divides the rows otherwise, so that fills differ; more coverage gives larger radii."""
    ways = [imputer(keypoints=NAMES, random_state=seed, coverage=share) for seed, share in
            ((0, 0.5), (0, 0.95), (1, 0.5))]  # fmt: skip
    first, surer, other = (way.fit_transform(X, images=drawn.images) for way in ways)
    np.testing.assert_array_equal(first, surer)
    assert (first != other)[np.isnan(X)].any()
    there = np.isfinite(ways[0].radius_)
    assert (ways[0].radius_ < ways[1].radius_)[there].all()


def test_fit_is_idempotent_and_fit_transform_is_both(
    fitted: KeypointImputer,
    X: np.ndarray,
    drawn: DrawnTable,
) -> None:
    """Fitting again changes nothing; a fixed seed gives the same numbers; fit_transform = fit + transform.

    None of them writes to what it is given.
    """
    once = fitted.transform(X, images=drawn.images)
    given, images = X.copy(), drawn.images.copy()
    given.flags.writeable = images.flags.writeable = False  # whoever changed an input would fail
    other = imputer(keypoints=NAMES)
    np.testing.assert_array_equal(other.fit_transform(given, images=images), once)
    np.testing.assert_array_equal(other.fit(given, images=images).transform(given, images=images), once)
    np.testing.assert_array_equal(other.transform(given, images=images), once)


@pytest.fixture(scope="module")
def seeing(X: np.ndarray, drawn: DrawnTable) -> KeypointImputer:
    """Fitted to 40 rows with networks."""
    return KeypointImputer(epochs=1, patch_size=8, random_state=3).fit(X[:40], images=drawn.images[:40])


@pytest.mark.slow
def test_networks_too_are_the_same_for_a_seed(
    seeing: KeypointImputer, X: np.ndarray, drawn: DrawnTable
) -> None:
    """Not by the shape alone: trained regressors give the same fill for the same seed."""
    shown = X[:40], drawn.images[:40]
    again = clone(seeing).fit_transform(shown[0], images=shown[1])
    np.testing.assert_array_equal(seeing.transform(shown[0], images=shown[1]), again)


def test_parameters_are_got_set_and_cloned(fitted: KeypointImputer) -> None:
    """clone has the same parameters and is not fitted; set_params sets; unknown ones are refused."""
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert copy.set_params(coverage=0.5) is copy
    assert copy.coverage == 0.5
    assert not hasattr(copy, "keypoints_")
    with pytest.raises(ValueError, match="nonsense"):
        copy.set_params(nonsense=1)
    with pytest.raises(UsageError, match="method must be one of"):
        KeypointImputer(method="magic").fit(np.ones((20, 2)), images=np.zeros((20, 8, 8), np.uint8))


def test_before_fitting_it_says_so(X: np.ndarray, drawn: DrawnTable) -> None:
    """NotFittedError from transform and get_feature_names_out."""
    with pytest.raises(NotFittedError):
        imputer().transform(X, images=drawn.images)
    with pytest.raises(NotFittedError):
        imputer().get_feature_names_out()


def test_names_and_numbers_of_features(fitted: KeypointImputer, X: np.ndarray, drawn: DrawnTable) -> None:
    """n_features_in_, get_feature_names_out; data frames bring names and get them back."""
    assert fitted.n_features_in_ == 6
    names = [f"{name}_{axis}" for name in NAMES for axis in "xy"]
    assert list(fitted.get_feature_names_out()) == names
    frame = pd.DataFrame(X, columns=names)
    by_frame = imputer().set_output(transform="pandas").fit(frame, images=drawn.images)
    assert list(by_frame.feature_names_in_) == names
    filled = by_frame.transform(frame, images=drawn.images)
    assert list(filled.columns) == names
    np.testing.assert_array_equal(filled, fitted.transform(X, images=drawn.images))
    with pytest.raises(ValueError, match="feature names"):
        by_frame.transform(frame[names[2:] + names[:2]], images=drawn.images)
    with pytest.raises(ValueError, match="side by side"):
        imputer().fit(frame[names[::-1]], images=drawn.images)


def test_what_does_not_fit_is_refused(fitted: KeypointImputer, X: np.ndarray, drawn: DrawnTable) -> None:
    """ValueError in scikit-learn's manner, with what was expected."""
    images = drawn.images
    cases = [
        (X[:, :4], images, "expecting 6 features"),
        (X[:, :5], images, "X has 5 features"),
        (X[0], images, "expected \\(n, 2 K\\)"),
        (X, images[:-1], "79 images for 80 rows"),
        (X, images[:, :-1], "fitted to images of 24x30"),
        (np.where(np.isnan(X), np.inf, X), images, "infinite"),
        (np.full(X.shape, "a"), images, "not an array of numbers"),
    ]
    for data, pictures, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            fitted.transform(data, images=pictures)


def test_it_keeps_single_precision_and_can_be_pickled(
    fitted: KeypointImputer,
    X: np.ndarray,
    drawn: DrawnTable,
) -> None:
    """float32 in, float32 out; a user may pickle a fitted imputer (the program itself never loads one)."""
    filled = fitted.transform(X.astype(np.float32), images=drawn.images)
    assert filled.dtype == np.float32
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - made in this line
    np.testing.assert_array_equal(
        again.transform(X, images=drawn.images), fitted.transform(X, images=drawn.images)
    )


def test_it_works_in_a_pipeline_with_images_passed_through(
    fitted: KeypointImputer,
    X: np.ndarray,
    drawn: DrawnTable,
) -> None:
    """With metadata routing, images given to the pipeline reach the imputer alone."""
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = Pipeline([("fill", imputer(keypoints=NAMES)), ("scale", StandardScaler())])
        scaled = pipeline.fit_transform(X, images=drawn.images)
        np.testing.assert_allclose(pipeline.transform(X, images=drawn.images), scaled)
        found = pipeline.named_steps["fill"].transform(X, images=drawn.images)
    np.testing.assert_array_equal(found, fitted.transform(X, images=drawn.images))
    np.testing.assert_allclose(scaled, StandardScaler().fit_transform(found))
    assert pipeline.get_params()["fill__keypoints"] == NAMES


def test_the_prior_does_without_images(X: np.ndarray, drawn: DrawnTable, fitted: KeypointImputer) -> None:
    """Fitted to X alone it fills X alone, about as well as beside images; the same when X is moved."""
    before = X.copy()
    alone = imputer(keypoints=NAMES)
    filled = alone.fit_transform(X)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])
    assert not np.isnan(filled).any()
    np.testing.assert_array_equal(np.isfinite(alone.radius_), np.isnan(X).reshape(len(X), -1, 2).any(axis=2))
    truth = drawn.truth.reshape(X.shape)[np.isnan(X)]
    error, beside = (
        np.sqrt(np.mean((found[np.isnan(X)] - truth) ** 2))
        for found in (filled, fitted.transform(X, images=drawn.images))
    )
    assert error == pytest.approx(beside, rel=0.15)
    assert alone.figures_["without images"] is True
    np.testing.assert_allclose(imputer(keypoints=NAMES).fit_transform(X - 40), filled - 40, atol=1e-6)
    np.testing.assert_array_equal(alone.transform(X[:1]), filled[:1])
    assert not np.isnan(alone.transform(np.full((1, X.shape[1]), np.nan))).any()
    assert not np.isnan(fitted.transform(X)).any(), "a prior learnt beside images looks at none, either"


def test_it_works_in_a_pipeline_without_images(X: np.ndarray) -> None:
    """As any imputer of scikit-learn does; a data frame brings names and gets them back."""
    frame = pd.DataFrame(X, columns=[f"{name}_{axis}" for name in NAMES for axis in "xy"])
    pipeline = Pipeline([("fill", imputer()), ("scale", StandardScaler())])
    scaled = pipeline.fit_transform(frame)
    np.testing.assert_allclose(scaled, StandardScaler().fit_transform(imputer().fit_transform(frame)))


@pytest.mark.slow
def test_images_that_are_missing_or_too_many_are_refused(
    seeing: KeypointImputer, X: np.ndarray, drawn: DrawnTable
) -> None:
    """Networks need images, and a fit without images is not given any later; shares are no px."""
    for method in ("anchored", "image-only"):
        with pytest.raises(ValueError, match=r'images are needed: .*method="prior"'):
            KeypointImputer(method=method).fit(X)
    with pytest.raises(ValueError, match="fitted without images: leave images out"):
        imputer().fit(X).transform(X, images=drawn.images)
    with pytest.raises(ValueError, match="coordinates lie within 1 px"):
        imputer().fit(X / 30)
    with pytest.raises(ValueError, match="neither images nor labels"):
        imputer().fit(np.full((20, 4), np.nan))
    with pytest.raises(ValueError, match="images are needed: it was fitted to look at them"):
        seeing.transform(X)
