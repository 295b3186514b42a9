"""The members put together: whose network answers for a row, and both ways of looking at an image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelfill.regressors.calibration.blending import Calibration
from labelfill.regressors.calibration.joint_correction import Found
from labelfill.regressors.ensemble import Ensemble, Members, Regressor
from labelfill.regressors.patches import Pyramid
from labelfill.regressors.views import View, face_view, make_network, patch_view
from labelfill.shape.prior import ShapePrior, fit_shape_prior, with_mirrored
from labelfill.sources.anchors import Anchors, labels_as_anchors
from tests.drawn_shapes import FACE, LEFT_BROW, LEFT_EYE, PARTNERS, RIGHT_BROW, RIGHT_EYE, blobs, faces

CPU = torch.device("cpu")
ROWS = 6
EYES = np.isin(np.arange(7), [LEFT_EYE, RIGHT_EYE])
BROWS = np.isin(np.arange(7), [LEFT_BROW, RIGHT_BROW])
XY = faces(ROWS, np.random.default_rng(0))
IMAGES = blobs(XY, FACE.image_size)


class Unsure(nn.Module):
    """A network that answers the middle of its patch, more unsurely the larger its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, inputs: Tensor, evidence: Tensor) -> Tensor:
        return inputs.new_tensor([0.0, 0.0, float(self.number)]).expand(len(inputs), 1, 3)


@pytest.fixture(scope="module")
def prior() -> ShapePrior:
    labels = labels_as_anchors(faces(200, np.random.default_rng(1)))
    return fit_shape_prior(*with_mirrored(labels.xy, labels.noise, FACE, PARTNERS))


def brow_view(keypoint: int, prior: ShapePrior) -> View:
    return patch_view(keypoint, prior.condition(*only_eyes(XY)), prior, FACE, 16)


def only_eyes(xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = labels_as_anchors(xy).without(~EYES)
    return known.xy, known.noise


def answered(
    ensemble: Ensemble, folds: np.ndarray | None = None, *, xy: np.ndarray = XY, images: np.ndarray = IMAGES
) -> Members:
    """Answers for the brows of rows that know their eyes."""
    wanted = np.tile(BROWS, (len(xy), 1))
    return ensemble.members(np.arange(len(xy)), Anchors(*only_eyes(xy)), wanted, Pyramid(images, CPU), folds)


def test_a_row_is_answered_by_the_network_that_did_not_see_it(prior: ShapePrior) -> None:
    """With folds, by the network of its own fold, which was trained without it, and by no other."""
    view, folds = brow_view(RIGHT_BROW, prior), np.array([2, 0, 1, 1, 2, 0])

    def stated(networks: list[nn.Module], folds: np.ndarray | None) -> np.ndarray:
        ensemble = Ensemble(FACE, prior, None, {RIGHT_BROW: Regressor(view, networks)})
        return answered(ensemble, folds).sigma[2, :, RIGHT_BROW]

    three: list[nn.Module] = [Unsure(number) for number in range(3)]
    alone = np.stack([stated([network], None) for network in three])
    np.testing.assert_allclose(stated(three, folds), alone[folds, np.arange(ROWS)])
    np.testing.assert_allclose(stated(three, None), np.sqrt((alone**2).mean(axis=0)))


def test_a_rows_expected_shape_is_of_the_prior_that_did_not_see_it(prior: ShapePrior) -> None:
    """With folds each row is judged by the prior fitted without its fold; without, by that of all rows."""
    folds = np.array([1, 1, 0, 2, 0, 2])
    priors = tuple(ShapePrior(prior.mean + number, prior.covariance) for number in (1, 2, 3))
    ensemble = Ensemble(FACE, prior, None, fold_priors=priors)
    each = np.stack([one.condition(*only_eyes(XY)).xy for one in priors])
    np.testing.assert_allclose(answered(ensemble, folds).expected, each[folds, np.arange(ROWS)])
    np.testing.assert_allclose(answered(ensemble).expected, prior.condition(*only_eyes(XY)).xy)


def test_the_members_blend_is_what_is_corrected_jointly(prior: ShapePrior) -> None:
    """The best answer is the blend as the joint correction leaves it; sigma is the blend's."""

    class Aside:
        def apply(self, found: Found, xy: np.ndarray) -> np.ndarray:
            np.testing.assert_array_equal(found.expected, members.expected)
            return xy + 2.0

    one = np.ones(FACE.count)
    weights = np.tile([1.0, 0.0, 0.0], (FACE.count, 1))
    calibration = Calibration(weights, 3 * one, 0 * one, one[:, None], one.astype(np.int64))
    ensemble = Ensemble(FACE, prior, None, calibration=calibration)
    members = answered(ensemble)
    xy, sigma = ensemble.best(members)
    np.testing.assert_allclose(xy, members.xy[0])
    np.testing.assert_allclose(sigma, 3 * members.sigma[0])
    corrected = replace(ensemble, joint=Aside()).best(members)  # type: ignore[arg-type]  # all that it needs
    np.testing.assert_allclose(corrected[0], xy + 2)
    np.testing.assert_allclose(corrected[1], sigma)


@pytest.mark.parametrize("kind", ["patch", "face"])
def test_mirror_images_are_answered_by_mirrored_points(prior: ShapePrior, kind: str) -> None:
    """A row and its mirror image get the same answers, left and right exchanged, whatever networks say."""
    torch.manual_seed(0)

    def regressor(view: View) -> Regressor:
        return Regressor(view, [make_network(view, FACE.count) for _ in range(2)])

    ensemble = Ensemble(FACE, prior, PARTNERS)
    if kind == "patch":
        brows = {k: regressor(brow_view(k, prior)) for k in (LEFT_BROW, RIGHT_BROW)}
        ensemble = replace(ensemble, patch=brows)
    else:
        ensemble = replace(ensemble, face=regressor(face_view(prior.condition(*only_eyes(XY)), prior, FACE)))
    member = ("prior", "face", "patch").index(kind)
    straight = answered(ensemble)
    turned = answered(ensemble, xy=FACE.mirror(XY, PARTNERS), images=IMAGES[:, :, ::-1])
    expected = FACE.mirror(straight.xy[member], PARTNERS)
    np.testing.assert_allclose(turned.xy[member][:, BROWS], expected[:, BROWS], atol=0.01)
    sigma = straight.sigma[member][:, list(PARTNERS)]
    np.testing.assert_allclose(turned.sigma[member][:, BROWS], sigma[:, BROWS], rtol=0.01)
    assert np.isfinite(turned.xy[member][:, BROWS]).all()
