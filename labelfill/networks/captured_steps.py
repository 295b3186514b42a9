"""Training steps on a CUDA device, captured as graphs and replayed.

A step of these small networks is a hundred short kernels, which Python hands to the device more slowly than
it computes them. A CUDA graph holds a whole step, drawing its batch and moving the weights included, and is
handed over by one call. Whatever it reads and writes lies at places of its own, so that networks which are
built alike take turns in one set of graphs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

_log = logging.getLogger("labelfill")

# From a batch's tensors, the learning rate (one number) and whether to learn by the likelihood: the step is
# done and its loss told.
Step = Callable[[tuple[Tensor, ...], Tensor, bool], Tensor]

# A step is done in the ordinary way this often before it is captured: libraries set themselves up meanwhile.
_BEFORE_CAPTURE = 2


class ReplayedEpochs:
    """Epochs of training steps, each step captured once for each size of a batch.

    Parameters
    ----------
    step
        Must wait for nothing: whatever it decides is decided by tensors, or stays as it is.
    capture
        False does every step in the ordinary way, on any device.
    """

    def __init__(self, step: Step, device: torch.device, *, capture: bool = True) -> None:
        self._step, self._device, self._capture = step, device, capture
        self._examples: tuple[Tensor, ...] = ()
        self._order = torch.zeros(0, dtype=torch.int64, device=device)
        self._begins, self._rates = self._order, torch.zeros(0, device=device)
        self._position = torch.zeros(1, dtype=torch.int64, device=device)
        self._total = torch.zeros((), device=device)
        self._graphs: dict[tuple[int, bool], torch.cuda.CUDAGraph] = {}
        self._done: dict[tuple[int, bool], int] = {}

    def run(
        self,
        examples: Sequence[Tensor],
        order: Tensor,
        begins: Sequence[int],
        rates: Sequence[float],
        likelihood: bool,
    ) -> Tensor:
        """The sum of the losses of an epoch's steps; it may still be computed when this returns.

        Parameters
        ----------
        examples
            Tensors of equally many rows, of which a step takes some.
        order
            (n,) in which order rows are taken.
        begins
            Where in that order each batch begins, and at last n.
        rates
            Learning rate of each step.
        """
        self._put(examples, order, begins, rates)
        for before, after in pairwise(begins):
            kind = (after - before, likelihood)
            if kind in self._graphs:
                self._graphs[kind].replay()
                continue
            self._next(*kind)
            self._done[kind] = self._done.get(kind, 0) + 1
            if self._capture and self._done[kind] >= _BEFORE_CAPTURE:
                self._keep(kind)
        return self._total

    def _keep(self, kind: tuple[int, bool]) -> None:
        """Capture a step; where that does not work, steps are done in the ordinary way from now on."""
        try:
            self._graphs[kind] = self._captured(kind)
        except RuntimeError as error:  # of an old driver, say: it costs time, and nothing else
            _log.warning(
                "training steps cannot be captured on %s (%s); going on without, which takes longer",
                self._device, str(error).splitlines()[0],
            )  # fmt: skip
            self._capture = False

    def _put(
        self, examples: Sequence[Tensor], order: Tensor, begins: Sequence[int], rates: Sequence[float]
    ) -> None:
        """Put an epoch where the graphs look for it; they begin anew if it does not fit there."""
        fits = (
            len(self._examples) == len(examples)
            and len(order) <= len(self._order)
            and len(begins) <= len(self._begins)
            and all(a.shape[1:] == b.shape[1:] for a, b in zip(self._examples, examples, strict=True))
        )
        if not fits:
            self._graphs.clear()
            self._done.clear()
            self._examples = tuple(torch.empty_like(tensor) for tensor in examples)
            self._order = torch.empty_like(order, device=self._device)
            self._begins = torch.zeros(len(begins), dtype=torch.int64, device=self._device)
            self._rates = torch.zeros(len(begins), device=self._device)
        for held, tensor in zip(self._examples, examples, strict=True):
            held[: len(tensor)].copy_(tensor)
        self._order[: len(order)].copy_(order)
        self._begins[: len(begins)].copy_(torch.tensor(begins))
        self._rates[: len(rates)].copy_(torch.tensor(rates))
        self._position.zero_()
        self._total.zero_()

    def _next(self, size: int, likelihood: bool) -> None:
        """The step whose turn it is; the device itself counts them."""
        place = torch.arange(size, device=self._device) + self._begins.index_select(0, self._position)
        rows = self._order.index_select(0, place)
        batch = tuple(tensor.index_select(0, rows) for tensor in self._examples)
        rate = self._rates.index_select(0, self._position).reshape(())
        self._total += self._step(batch, rate, likelihood)
        self._position += 1

    def _captured(self, kind: tuple[int, bool]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # torch's types lack it
        aside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(aside):
            # Not by `torch.cuda.graph`, which collects garbage first, and takes longer than all else here.
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                self._next(*kind)
            finally:
                graph.capture_end()
        torch.cuda.current_stream(self._device).wait_stream(aside)
        return graph
