"""One fit loop for every network."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from labelfill.networks.captured_steps import ReplayedEpochs
from labelfill.networks.devices import arithmetic, half_precision
from labelfill.networks.memory import answers
from labelfill.networks.optimizer import AdamW
from labelfill.runs import write_bytes
from labelfill.runs.randomness import random_key

Order = np.ndarray[Any, np.dtype[np.int64]]

_log = logging.getLogger("labelfill")

# Log sigma is held to a range in which the likelihood's gradients stay sane.
_LOG_SIGMA_RANGE = 4.0
# The last part of training minimises the squared error alone: the likelihood neglects hard rows.
_LIKELIHOOD_SHARE = 0.8
# Epochs of small tables take less time than keeping their state: what a killed job loses is the epoch at hand
# or these seconds.
_KEPT_EVERY = 2.0
# Networks built alike take turns in one captured step; of so many kinds it is kept.
_KEPT_BENCHES = 4
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Examples:
    """What a network learns from, or is validated on, in one epoch; all on the device.

    Attributes
    ----------
    inputs
        (n, 1, S, S).
    evidence
        (n, E).
    target
        (n, K, 2), in the network's own unit; arbitrary where the weight is 0.
    weight
        (n, K): how much each target counts; 0 where there is none.
    scale
        (n,): px per unit of the target, for figures in px.
    """

    inputs: Tensor
    evidence: Tensor
    target: Tensor
    weight: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn.

    Attributes
    ----------
    best_by
        Validation figure that chooses the epoch: ``rmse`` or ``mae``.
    also_by
        A further figure by which to keep the best weights.
    averaged
        Decay of averaged weights; 0 for none.
    shuffle
        Whether every epoch has an order of its own.
    constant
        Whether the learning rate stays as it is; else it rises and falls once.
    l1, l2
        Penalties on the sizes and squares of weights, those of biases and normalisations left out.
    bfloat16
        Whether the layers' products may be computed in bfloat16, where the processor has it.
    channels_last
        Whether the weights lie in memory channel by channel last, which convolutions on a CPU like.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 1e-2
    best_by: str = "rmse"
    also_by: str | None = None
    averaged: float = 0.0
    shuffle: bool = True
    constant: bool = False
    l1: float = 0.0
    l2: float = 0.0
    bfloat16: bool = True
    channels_last: bool = True


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


def fit(
    network: nn.Module,
    draw: Callable[[int], Examples],
    validation: Examples | None,
    plan: Plan,
    *,
    key: Sequence[int | str],
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Fitted:
    """Train a network and keep the weights of its best epoch by validation error.

    Parameters
    ----------
    draw
        From the epoch's number (from 0) to that epoch's examples, freshly sampled and jittered.
    validation
        Fixed examples of rows that are not trained on; None keeps the last epoch.
    key
        Where the randomness comes from: (seed, stage, keypoint, ...).
    checkpoint
        File to which the state goes after an epoch, unless it did so a moment before, and from which an
        interrupted fit goes on.
    on_epoch
        Is told each epoch's figures, those of epochs before an interruption first.
    """
    seed, *place = key
    if plan.channels_last:  # convolutions and pooling take two thirds of the time otherwise
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it
    bench = _bench(network, plan)
    fitted = Fitted({}, -1)
    start = 0
    kept = time.monotonic()
    if checkpoint is not None and checkpoint.is_file():
        start = _resume(checkpoint, bench, fitted)
        if on_epoch is not None:
            for figures in fitted.history:
                on_epoch(figures)
    draws = _Draws(draw, bench.device)
    for epoch in range(start, plan.epochs):
        examples = draws.take(epoch)
        order = np.arange(len(examples.inputs))
        if plan.shuffle:
            order = np.random.default_rng(random_key(int(seed), *place, epoch, "order")).permutation(order)
        torch.manual_seed(random_key(int(seed), *place, epoch, "dropout"))  # dropout knows no other source
        with arithmetic(bench.device, tf32=True):
            total = _train_epoch(bench, examples, order, plan, epoch)
        last = epoch + 1 == plan.epochs
        if not last:
            draws.ahead(epoch + 1)
        loss = float(total) / _step_count(order, plan)  # the epoch's one synchronisation with the device
        shown = bench.average or bench.network.state_dict()
        figures = {"epoch": float(epoch), "loss": loss, **_errors(bench, validation)}
        fitted.history.append(figures)
        if _is_better(figures, fitted.history, fitted.best_epoch, plan.best_by):
            fitted.best_epoch, fitted.state = epoch, _copied(shown)
        if plan.also_by and _is_better(figures, fitted.history, fitted.other_epoch, plan.also_by):
            fitted.other_epoch, fitted.other = epoch, _copied(shown)
        if checkpoint is not None and (last or time.monotonic() - kept >= _KEPT_EVERY):
            state = _frozen(bench, fitted, epoch)
            write_bytes(checkpoint, state + hashlib.sha256(state).digest())
            kept = time.monotonic()
        if on_epoch is not None:
            on_epoch(figures)
    network.load_state_dict(fitted.state)
    network.eval()
    return fitted


def _is_better(figures: dict[str, float], history: list[dict[str, float]], best: int, by: str) -> bool:
    """Whether an epoch beats the best one so far; without validation the last is the best."""
    return by not in figures or best < 0 or figures[by] < history[best][by]


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


class _Draws:
    """An epoch's examples; on a GPU those of the next are drawn while it still learns from the last."""

    def __init__(self, draw: Callable[[int], Examples], device: torch.device) -> None:
        self._draw = draw
        self._aside: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's types lack it
        self._drawn: Examples | None = None

    def take(self, epoch: int) -> Examples:
        """What was drawn ahead must be kept until the epoch is computed: its memory is another stream's."""
        drawn, self._drawn = self._drawn, None
        if self._aside is None:
            return self._draw(epoch)
        here = torch.cuda.current_stream(self._aside.device)
        if drawn is None:
            drawn = self._draw(epoch)
            self._aside.wait_stream(here)  # images that were prepared for the first draw serve all
        here.wait_stream(self._aside)
        return drawn

    def ahead(self, epoch: int) -> None:
        if self._aside is not None:
            with torch.cuda.stream(self._aside):
                self._drawn = self._draw(epoch)


