"""What training minimises: a Gaussian likelihood of keypoints with their sigma, and penalties on weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from labelfill.arrays import Array

# Log sigma is held to a range in which the likelihood's gradients stay sane.
LOG_SIGMA_RANGE = 4.0


def keypoint_loss(answer: Tensor, target: Tensor, weight: Tensor, *, likelihood: bool) -> Tensor:
    """Weighted mean over keypoints of the Gaussian negative log-likelihood or the squared error.

    Parameters
    ----------
    answer
        (B, K, 3): position and log sigma.
    target, weight
        (B, K, 2), (B, K).
    likelihood
        False: the position learns from the squared error alone, and sigma from the likelihood given
        the position.
    """
    present = weight > 0
    squared = (torch.where(present[..., None], target, answer[..., :2].detach()) - answer[..., :2]).square()
    error = squared.sum(dim=-1) / 2  # (B, K)
    log_sigma = answer[..., 2].clamp(-LOG_SIGMA_RANGE, LOG_SIGMA_RANGE)
    if likelihood:
        each = log_sigma + 0.5 * error * torch.exp(-2 * log_sigma)
    else:
        each = error + log_sigma + 0.5 * error.detach() * torch.exp(-2 * log_sigma)
    return (each * weight).sum() / weight.sum().clamp_min(1e-6)


def sigma_of(log_sigma: Array) -> Array:
    """Sigma in a network's units, from the log sigma that it answers."""
    sigma: Array = np.exp(np.clip(log_sigma, -LOG_SIGMA_RANGE, LOG_SIGMA_RANGE))
    return sigma


def weight_penalty(network: nn.Module, l1: float, l2: float) -> Tensor:
    """Penalty on the sizes and squares of weights, those of biases and normalisations left out."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    sizes = torch.stack([weight.abs().sum() for weight in weights]).sum()
    squares = torch.stack([weight.square().sum() for weight in weights]).sum()
    return l1 * sizes + l2 * squares
