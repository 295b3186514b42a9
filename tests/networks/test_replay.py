"""Captured training steps: they are the ordinary ones, in turns on one network, and the same at each run."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from labelfill.networks import fit as training
from labelfill.networks.architectures import FaceRegressor, PatchRegressor
from labelfill.networks.captured_steps import ReplayedEpochs
from labelfill.networks.fit import Examples, Fitted, Plan, fit
from labelfill.networks.memory import answers
from labelfill.networks.optimizer import AdamW
from tests.toy_examples import CPU, SIDE, examples

PLAN = Plan(epochs=5, batch_size=16, learning_rate=5e-3, bfloat16=False)


def benches(plan: Plan = PLAN, count: int = 2) -> list[training._Bench]:
    """Networks that are all the same to begin with."""
    made = []
    for _ in range(count):
        torch.manual_seed(1)
        network = PatchRegressor(SIDE)
        made.append(training._Bench(network, AdamW(network.parameters(), plan.weight_decay), plan))
    return made


def epochs(bench: training._Bench, plan: Plan, rows: list[int]) -> list[float]:
    """The losses of epochs of so many rows each."""
    losses = []
    for epoch, count in enumerate(rows):
        order = np.random.default_rng(epoch).permutation(count)
        losses.append(float(training._train_epoch(bench, examples(epoch, count), order, plan, epoch)))
    return losses


def apart(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    """The largest difference of any weight."""
    assert one.keys() == two.keys()
    return max(float((one[name].double() - two[name].double()).abs().max()) for name in one)


@pytest.mark.parametrize("rows", [[72] * 5, [72, 40, 72, 90, 33]], ids=["equal", "of any size"])
@pytest.mark.parametrize("averaged", [0.0, 0.9])
def test_steps_for_capture_are_the_ordinary_steps(rows: list[int], averaged: float) -> None:
    """Whatever epochs' sizes are, weights and losses end the same but for rounding of the learning rate."""
    plan = replace(PLAN, averaged=averaged, l1=1e-4)
    ordinary, other = benches(plan)
    other.replayed = ReplayedEpochs(other.step, CPU, capture=False)
    assert np.allclose(epochs(ordinary, plan, rows), epochs(other, plan, rows), rtol=1e-4)
    assert apart(ordinary.network.state_dict(), other.network.state_dict()) < 1e-4
    if averaged:
        assert apart(ordinary.average, other.average) < 1e-4
        assert apart(other.average, other.network.state_dict()) > 1e-3


def test_a_bench_begins_anew() -> None:
    """After other weights were trained on it, it does what a fresh one does."""
    fresh, used = benches()
    for bench in (fresh, used):
        bench.replayed = ReplayedEpochs(bench.step, CPU, capture=False)
    begun = {name: tensor.clone() for name, tensor in used.network.state_dict().items()}
    epochs(used, PLAN, [90, 64])
    used.network.load_state_dict(begun)
    used.optimizer.begin_anew()
    assert epochs(used, PLAN, [72, 72]) == epochs(fresh, PLAN, [72, 72])
    assert apart(fresh.network.state_dict(), used.network.state_dict()) == 0


def test_where_capturing_fails_training_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """A device that captures nothing, as a CPU, trains on in the ordinary way, and this is said once."""
    capturing, ordinary = benches()
    capturing.replayed = ReplayedEpochs(capturing.step, CPU)
    ordinary.replayed = ReplayedEpochs(ordinary.step, CPU, capture=False)
    with caplog.at_level(logging.WARNING, "labelfill"):
        assert epochs(capturing, PLAN, [72] * 3) == epochs(ordinary, PLAN, [72] * 3)
    assert apart(capturing.network.state_dict(), ordinary.network.state_dict()) == 0
    (record,) = caplog.records
    assert record.getMessage().startswith("training steps cannot be captured on cpu (")


# -- on a GPU ---------------------------------------------------------------------------------------


def learnt(
    seed: int, device: torch.device, *, capture: bool = True, plan: Plan = PLAN, face: bool = False,
    checkpoint: Path | None = None,
) -> Fitted:  # fmt: skip
    """A network of this seed, trained from the first epoch."""
    torch.manual_seed(seed)
    network = FaceRegressor(1, SIDE, 0, channels=(8, 16), hidden=32) if face else PatchRegressor(SIDE)
    if not capture:
        training._benches.clear()
    with pytest.MonkeyPatch.context() as patched:
        if not capture:
            patched.setattr(training, "ReplayedEpochs", lambda *_: None)
        return fit(
            network.to(device), lambda epoch: examples(epoch, 72 + epoch % 2, device=device),
            examples(99, device=device), plan, key=(seed, "toy"), checkpoint=checkpoint,
        )  # fmt: skip


@pytest.fixture
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    training._benches.clear()
    return torch.device("cuda:0")


@pytest.mark.gpu
@pytest.mark.parametrize("averaged", [0.0, 0.9])
def test_captured_steps_are_those_that_are_not(gpu: torch.device, averaged: float) -> None:
    """A network is trained alike by captured steps and by steps launched one by one."""
    plan = replace(PLAN, averaged=averaged)
    captured = learnt(3, gpu, plan=plan)
    if not averaged:  # benches of averaged weights are not kept
        (bench,) = training._benches.values()
        assert bench.replayed is not None
        assert len(bench.replayed._graphs) == 3, "batches of 18 and 19 rows; of 18 without likelihood"
    launched = learnt(3, gpu, plan=plan, capture=False)
    assert apart(captured.state, launched.state) < 5e-3
    assert np.allclose(
        [one["rmse"] for one in captured.history], [one["rmse"] for one in launched.history], atol=0.02
    )


@pytest.mark.gpu
def test_networks_take_turns_in_one_capture(gpu: torch.device) -> None:
    """What a network learns does not depend on which networks were trained before it, to the last byte."""
    first, second = learnt(3, gpu), learnt(4, gpu)
    again = learnt(3, gpu)
    assert len(training._benches) == 1
    assert apart(first.state, second.state) > 1e-2
    assert apart(first.state, again.state) == 0
    assert first.history == again.history


@pytest.mark.gpu
def test_dropout_of_captured_steps_comes_from_the_key(gpu: torch.device) -> None:
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