@dataclass
class _Bench:
    """A network on which steps are done, and all that changes with them.

    Attributes
    ----------
    average
        Averaged weights; empty without, and before the first step.
    replayed
        The same steps captured, on a GPU.
    """

    network: nn.Module
    optimizer: AdamW
    plan: Plan
    average: dict[str, Tensor] = field(default_factory=dict)
    replayed: ReplayedEpochs | None = None

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def step(self, batch: tuple[Tensor, ...], rate: float | Tensor, likelihood: bool) -> Tensor:
        """Move the weights by what a batch tells: inputs, evidence, targets and weights; its loss."""
        inputs, evidence, target, weight = batch
        self.network.zero_grad(set_to_none=True)  # what a step left that could not be captured
        with half_precision(inputs.device, self.plan.bfloat16):
            answer = self.network(inputs, evidence)
        loss = keypoint_loss(answer.float(), target, weight, likelihood=likelihood)
        if self.plan.l1 or self.plan.l2:
            loss = loss + _penalty(self.network, self.plan)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.optimizer.step(rate)
        if self.plan.averaged:
            _update_average(self.network, self.average, self.plan.averaged)
        return loss.detach()


# By how a network is built and learns: what a GPU captured of its steps.
_benches: dict[tuple[str, str, Plan], _Bench] = {}


def _bench(network: nn.Module, plan: Plan) -> _Bench:
    """Where a network's steps are done: itself, or on a GPU one built alike whose steps are captured."""
    bench = _Bench(network, AdamW(network.parameters(), plan.weight_decay), plan)
    if bench.device.type != "cuda":
        return bench
    kind = (repr(network), str(bench.device), plan)
    if kind in _benches:
        bench = _benches.pop(kind)  # and back: the one that was used last is kept longest
        bench.network.load_state_dict(network.state_dict())
        bench.optimizer.begin_anew()
    else:
        # One of its own: the caller's may go where its weights are put in place of these.
        bench = replace(bench, network=deepcopy(network))
        bench.optimizer = AdamW(bench.network.parameters(), plan.weight_decay)
        bench.replayed = ReplayedEpochs(bench.step, bench.device)
    if not plan.averaged:  # averages begin with a network's first step, which is no other step
        _benches[kind] = bench
        while len(_benches) > _KEPT_BENCHES:
            del _benches[next(iter(_benches))]
    return bench


