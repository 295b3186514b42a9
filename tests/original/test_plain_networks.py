"""The original work's networks: their exact size, any image and number of keypoints, and their options."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labelfill.final.model import build_final_network
from labelfill.networks.architectures import FinalNetwork, SeparateNetworks, parameter_count
from labelfill.original.design import Design
from labelfill.original.plain_networks import LAYOUTS, with_edges
from labelfill.settings import FinalModelSettings, Preset


def complete(preset: Preset, **given: object) -> Design:
    return Design(preset=preset, **given).complete()  # type: ignore[arg-type]


def running_statistics(network: nn.Module) -> int:
    """Numbers that batch normalisation keeps, which are no parameters."""
    return sum(tensor.numel() for name, tensor in network.named_buffers() if "running" in name)


@pytest.mark.parametrize(
    ("preset", "parameters", "statistics"), [("baseline", 3_371_486, 0), ("phase3", 7_264_318, 4_352)]
)
def test_the_original_networks_have_exactly_their_parameters(
    preset: Preset, parameters: int, statistics: int
) -> None:
    """For 15 keypoints on 96x96, as the original work counted them."""
    network = complete(preset).network(15, (96, 96))
    assert parameter_count(network) == parameters
    assert running_statistics(network) == statistics


@pytest.mark.parametrize("preset", LAYOUTS)
@pytest.mark.parametrize(("height", "width"), [(96, 96), (40, 61), (8, 96), (8, 8), (2, 3)])
def test_presets_take_images_of_any_shape(preset: Preset, height: int, width: int) -> None:
    """Images that are not square, odd or tiny give all outputs; log sigma is always 0."""
    network = complete(preset).network(4, (height, width)).eval()
    answer = network(torch.rand(2, 1, height, width), torch.zeros(2, 0))
    assert answer.shape == (2, 4, 3)
    assert not answer[..., 2].any()


@pytest.mark.parametrize("activation", ["relu", "leaky-relu", "elu", "selu"])
def test_the_activation_and_normalisation_are_as_asked(activation: str) -> None:
    """Each choice of activation stands after every convolution; without batch normalisation there is none."""
    kinds = {
        "relu": torch.nn.ReLU,
        "leaky-relu": torch.nn.LeakyReLU,
        "elu": torch.nn.ELU,
        "selu": torch.nn.SELU,
    }
    network = complete("phase3", activation=activation, batch_norm="off").network(2, (16, 16))
    assert sum(isinstance(module, kinds[activation]) for module in network.modules()) == 13
    assert running_statistics(network) == 0


def test_edges_are_slopes_of_the_image() -> None:
    """An image that rises by 1 and by 2 downwards has these slopes inside."""
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    seen = with_edges((x + 2 * y)[None, None])
    assert seen.shape == (1, 3, 6, 7)
    assert torch.equal(seen[0, 1, 1:-1, 1:-1], torch.full((4, 5), 2.0))
    assert torch.equal(seen[0, 2, 1:-1, 1:-1], torch.full((4, 5), 4.0))
    network = complete("phase1", features="edges").network(1, (16, 16))
    assert network(torch.rand(2, 1, 16, 16), torch.zeros(2, 0)).shape == (2, 1, 3)


def test_separate_networks_share_nothing() -> None:
    """The answers of one come from its own weights alone, in the order of its outputs."""
    network = build_final_network([3, 2], (16, 16), complete("phase1", rows="separate")).eval()
    assert isinstance(network, SeparateNetworks)
    images = torch.rand(2, 1, 16, 16)
    before = network(images, torch.zeros(2, 0))
    with torch.no_grad():
        for parameter in network.networks[1].parameters():
            parameter.add_(1.0)
    after = network(images, torch.zeros(2, 0))
    assert torch.equal(after[:, :3], before[:, :3])
    assert not torch.equal(after[:, 3:], before[:, 3:])


def test_the_default_is_labelfills_own() -> None:
    """Without a preset the final network is labelfill's."""
    assert isinstance(build_final_network([4], (24, 24), FinalModelSettings().complete()), FinalNetwork)
