"""What toy networks learn from: patches with a bright blob, for the tests of training."""

from __future__ import annotations

import numpy as np
import torch

from labelfill.networks.fit import Examples
from labelfill.schema import ImageSize
from tests.drawn_shapes import blobs

SIDE = 12
CPU = torch.device("cpu")


def examples(seed: int, rows: int = 64, keypoints: int = 1, device: torch.device = CPU) -> Examples:
    """Patches with a bright blob; its place is the target, in halves of the side."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(-0.5, 0.5, (rows, 1, 2))
    images = blobs(SIDE / 2 * (target + 1) - 0.5, ImageSize(SIDE, SIDE), radius=1.5)
    patches = torch.from_numpy(images / 255).float()[:, None]
    several = torch.from_numpy(target).float().expand(rows, keypoints, 2)
    tensors = (
        patches - patches.mean(),
        torch.zeros(rows, 0),
        several,
        torch.ones(rows, keypoints),
        torch.full((rows,), 6.0),
    )
    return Examples(*(tensor.to(device) for tensor in tensors))
