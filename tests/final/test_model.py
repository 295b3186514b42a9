"""The final network and mirror images: what it learns of them, and what it answers for them."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from labelfill.final.fitting import jittered_examples, new_model, plain_examples
from labelfill.final.model import FinalModel
from labelfill.final.targets import Heads, Targets
from labelfill.settings import FinalModelSettings
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
    return new_model(FACE, Heads(FACE.count), targets, parts, PARTNERS, ("1",), chosen, 0, CPU)


def test_mirrored_rows_teach_what_their_partners_are_worth(model: FinalModel, targets: Targets) -> None:
    """Of the rows of an epoch about half are mirrored; targets and weights are then their partners'."""
    examples = jittered_examples(model, targets, model.pyramid(IMAGES, CPU), 5)
    as_is = plain_examples(model, targets, model.pyramid(IMAGES, CPU))
    weight, straight = examples.weight.numpy(), as_is.weight.numpy()
    mirrored = ~np.isclose(weight, straight).all(axis=1)
    assert 15 < mirrored.sum() < 45
    np.testing.assert_allclose(weight[mirrored], straight[mirrored][:, list(PARTNERS)])
    left, right = FACE.index("left_eye"), FACE.index("right_eye")
    across = examples.target[:, left, 0] - examples.target[:, right, 0]
    assert (across > 0).all(), "a left eye lies to the right in every row, mirrored or not"


def test_mirror_images_are_answered_by_mirrored_points(model: FinalModel) -> None:
    """An image and its mirror image get the same answers, left and right exchanged, whatever is learnt."""
    network = deepcopy(model.network)  # untrained it answers the mean shape for every image
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    model = replace(model, network=network)
    xy, sigma = model.answer(IMAGES[:4], CPU)
    turned, turned_sigma = model.answer(IMAGES[:4, :, ::-1], CPU)
    np.testing.assert_allclose(turned, FACE.mirror(xy, PARTNERS), atol=0.01)
    np.testing.assert_allclose(turned_sigma, sigma[:, list(PARTNERS)], rtol=0.01)
    assert np.ptp(xy, axis=0).max() > 0.1, "answers differ between images"