def _step_count(order: Order, plan: Plan) -> int:
    return max(1, len(order) // plan.batch_size)


def _train_epoch(bench: _Bench, examples: Examples, order: Order, plan: Plan, epoch: int) -> Tensor:
    """An epoch's steps; the sum of their losses, which a GPU may still compute."""
    network, device = bench.network, examples.inputs.device
    network.train()
    steps = _step_count(order, plan)
    # Batches of equal size: a last batch of one or two rows would upset batch normalisation.
    begins = [step * len(order) // steps for step in range(steps + 1)]
    progress = [(epoch + (step + 0.5) / steps) / plan.epochs for step in range(steps)]
    rates = [plan.learning_rate * (1.0 if plan.constant else _one_cycle(done)) for done in progress]
    likelihood = epoch < _LIKELIHOOD_SHARE * plan.epochs
    shuffled = torch.from_numpy(order).to(device)
    learnt = (examples.inputs, examples.evidence, examples.target, examples.weight)
    if bench.replayed is not None and len(order) > 1:
        return bench.replayed.run(learnt, shuffled, begins, rates, likelihood)
    total = torch.zeros((), device=device)
    for begin, end, rate in zip(begins[:-1], begins[1:], rates, strict=True):
        if end - begin > 1:
            rows = shuffled[begin:end]
            batch = tuple(tensor[rows] for tensor in learnt)
            total += bench.step(batch, rate, likelihood)
    return total


def _penalty(network: nn.Module, plan: Plan) -> Tensor:
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    sizes = torch.stack([weight.abs().sum() for weight in weights]).sum()
    squares = torch.stack([weight.square().sum() for weight in weights]).sum()
    return plan.l1 * sizes + plan.l2 * squares


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
    log_sigma = answer[..., 2].clamp(-_LOG_SIGMA_RANGE, _LOG_SIGMA_RANGE)
    if likelihood:
        each = log_sigma + 0.5 * error * torch.exp(-2 * log_sigma)
    else:
        each = error + log_sigma + 0.5 * error.detach() * torch.exp(-2 * log_sigma)
    return (each * weight).sum() / weight.sum().clamp_min(1e-6)


def _one_cycle(progress: float) -> float:
    """Rises over the first fifth, then falls to 0 (Smith & Topin 2018, super-convergence)."""
    rise = 0.2
    if progress < rise:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / rise)) / 2
    return (1 + math.cos(math.pi * (progress - rise) / (1 - rise))) / 2


def _update_average(network: nn.Module, average: dict[str, Tensor], decay: float) -> None:
    for name, tensor in network.state_dict().items():
        if name not in average:
            average[name] = tensor.detach().clone()
        elif tensor.dtype.is_floating_point:
            average[name].lerp_(tensor.detach(), 1 - decay)
        else:
            average[name].copy_(tensor.detach())


def _errors(bench: _Bench, validation: Examples | None) -> dict[str, float]:
    """Validation RMSE per coordinate and MAE, px, of the network with its averaged weights, if it has any."""
    if validation is None:
        return {}
    network, average = bench.network, bench.average
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()} if average else {}
    if average:
        network.load_state_dict(average)
    answer = answers(network, validation.inputs, validation.evidence, padded=False)[..., :2]
    if average:
        network.load_state_dict(own)
    present = (validation.weight > 0)[..., None]
    error = torch.where(present, (answer - validation.target) * validation.scale[:, None, None], 0.0)
    count = present.sum().clamp_min(1) * 2
    return {
        "rmse": float((error.square().sum() / count).sqrt()),
        "mae": float(error.abs().sum() / count),
    }


def _frozen(bench: _Bench, fitted: Fitted, epoch: int) -> bytes:
    tensors = {f"network.{name}": tensor for name, tensor in bench.network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in fitted.state.items()}
    tensors |= {f"other.{name}": tensor for name, tensor in fitted.other.items()}
    tensors |= {f"average.{name}": tensor for name, tensor in bench.average.items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in bench.optimizer.state().items()}
    about = {
        "epoch": str(epoch),
        "best_epoch": str(fitted.best_epoch),
        "other_epoch": str(fitted.other_epoch),
        "history": json.dumps(fitted.history),
    }
    return save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, about)


def _resume(checkpoint: Path, bench: _Bench, fitted: Fitted) -> int:
    """Put the state of a checkpoint back; the first epoch to do."""
    stored = checkpoint.read_bytes()
    data, digest = stored[:-_DIGEST_BYTES], stored[-_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        return 0  # a checkpoint is a convenience: a damaged one starts the unit over
    try:
        tensors = load(data)
        head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    except (SafetensorError, ValueError, KeyError):
        return 0  # left by another version, which wrote it otherwise
    device = bench.device
    parts: dict[str, dict[str, Tensor]] = {
        part: {} for part in ("network", "best", "other", "average", "optimizer")
    }
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor.to(device)
    fresh = {name: (tensor.shape, tensor.dtype) for name, tensor in bench.network.state_dict().items()}
    if fresh != {name: (tensor.shape, tensor.dtype) for name, tensor in parts["network"].items()}:
        return 0  # left by another version, whose networks are built otherwise
    bench.network.load_state_dict(parts["network"])
    bench.optimizer.load(parts["optimizer"])
    bench.average = parts["average"]
    fitted.state, fitted.best_epoch = parts["best"], int(head["best_epoch"])
    fitted.other, fitted.other_epoch = parts["other"], int(head.get("other_epoch", -1))
    fitted.history = json.loads(head["history"])
    return int(head["epoch"]) + 1
