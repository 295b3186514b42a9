"""One fit loop for every network."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelfill.networks.checkpoints import Fitted, TrainerState, checkpoint_bytes, resume
from labelfill.networks.devices import arithmetic, half_precision
from labelfill.networks.loss import keypoint_loss, weight_penalty
from labelfill.networks.memory import answers, keep_freed_memory
from labelfill.networks.optimizer import AdamW
from labelfill.runs import write_bytes
from labelfill.runs.randomness import random_key

Order = np.ndarray[Any, np.dtype[np.int64]]

_log = logging.getLogger("labelfill")

# The last part of training minimises the squared error alone: the likelihood neglects hard rows.
_LIKELIHOOD_SHARE = 0.8
# Epochs of small tables take less time than keeping their state: what a killed job loses is the epoch at hand
# or these seconds.
_KEPT_EVERY = 2.0
# How often an epoch goes through few examples at most.
_MOST_PASSES = 12.0
# An epoch of few examples is divided into so many steps at least.
_STEPS_OF_EPOCH = 10


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

    def over(self, examples: int, least_steps: int) -> tuple[Plan, float]:
        """The plan for so many examples, and how often an epoch goes through them.

        For at least so many steps in all, in smaller batches where an epoch would have hardly any.
        """
        needed = least_steps * self.batch_size / (max(examples, 1) * self.epochs)
        passes = min(max(needed, 1.0), _MOST_PASSES)
        most = max(round(passes * examples) // _STEPS_OF_EPOCH, 1)
        return replace(self, batch_size=min(self.batch_size, most)), passes


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
    keep_freed_memory()
    seed, *place = key
    if plan.channels_last:  # convolutions and pooling take two thirds of the time otherwise
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it
    state = TrainerState(network, AdamW(network.parameters(), plan.weight_decay))
    fitted = Fitted({}, -1)
    start = 0
    kept = time.monotonic()
    if checkpoint is not None and checkpoint.is_file():
        start = resume(checkpoint, state, fitted)
        if on_epoch is not None:
            for figures in fitted.history:
                on_epoch(figures)
    for epoch in range(start, plan.epochs):
        examples = draw(epoch)
        order = np.arange(len(examples.inputs))
        if plan.shuffle:
            order = np.random.default_rng(random_key(int(seed), *place, epoch, "order")).permutation(order)
        torch.manual_seed(random_key(int(seed), *place, epoch, "dropout"))  # dropout knows no other source
        with arithmetic(state.device, tf32=True):
            total = _train_epoch(state, examples, order, plan, epoch)
        last = epoch + 1 == plan.epochs
        loss = float(total) / _step_count(order, plan)  # the epoch's one synchronisation with the device
        weights = state.average or network.state_dict()
        figures = {"epoch": float(epoch), "loss": loss, **_errors(state, validation)}
        fitted.history.append(figures)
        if beats(fitted.history, epoch, fitted.best_epoch, plan.best_by):
            fitted.best_epoch, fitted.state = epoch, _copied(weights)
        if plan.also_by and beats(fitted.history, epoch, fitted.other_epoch, plan.also_by):
            fitted.other_epoch, fitted.other = epoch, _copied(weights)
        if checkpoint is not None and (last or time.monotonic() - kept >= _KEPT_EVERY):
            write_bytes(checkpoint, checkpoint_bytes(state, fitted, epoch))
            kept = time.monotonic()
        if on_epoch is not None:
            on_epoch(figures)
    network.load_state_dict(fitted.state)
    network.eval()
    return fitted


def beats(history: list[dict[str, float]], epoch: int, best: int, by: str) -> bool:
    """Whether an epoch beats the best one so far; without validation the last is the best."""
    return by not in history[epoch] or best < 0 or history[epoch][by] < history[best][by]


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _step_count(order: Order, plan: Plan) -> int:
    return max(1, len(order) // plan.batch_size)


def _train_epoch(state: TrainerState, examples: Examples, order: Order, plan: Plan, epoch: int) -> Tensor:
    """An epoch's steps; the sum of their losses, which a GPU may still compute."""
    device = examples.inputs.device
    state.network.train()
    steps = _step_count(order, plan)
    # Batches of equal size: a last batch of one or two rows would upset batch normalisation.
    begins = [step * len(order) // steps for step in range(steps + 1)]
    progress = [(epoch + (step + 0.5) / steps) / plan.epochs for step in range(steps)]
    rates = [plan.learning_rate * (1.0 if plan.constant else _one_cycle(done)) for done in progress]
    likelihood = epoch < _LIKELIHOOD_SHARE * plan.epochs
    shuffled = torch.from_numpy(order).to(device)
    learnt = (examples.inputs, examples.evidence, examples.target, examples.weight)
    total = torch.zeros((), device=device)
    for begin, end, rate in zip(begins[:-1], begins[1:], rates, strict=True):
        if end - begin > 1:
            rows = shuffled[begin:end]
            batch = tuple(tensor[rows] for tensor in learnt)
            total += _step(state, batch, plan, rate, likelihood)
    return total


def _step(
    state: TrainerState, batch: tuple[Tensor, ...], plan: Plan, rate: float, likelihood: bool
) -> Tensor:
    """Move the weights by what a batch tells: inputs, evidence, targets and weights; its loss."""
    inputs, evidence, target, weight = batch
    with half_precision(inputs.device, plan.bfloat16):
        answer = state.network(inputs, evidence)
    loss = keypoint_loss(answer.float(), target, weight, likelihood=likelihood)
    if plan.l1 or plan.l2:
        loss = loss + weight_penalty(state.network, plan.l1, plan.l2)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    state.optimizer.step(rate)
    if plan.averaged:
        state.update_average(plan.averaged)
    return loss.detach()


def _one_cycle(progress: float) -> float:
    """Rises over the first fifth, then falls to 0 (Smith & Topin 2018, super-convergence)."""
    rise = 0.2
    if progress < rise:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / rise)) / 2
    return (1 + math.cos(math.pi * (progress - rise) / (1 - rise))) / 2


def _errors(state: TrainerState, validation: Examples | None) -> dict[str, float]:
    """Validation RMSE per coordinate and MAE, px, of the network with its averaged weights, if it has any."""
    if validation is None:
        return {}
    network, average = state.network, state.average
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()} if average else {}
    if average:
        network.load_state_dict(average)
    answer = answers(network, validation.inputs, validation.evidence, padded=False)[..., :2]
    if average:
        network.load_state_dict(weights)
    present = (validation.weight > 0)[..., None]
    error = torch.where(present, (answer - validation.target) * validation.scale[:, None, None], 0.0)
    count = present.sum().clamp_min(1) * 2
    return {"rmse": float((error.square().sum() / count).sqrt()), "mae": float(error.abs().sum() / count)}
