"""AdamW (Loshchilov & Hutter 2019) as PyTorch computes it, without loading PyTorch's compiler.

`torch.optim.AdamW` loads the compiler when it is made, which costs every worker process four seconds of
processor time; the function that it calls for each step does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

# On other devices each weight is updated by several calls.
_FUSED = ("cpu", "cuda")


class AdamW:
    """Steps of decoupled weight decay and adaptive moments; its state goes into checkpoints.

    Parameters
    ----------
    parameters
        All on one device; those without a gradient stay as they are.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], weight_decay: float) -> None:
        self._parameters = list(parameters)
        self._weight_decay = weight_decay
        device = self._parameters[0].device
        self._fused = device.type in _FUSED
        counted_on = device if self._fused else "cpu"
        # A fused step goes through memory in one order: moments lie there as their weights do.
        self._first = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._second = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._steps = [torch.zeros((), device=counted_on) for _ in self._parameters]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move the weights by their gradients, and forget these."""
        used = [number for number, one in enumerate(self._parameters) if one.grad is not None]
        gradients = [self._parameters[number].grad for number in used]
        adamw(
            [self._parameters[number] for number in used],
            [gradient for gradient in gradients if gradient is not None],
            [self._first[number] for number in used],
            [self._second[number] for number in used],
            [],
            [self._steps[number] for number in used],
            foreach=False, fused=self._fused, amsgrad=False, beta1=0.9, beta2=0.999, eps=1e-8,
            lr=learning_rate, weight_decay=self._weight_decay, maximize=False,
        )  # fmt: skip
        for parameter in self._parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Moments and numbers of steps, by ``NUMBER.NAME``."""
        named = {"exp_avg": self._first, "exp_avg_sq": self._second, "step": self._steps}
        return {f"{n}.{name}": one for name, tensors in named.items() for n, one in enumerate(tensors)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that was taken before."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
