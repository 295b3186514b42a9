"""The networks of the original work: plain CNNs from the whole image to coordinates.

Their layers are fixed by presets and hold for any number of outputs and any image size; for images of 96x96
and 15 keypoints `baseline` has 3,371,486 parameters, `phase3` 7,264,318 and 4,352 running statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from labelfill.settings import Preset

Activation = Literal["relu", "leaky-relu", "elu", "selu"]
ACTIVATIONS: Mapping[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
}
_KERNEL = 3


@dataclass(frozen=True)
class Layout:
    """Convolutions of 3x3 and what follows them.

    Attributes
    ----------
    channels
        Of the convolutions, one after another.
    pooled
        Positions of convolutions that a max pooling of 2x2 follows.
    same
        Whether a convolution keeps the size.
    bias
        Whether convolutions have a bias.
    dense
        Width of the dense layer before the last.
    """

    channels: tuple[int, ...]
    pooled: frozenset[int]
    same: bool
    bias: bool
    dense: int


_IMPROVED = Layout((32, 32, 64, 64, 128, 128), frozenset({1, 3, 5}), True, False, 128)
LAYOUTS: Mapping[Preset, Layout] = {
    "baseline": Layout((32, 64, 128), frozenset({0, 1}), False, True, 64),
    "phase1": _IMPROVED,
    "phase2": _IMPROVED,
    "phase3": Layout(
        (32, 32, 64, 64, 96, 96, 128, 128, 256, 256, 512, 512), frozenset({1, 3, 5, 7, 9}), True, False, 512
    ),
}


class PlainNetwork(nn.Module):
    """A plain CNN: convolutions (activation, then batch normalisation), a dense layer, dropout, coordinates.

    Parameters
    ----------
    outputs
        Keypoints answered.
    height, width
        Of its input, in samples. Convolutions that shrink it do not where it is less than their own, and a
        side of one sample is not pooled.
    activation
        Its class.
    normed
        Whether batch normalisation follows each activation.
    edges
        Whether it sees slopes beside the pixels.
    """

    def __init__(
        self, outputs: int, height: int, width: int, layout: Layout, activation: type[nn.Module],
        *, normed: bool, dropout: float, edges: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self._edges = edges
        layers: list[nn.Module] = []
        before = 3 if self._edges else 1
        for position, after in enumerate(layout.channels):
            same = layout.same or min(height, width) < _KERNEL
            layers += [nn.Conv2d(before, after, _KERNEL, padding=int(same), bias=layout.bias), activation()]
            if normed:
                layers.append(nn.BatchNorm2d(after))
            if not same:
                height, width = height - _KERNEL + 1, width - _KERNEL + 1
            if position in layout.pooled and min(height, width) > 1:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            before = after
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(before * height * width, layout.dense),
            activation(),
            nn.Dropout(dropout),
            nn.Linear(layout.dense, 2 * outputs),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):  # as the original work's library begins
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor, evidence: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, K, 3), log sigma always 0; `evidence` (B, 0) is not used."""
        seen = with_edges(images) if self._edges else images
        xy = self.head(self.features(seen)).unflatten(
            1, (-1, 2)
        )  # `len` of images would fix an export's batch
        return torch.cat([xy, xy.new_zeros(*xy.shape[:2], 1)], dim=2)


def with_edges(images: Tensor) -> Tensor:
    """Grey values (B, 1, H, W) beside their slopes to the right and downwards (Sobel): (B, 3, H, W)."""
    smooth, slope = images.new_tensor([1.0, 2.0, 1.0]), images.new_tensor([-1.0, 0.0, 1.0])
    right = torch.outer(smooth, slope) / 4
    kernels = torch.stack([right, right.T])[:, None]  # (2, 1, 3, 3)
    slopes = functional.conv2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), kernels)
    return torch.cat([images, slopes], dim=1)
