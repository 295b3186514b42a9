"""Training and answering on a GPU: the same at each run, and as the CPU does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from labelfill.networks import fit as training
from labelfill.networks.architectures import FaceRegressor, PatchRegressor
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.fit import Examples, Plan, fit
from labelfill.networks.memory import answers
from tests.toy_examples import SIDE, examples

PLAN = Plan(epochs=5, batch_size=16, learning_rate=5e-3, bfloat16=False)


def apart(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    """The largest difference of any weight."""
    assert one.keys() == two.keys()
    return max(float((one[name].double() - two[name].double()).abs().max()) for name in one)


def learnt(seed: int, device: torch.device, *, face: bool = False, checkpoint: Path | None = None) -> Fitted:
    """A network of this seed, trained from the first epoch."""
    torch.manual_seed(seed)
    network = FaceRegressor(1, SIDE, 0, channels=(8, 16), hidden=32) if face else PatchRegressor(SIDE)
    return fit(
        network.to(device), lambda epoch: examples(epoch, 72 + epoch % 2, device=device),
        examples(99, device=device), PLAN, key=(seed, "toy"), checkpoint=checkpoint,
    )  # fmt: skip


@pytest.fixture
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device("cuda:0")


@pytest.mark.gpu
def test_networks_learn_apart_from_each_other(gpu: torch.device) -> None:
    """What a network learns does not depend on which networks were trained before it, to the last byte."""
    first, second = learnt(3, gpu), learnt(4, gpu)
    again = learnt(3, gpu)
    assert apart(first.state, second.state) > 1e-2
    assert apart(first.state, again.state) == 0
    assert first.history == again.history


@pytest.mark.gpu
def test_dropout_comes_from_the_key(gpu: torch.device) -> None:
    """It differs from step to step, and is the same at each run."""
    first = learnt(3, gpu, face=True)
    torch.rand(5, device=gpu)
    assert apart(first.state, learnt(3, gpu, face=True).state) == 0
    assert len({one["loss"] for one in first.history}) == len(first.history)


@pytest.mark.gpu
def test_a_gpu_goes_on_where_it_was_stopped(gpu: torch.device, tmp_path: Path) -> None:
    """From a state that was kept to the weights of a run that was not stopped."""
    whole = learnt(3, gpu)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "_KEPT_EVERY", 0.0)

        def stop(epoch: int) -> Examples:
            if epoch == 3:
                raise KeyboardInterrupt
            return examples(epoch, 72 + epoch % 2, device=gpu)

        torch.manual_seed(3)
        with pytest.raises(KeyboardInterrupt):
            fit(
                PatchRegressor(SIDE).to(gpu), stop, examples(99, device=gpu), PLAN, key=(3, "toy"),
                checkpoint=tmp_path / "state",
            )  # fmt: skip
    went_on = learnt(3, gpu, checkpoint=tmp_path / "state")
    assert (tmp_path / "state").is_file()
    assert apart(whole.state, went_on.state) == 0
    assert whole.history == went_on.history


@pytest.mark.gpu
def test_a_gpu_answers_as_the_cpu_does(gpu: torch.device) -> None:
    """The same weights answer the same, but for the last digits of float32."""
    torch.manual_seed(0)
    network = PatchRegressor(SIDE)
    shown = examples(5, 700)
    on_cpu = answers(network, shown.inputs, shown.evidence)
    there = answers(network.to(gpu), shown.inputs.to(gpu), shown.evidence.to(gpu)).cpu()
    assert float((on_cpu - there).abs().max()) < 1e-4
