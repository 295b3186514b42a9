"""Steps of AdamW without PyTorch's compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from labelfill.networks.architectures import PatchRegressor
from labelfill.networks.optimizer import AdamW


def network() -> PatchRegressor:
    torch.manual_seed(0)
    return PatchRegressor(16).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def learn(one: PatchRegressor, step: int) -> None:
    patches = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(step))
    one(patches, patches.new_zeros(8, 0)).square().sum().backward()


def test_weights_move_as_by_the_library_s_optimizer() -> None:
    """The same weights, bit by bit, after steps of changing length; also where it went on from a state."""
    ours, theirs = network(), network()
    known = torch.optim.AdamW(theirs.parameters(), weight_decay=0.01, fused=True)
    own = AdamW(ours.parameters(), 0.01)
    for step in range(6):
        if step == 3:
            before, own = own.state(), AdamW(ours.parameters(), 0.01)
            own.load(before)
        learn(ours, step)
        learn(theirs, step)
        own.step(1e-3 * (step + 1))
        known.param_groups[0]["lr"] = 1e-3 * (step + 1)
        known.step()
        known.zero_grad()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.grad is None


@pytest.mark.slow
def test_training_does_not_load_the_compiler() -> None:
    """It would cost every worker process some seconds."""
    code = (
        "import sys, torch; from labelfill.networks.architectures import PatchRegressor;"
        "from labelfill.networks.fit import Examples, Plan, fit;"
        "x = torch.randn(8, 1, 16, 16); one = torch.ones(8);"
        "examples = Examples(x, x.new_zeros(8, 0), x.new_zeros(8, 1, 2), x.new_ones(8, 1), one);"
        "fit(PatchRegressor(16), lambda _: examples, examples, Plan(2, 4, 1e-3), key=(0, 'test'));"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
