"""The final network: mirror images in learning and answering, and in which px it answers."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from labelfill.data.dataset import dataset_of_arrays
from labelfill.data.images.equalization import equalize
from labelfill.final.fitting import FinalSetup, jittered_examples, new_model, plain_examples
from labelfill.final.model import FinalModel
from labelfill.final.predict import _answer
from labelfill.final.targets import Heads, Targets
from labelfill.networks.devices import Computing
from labelfill.regressors.calibration.blending import Calibration
from labelfill.schema import Placements
from labelfill.settings import FinalModelSettings, PredictSettings
from labelfill.sources.groups import UNKNOWN
from tests.drawn_shapes import FACE, PARTNERS, blobs, faces

CPU = torch.device("cpu")
ROWS = 60
XY = faces(ROWS, np.random.default_rng(0))
IMAGES = blobs(XY, FACE.image_size)


@pytest.fixture(scope="module")
def targets() -> Targets:
    """Every keypoint of every row with a weight of its own, those of left keypoints below a half."""
    weight = np.random.default_rng(1).uniform(0.6, 1.0, (ROWS, FACE.count))
    weight[:, [name.startswith("left") for name in FACE.keypoints]] -= 0.5
    return Targets(XY, weight, np.ones((ROWS, FACE.count), bool))


@pytest.fixture(scope="module")
def model(targets: Targets) -> FinalModel:
    chosen, parts = FinalModelSettings().complete(), np.zeros(ROWS, np.int8)
    setup = FinalSetup(FACE, PARTNERS, ("1",), parts, chosen, 0, Computing(CPU))
    return new_model(setup, Heads(FACE.count), targets)


def stirred(model: FinalModel) -> FinalModel:
    """The same with other weights: an untrained network answers the mean shape for every image."""
    network = deepcopy(model.network)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return replace(model, network=network)


def test_mirrored_rows_teach_what_their_partners_are_worth(model: FinalModel, targets: Targets) -> None:
    """Of the rows of an epoch about half are mirrored; targets and weights are then their partners'."""
    examples = jittered_examples(model, targets, model.pyramid(IMAGES, CPU), 5)
    as_is = plain_examples(model, targets, model.pyramid(IMAGES, CPU))
    weight, straight = examples.weight.numpy(), as_is.weight.numpy()
    mirrored = ~np.isclose(weight, straight).all(axis=1)
    assert 15 < mirrored.sum() < 45
    np.testing.assert_allclose(weight[mirrored], straight[mirrored][:, list(PARTNERS)])
    left, right = FACE.keypoints.index("left_eye"), FACE.keypoints.index("right_eye")
    across = examples.target[:, left, 0] - examples.target[:, right, 0]
    assert (across > 0).all(), "a left eye lies to the right in every row, mirrored or not"


def test_mirror_images_are_answered_by_mirrored_points(model: FinalModel) -> None:
    """An image and its mirror image get the same answers, left and right exchanged, whatever is learnt."""
    model = stirred(model)
    xy, sigma = model.answer(IMAGES[:4], CPU)
    turned, turned_sigma = model.answer(IMAGES[:4, :, ::-1], CPU)
    np.testing.assert_allclose(turned, FACE.mirror(xy, PARTNERS), atol=0.01)
    np.testing.assert_allclose(turned_sigma, sigma[:, list(PARTNERS)], rtol=0.01)
    assert np.ptp(xy, axis=0).max() > 0.1, "answers differ between images"


def test_contrast_is_equalised_as_the_network_learnt_it(model: FinalModel) -> None:
    """A network of equalised images answers images as it answers them equalised beforehand."""
    plain, equalised = (
        replace(stirred(model), settings=replace(model.settings, equalize=how))
        for how in ("none", "histogram")
    )
    expected, _ = plain.answer(equalize(IMAGES[:3], "histogram"), CPU)
    np.testing.assert_array_equal(equalised.answer(IMAGES[:3], CPU)[0], expected)
    assert np.abs(plain.answer(IMAGES[:3], CPU)[0] - expected).max() > 0.1


class Kept:
    """Keeps what it is handed."""

    def __init__(self) -> None:
        self.xy, self.radius = np.zeros((0, FACE.count, 2)), np.zeros((0, FACE.count))

    def add(self, rows: slice, xy: np.ndarray, radius: np.ndarray) -> None:
        assert rows.start == len(self.xy)
        self.xy, self.radius = np.concatenate([self.xy, xy]), np.concatenate([self.radius, radius])


def test_predictions_are_stated_in_px_of_their_own_images(model: FinalModel) -> None:
    """In an image twice as large as the frame points lie twice as far apart, and radii are twice as long."""
    one = np.ones(FACE.count)
    weights, ratios = one[:, None], 2 * one[:, None]
    calibration = Calibration(weights, one, 0 * one, ratios, one.astype(np.int64))
    model = replace(model, calibration=calibration)
    images = IMAGES[[0, 0, 0, 0, 0]]
    times = np.array([1.0, 2.0, 0.5, 3.0, 1.0])
    placements = Placements.of_whole_images(FACE.image_size, 64 * times[:, None] * [1.0, 1.0])
    dataset = replace(
        dataset_of_arrays(np.full((5, FACE.count, 2), 9.0), FACE.keypoints, images, "images"),
        placements=placements,
    )
    kept, settings = Kept(), PredictSettings(batch_size=2)
    _answer(model, dataset, np.full(5, UNKNOWN), settings, Computing(CPU), [kept])
    found, sigma = model.answer(images, CPU)
    np.testing.assert_allclose(kept.xy, placements.to_own(found))
    np.testing.assert_allclose(kept.radius, 2 * sigma * times[:, None])
