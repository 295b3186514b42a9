"""The networks; no input/output and no loss. All answer (B, K, 3): offset in x and y, log sigma."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class PatchRegressor(nn.Module):
    """A small plain CNN that finds a keypoint in a patch cut around its expected position.

    Parameters
    ----------
    size
        Side of the patch in samples.
    keypoints
        How many it answers: one, or all of a table whose patches a trunk learns.
    """

    def __init__(
        self, size: int, keypoints: int = 1, channels: Sequence[int] = (16, 32, 48, 64), hidden: int = 64
    ) -> None:
        super().__init__()
        self.features, flat = _features(size, channels)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(flat, hidden), nn.SiLU(),
            nn.Linear(hidden, 3 * keypoints),
        )  # fmt: skip

    def start_from(self, trunk: Mapping[str, Tensor], keypoints: Mapping[int, int]) -> None:
        """Begin with the weights of a network of all keypoints.

        Parameters
        ----------
        keypoints
            From an answer of this network to the keypoint among the other's that it begins as; what is not
            there begins at nothing.
        """
        last = f"head.{len(self.head) - 1}."
        begun = {}
        for name, tensor in self.state_dict().items():
            begun[name] = torch.zeros_like(tensor) if name.startswith(last) else trunk[name]
            if name.startswith(last):
                for own, other in keypoints.items():
                    begun[name][3 * own : 3 * own + 3] = trunk[name][3 * other : 3 * other + 3]
        self.load_state_dict(begun)

    def forward(self, patches: Tensor, evidence: Tensor) -> Tensor:
        """(B, 1, S, S) patches -> (B, K, 3); `evidence` (B, 0) is not used."""
        answer: Tensor = self.head(self.features(patches))
        return answer.view(len(patches), -1, 3)


class FaceRegressor(nn.Module):
    """A CNN that finds all keypoints at once in one upright view of the whole shape.

    Beside the view it is given evidence: where the prior expects each keypoint, and how surely.

    Parameters
    ----------
    keypoints
        How many it answers.
    size
        Side of the view in samples.
    evidence
        Numbers of evidence per row.
    """

    def __init__(
        self,
        keypoints: int,
        size: int,
        evidence: int,
        channels: Sequence[int] = (16, 32, 64, 96),
        hidden: int = 256,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.features, flat = _features(size, channels)
        self.head = _head(flat + evidence, hidden, keypoints, dropout)

    def forward(self, views: Tensor, evidence: Tensor) -> Tensor:
        """(B, 1, S, S) views and (B, E) evidence -> (B, K, 3)."""
        features = self.features(views).flatten(1)
        answer: Tensor = self.head(torch.cat([features, evidence], dim=1))
        return answer.view(len(views), -1, 3)


class FinalNetwork(nn.Module):
    """A CNN that finds all keypoints in a whole image.

    The first convolution sees the image's coordinates beside its grey values (CoordConv, Liu et al.
    2018) and halves its resolution: most of the time would go there.

    Parameters
    ----------
    outputs
        Keypoints answered, those of further conventions included.
    height, width
        Of its input, in samples.
    """

    def __init__(
        self,
        outputs: int,
        height: int,
        width: int,
        channels: Sequence[int] = (20, 32, 48, 64),
        hidden: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before, high, wide = 3, height, width
        for position, breadth in enumerate(channels):
            if position == 0:
                high, wide = math.ceil(high / 2), math.ceil(wide / 2)
            pooled = min(high, wide) > 6
            pool = nn.MaxPool2d(2, ceil_mode=True) if pooled else None
            if position == 0:
                layers += _convolution(before, breadth, kernel=5, stride=2, pool=pool)
            else:
                layers += _convolution(before, breadth)
                layers += _convolution(breadth, breadth, pool=pool)
            if pooled:
                high, wide = math.ceil(high / 2), math.ceil(wide / 2)
            before = breadth
        self.features = nn.Sequential(*layers)
        self.head = _head(before * high * wide, hidden, outputs, dropout)

    def start_at(self, mean: Tensor) -> None:
        """Let the untrained network answer the mean shape (outputs, 2)."""
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.zero_()
            last.bias.view(-1, 3)[:, :2].copy_(mean)

    def forward(self, images: Tensor, evidence: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, K, 3); `evidence` (B, 0) is not used."""
        batch, _, height, width = images.shape
        longer = max(height, width)
        x = torch.linspace(-1, 1, width, device=images.device) * (width / longer)
        y = torch.linspace(-1, 1, height, device=images.device)[:, None] * (height / longer)
        places = torch.stack([x.expand(height, width), y.expand(height, width)])[None]
        first = self.features[0]
        assert isinstance(first, nn.Conv2d)
        grey, coordinates = first.weight[:, :1], first.weight[:, 1:]
        # What the coordinates add is the same for every image.
        added = functional.conv2d(places, coordinates, first.bias, first.stride, first.padding)
        seen = functional.conv2d(images, grey, None, first.stride, first.padding) + added
        answer: Tensor = self.head(self.features[1:](seen).flatten(1))
        return answer.view(batch, -1, 3)


def _convolution(
    before: int, after: int, kernel: int = 3, stride: int = 1, pool: nn.Module | None = None
) -> list[nn.Module]:
    """A convolution, normalised; pooled before that, which leaves less to normalise."""
    return [
        nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False),
        *([] if pool is None else [pool]),
        nn.BatchNorm2d(after),
        nn.SiLU(),
    ]


def _features(size: int, channels: Sequence[int]) -> tuple[nn.Sequential, int]:
    """Convolutions on one channel of a square, and how many numbers they end in.

    The side halves in the first, as most of the time would go there, and after each further one but the last.
    """
    layers = _convolution(1, channels[0], kernel=5, stride=2)
    before, side = channels[0], math.ceil(size / 2)
    for position, width in enumerate(channels[1:], 1):
        pooled = position < len(channels) - 1
        layers += _convolution(before, width, pool=nn.MaxPool2d(2) if pooled else None)
        side = side // 2 if pooled else side
        before = width
    return nn.Sequential(*layers), before * side * side


def _head(features: int, hidden: int, keypoints: int, dropout: float) -> nn.Sequential:
    """Dense layers from features to three numbers per keypoint."""
    return nn.Sequential(
        nn.Dropout(dropout), nn.Linear(features, hidden), nn.SiLU(), nn.Dropout(dropout),
        nn.Linear(hidden, 3 * keypoints),
    )  # fmt: skip


def parameter_count(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


class SeparateNetworks(nn.Module):
    """Networks that share nothing, side by side: each answers some of the keypoints."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor, evidence: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, sum of K, 3)."""
        return torch.cat([network(images, evidence) for network in self.networks], dim=1)
