"""The state of a fit: what changes with its steps, what it came to, and both in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from labelfill.networks.optimizer import AdamW

_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass
class Fitted:
    """A trained network's best weights and how it came to them.

    Attributes
    ----------
    other, other_epoch
        The best by `Plan.also_by`; empty and -1 without.
    """

    state: dict[str, Tensor]
    best_epoch: int
    history: list[dict[str, float]] = field(default_factory=list)
    other: dict[str, Tensor] = field(default_factory=dict)
    other_epoch: int = -1


@dataclass
class TrainerState:
    """A network in training, and all that changes with its steps.

    Attributes
    ----------
    average
        Averaged weights; empty without, and before the first step.
    """

    network: nn.Module
    optimizer: AdamW
    average: dict[str, Tensor] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def update_average(self, decay: float) -> None:
        """Take the weights as they are now into their average."""
        for name, tensor in self.network.state_dict().items():
            if name not in self.average:
                self.average[name] = tensor.detach().clone()
            elif tensor.dtype.is_floating_point:
                self.average[name].lerp_(tensor.detach(), 1 - decay)
            else:
                self.average[name].copy_(tensor.detach())


def checkpoint_bytes(state: TrainerState, fitted: Fitted, epoch: int) -> bytes:
    """All that a fit needs to go on after an epoch, with its own digest at the end."""
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in fitted.state.items()}
    tensors |= {f"other.{name}": tensor for name, tensor in fitted.other.items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in state.optimizer.state().items()}
    about = {
        "epoch": str(epoch),
        "best_epoch": str(fitted.best_epoch),
        "other_epoch": str(fitted.other_epoch),
        "history": json.dumps(fitted.history),
    }
    kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    data = save(kept, about)
    return data + hashlib.sha256(data).digest()


def resume(checkpoint: Path, state: TrainerState, fitted: Fitted) -> int:
    """Put the state of a checkpoint back; the first epoch to do."""
    stored = checkpoint.read_bytes()
    data, digest = stored[:-_DIGEST_BYTES], stored[-_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        return 0  # a checkpoint is a convenience: a damaged one starts the unit over
    try:
        tensors = load(data)
        head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        epoch, best_epoch = int(head["epoch"]), int(head["best_epoch"])
        other_epoch = int(head.get("other_epoch", -1))
        history = json.loads(head["history"])
    except (SafetensorError, ValueError, KeyError, RecursionError):
        return 0  # left by another version, which wrote it otherwise
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        return 0
    device = state.device
    parts: dict[str, dict[str, Tensor]] = {
        part: {} for part in ("network", "best", "other", "average", "optimizer")
    }
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor.to(device)
    weights, moments = _kinds(state.network.state_dict()), _kinds(state.optimizer.state())
    expected: dict[str, tuple[Any, ...]] = {"network": (weights,), "optimizer": (moments,)}
    expected |= dict.fromkeys(("average", "best", "other"), (weights, {}))
    if not all(_kinds(parts[part]) in kinds for part, kinds in expected.items()):
        return 0  # left by another version, whose networks are built otherwise
    state.network.load_state_dict(parts["network"])
    state.optimizer.load(parts["optimizer"])
    state.average = parts["average"]
    fitted.state, fitted.best_epoch = parts["best"], best_epoch
    fitted.other, fitted.other_epoch = parts["other"], other_epoch
    fitted.history = history
    return epoch + 1


def _kinds(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
