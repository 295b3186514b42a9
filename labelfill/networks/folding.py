"""Networks made ready to answer: with less to compute, and the same answers but for rounding."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, each batch normalisation folded into the convolution before it.

    One that follows pooling becomes a scaling of its channels: its factors may be negative, and then what is
    largest before it is smallest after. What is folded cannot be trained on; files keep networks as they were
    trained.
    """
    network.eval()
    with torch.no_grad():
        for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
            for (name, before), (follower, normalisation) in pairwise(list(sequence.named_children())):
                if not isinstance(normalisation, nn.BatchNorm2d):
                    continue
                if isinstance(before, nn.Conv2d):
                    setattr(sequence, name, fuse_conv_bn_eval(before, normalisation))
                    setattr(sequence, follower, nn.Identity())
                else:
                    setattr(sequence, follower, fuse_conv_bn_eval(_unchanging(normalisation), normalisation))
    return network


def _unchanging(like: nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution that leaves its channels as they are."""
    channels = like.num_features
    convolution = nn.Conv2d(channels, channels, 1, groups=channels, bias=False).to(like.weight.device)
    nn.init.ones_(convolution.weight)
    return convolution.eval()
