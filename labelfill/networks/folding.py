"""Networks made ready to answer: with less to compute, and the same answers but for rounding."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, each batch normalisation folded into the convolution before it.

    What is folded cannot be trained on; files keep networks as they were trained.
    """
    network.eval()
    with torch.no_grad():
        for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
            for (name, convolution), (follower, normalisation) in pairwise(list(sequence.named_children())):
                if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                    setattr(sequence, name, fuse_conv_bn_eval(convolution, normalisation))
                    setattr(sequence, follower, nn.Identity())
    return network
