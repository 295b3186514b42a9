"""The networks: shapes for every size of image, and answers that depend on a row alone."""

from __future__ import annotations

import pytest
import torch

from labelfill.networks.architectures import FaceRegressor, FinalNetwork, PatchRegressor, parameter_count
from labelfill.networks.folding import folded


@pytest.mark.parametrize("size", [8, 9, 17, 32])
def test_a_patch_regressor_answers_one_keypoint(size: int) -> None:
    """Offset in x and y and log sigma for one keypoint, from patches of any side."""
    network = PatchRegressor(size)
    answer = network(torch.rand(3, 1, size, size), torch.zeros(3, 0))
    assert answer.shape == (3, 1, 3)


@pytest.mark.parametrize(("keypoints", "evidence"), [(1, 0), (5, 15), (17, 0)])
def test_a_face_regressor_answers_all_keypoints(keypoints: int, evidence: int) -> None:
    """As many keypoints as asked for, with or without evidence beside the view."""
    network = FaceRegressor(keypoints, 24, evidence)
    assert network(torch.rand(2, 1, 24, 24), torch.rand(2, evidence)).shape == (2, keypoints, 3)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (40, 61), (61, 40), (7, 100), (3, 2), (1, 1)])
def test_the_final_network_takes_images_of_any_shape(height: int, width: int) -> None:
    """Images that are not square, odd or tiny give all outputs, in training as in use."""
    network = FinalNetwork(4, height, width)
    assert network(torch.rand(2, 1, height, width), torch.zeros(2, 0)).shape == (2, 4, 3)
    network.eval()
    assert network(torch.rand(1, 1, height, width), torch.zeros(1, 0)).shape == (1, 4, 3)


def test_the_untrained_final_network_answers_about_the_mean_shape() -> None:
    """Training starts at the mean shape, not at the image's centre."""
    torch.manual_seed(0)
    network = FinalNetwork(2, 20, 30).eval()
    mean = torch.tensor([[0.3, -0.4], [-0.5, 0.1]])
    network.start_at(mean)
    with torch.inference_mode():
        answer = network(torch.rand(5, 1, 20, 30), torch.zeros(5, 0))
    assert float((answer[..., :2] - mean).abs().max()) < 0.1


@pytest.mark.parametrize("network", [PatchRegressor(16), FaceRegressor(3, 16, 4), FinalNetwork(3, 16, 16)])
def test_parameters_are_counted(network: torch.nn.Module) -> None:
    """The count is that of the weights that learn; buffers of batch normalisation are none."""
    learn = sum(tensor.numel() for name, tensor in network.state_dict().items() if "running" not in name)
    tracked = sum(1 for name in network.state_dict() if name.endswith("num_batches_tracked"))
    assert parameter_count(network) == learn - tracked
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    assert parameter_count(network) == 0


@pytest.mark.parametrize("network", [PatchRegressor(16, 3), FaceRegressor(3, 16, 4), FinalNetwork(3, 16, 16)])
def test_a_folded_network_answers_as_before(network: torch.nn.Module) -> None:
    """Batch normalisations, whatever they have learnt, are gone; what is answered is not."""
    torch.manual_seed(0)
    images, evidence = torch.rand(5, 1, 16, 16), torch.rand(5, 4)
    for _ in range(20):
        network(images * 3 - 1, evidence)
    before = network.eval()(images, evidence)
    torch.testing.assert_close(folded(network)(images, evidence), before, atol=1e-5, rtol=1e-5)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
