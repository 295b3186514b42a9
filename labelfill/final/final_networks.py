"""The final network that settings ask for, built anew for a number of outputs and an image size."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from labelfill.networks.architectures import FinalNetwork
from labelfill.original.plain_networks import PlainNetwork, SeparateNetworks
from labelfill.settings import FinalModelSettings


def build_final_network(
    outputs: Sequence[int], size: tuple[int, int], settings: FinalModelSettings
) -> nn.Module:
    """An untrained network that answers (B, sum of outputs, 3) from (B, 1, height, width).

    Parameters
    ----------
    outputs
        Keypoints answered; several numbers are as many networks that share nothing.
    size
        Height and width of its input, in samples.
    settings
        Complete.
    """

    def build(count: int) -> nn.Module:
        if settings.original:
            return PlainNetwork(count, *size, settings)
        return FinalNetwork(count, *size)

    networks = [build(count) for count in outputs]
    return networks[0] if len(networks) == 1 else SeparateNetworks(networks)
