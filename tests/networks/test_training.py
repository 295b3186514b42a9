"""The one fit loop: it learns, keeps the best epoch, and goes on where it was stopped."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelfill.errors import DeviceError
from labelfill.networks import devices, memory
from labelfill.networks import fit as training
from labelfill.networks.architectures import FaceRegressor, PatchRegressor
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.devices import choose_device
from labelfill.networks.fit import Examples, Plan, fit
from labelfill.networks.fit import _one_cycle as one_cycle
from labelfill.networks.loss import keypoint_loss
from labelfill.networks.memory import answers
from labelfill.runs.randomness import random_key
from tests.toy_examples import SIDE, examples

PACKAGE = Path(__file__).parents[2] / "labelfill"
PLAN = Plan(epochs=6, batch_size=16, learning_rate=5e-3)


class Stopped(Exception):
    """Stands for a killed process."""


def learn(
    plan: Plan = PLAN,
    *,
    checkpoint: Path | None = None,
    validation: Examples | None = None,
    stop_before: int | None = None,
    face: bool = False,
    drawn: list[int] | None = None,
) -> Fitted:
    def draw(epoch: int) -> Examples:
        if epoch == stop_before:
            raise Stopped
        if drawn is not None:
            drawn.append(epoch)
        return examples(epoch, keypoints=2 if face else 1)

    torch.manual_seed(1)
    network = FaceRegressor(2, SIDE, 0, channels=(8, 16), hidden=32) if face else PatchRegressor(SIDE)
    held_out = examples(99, keypoints=2 if face else 1) if validation is None else validation
    return fit(network, draw, held_out, plan, key=(0, "toy"), checkpoint=checkpoint)


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    """Byte for byte."""
    return one.keys() == two.keys() and all(
        one[name].cpu().contiguous().numpy().tobytes() == two[name].cpu().contiguous().numpy().tobytes()
        for name in one
    )


# -- fitting ----------------------------------------------------------------------------------------


def test_a_network_learns() -> None:
    """On a toy problem the validation error falls to less than half, well below answering the mean."""
    torch.manual_seed(1)
    plan = replace(PLAN, epochs=8)
    fitted = fit(PatchRegressor(SIDE), lambda epoch: examples(epoch, 320), examples(99), plan, key=(0, "toy"))
    errors = [epoch["rmse"] for epoch in fitted.history]
    assert [epoch["epoch"] for epoch in fitted.history] == list(range(8))
    assert errors[fitted.best_epoch] == min(errors)
    assert min(errors) < errors[0] / 2
    assert min(errors) < 0.5 * 6.0 / np.sqrt(12)  # the spread of targets, px
    assert fitted.history[-1]["mae"] < fitted.history[-1]["rmse"]


def test_the_same_key_learns_the_same() -> None:
    """Two fits of the same seed end with the same bytes; randomness is not taken from global state."""
    first = learn(face=True)
    torch.manual_seed(7)
    torch.rand(3)
    assert same(first.state, learn(face=True).state)


@pytest.fixture
def after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are kept however short the epochs are."""
    monkeypatch.setattr(training, "_KEPT_EVERY", 0.0)


@pytest.mark.usefixtures("after_every_epoch")
@pytest.mark.parametrize("stop_before", [1, 3, 5])
@pytest.mark.parametrize("face", [False, True], ids=["patch", "face"])
@pytest.mark.parametrize("averaged", [0.0, 0.9])
def test_a_killed_fit_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, stop_before: int, face: bool, averaged: float
) -> None:
    """A fit killed and started again gives the weights of an undisturbed one, byte for byte."""
    plan = replace(PLAN, averaged=averaged)
    undisturbed = learn(plan, face=face)
    checkpoint = tmp_path / "unfinished.safetensors"
    with pytest.raises(Stopped):
        learn(plan, checkpoint=checkpoint, stop_before=stop_before, face=face)
    drawn: list[int] = []
    resumed = learn(plan, checkpoint=checkpoint, face=face, drawn=drawn)
    assert drawn == list(range(stop_before, 6))
    assert resumed.history == undisturbed.history
    assert resumed.best_epoch == undisturbed.best_epoch
    assert same(resumed.state, undisturbed.state)


def test_short_epochs_are_not_kept_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit of a moment writes its state once, at its end; killed before, it begins again to the same end."""
    monkeypatch.setattr(training, "_KEPT_EVERY", 1e9)
    checkpoint = tmp_path / "short.safetensors"
    with pytest.raises(Stopped):
        learn(checkpoint=checkpoint, stop_before=5)
    assert not checkpoint.exists()
    assert same(learn(checkpoint=checkpoint).state, learn().state)
    assert checkpoint.is_file()


def test_a_finished_fit_is_not_repeated(tmp_path: Path) -> None:
    """A checkpoint of the last epoch gives its weights back without another epoch."""
    checkpoint = tmp_path / "finished.safetensors"
    finished = learn(checkpoint=checkpoint)
    drawn: list[int] = []
    assert same(learn(checkpoint=checkpoint, drawn=drawn).state, finished.state)
    assert drawn == []


@pytest.mark.parametrize("keep", [0, 5, 200, 3000])
def test_a_damaged_checkpoint_starts_over(tmp_path: Path, keep: int) -> None:
    """What a checkpoint holds is a convenience: cut off, it costs the epochs done and nothing else."""
    checkpoint = tmp_path / "damaged.safetensors"
    plan = replace(PLAN, epochs=2)
    whole = learn(plan, checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    assert same(learn(plan, checkpoint=checkpoint).state, whole.state)


@pytest.mark.parametrize("best_by", ["rmse", "mae"])
@pytest.mark.parametrize("averaged", [0.0, 0.9])
def test_the_best_epoch_is_kept(best_by: str, averaged: float) -> None:
    """The weights returned are those of the epoch with the least validation error of the chosen kind.

    Where weights are averaged over steps, it is the averaged ones whose error is told.
    """
    held_out = examples(98, rows=20)
    fitted = learn(replace(PLAN, best_by=best_by, averaged=averaged), validation=held_out)
    assert fitted.history[fitted.best_epoch][best_by] == min(epoch[best_by] for epoch in fitted.history)
    network = PatchRegressor(SIDE)
    network.load_state_dict(fitted.state)
    error = (answers(network, held_out.inputs, held_out.evidence)[..., :2] - held_out.target) * 6.0
    assert float(error.square().mean().sqrt()) == pytest.approx(
        fitted.history[fitted.best_epoch]["rmse"], rel=1e-5
    )
    assert float(error.abs().mean()) == pytest.approx(fitted.history[fitted.best_epoch]["mae"], rel=1e-5)


def test_without_validation_the_last_epoch_is_kept() -> None:
    """No row to validate on: the weights are those of the last epoch."""
    torch.manual_seed(1)
    fitted = fit(PatchRegressor(SIDE), examples, None, replace(PLAN, epochs=3), key=(0, "toy"))
    assert fitted.best_epoch == 2
    assert "rmse" not in fitted.history[0]


@pytest.mark.parametrize("rows", [0, 1, 2, 17, 33])
def test_few_rows_do_not_upset_batch_normalisation(rows: int) -> None:
    """Any number of rows can be fitted; none is left alone in a batch."""
    torch.manual_seed(1)
    fitted = fit(
        PatchRegressor(SIDE),
        lambda epoch: examples(epoch, rows),
        None,
        replace(PLAN, epochs=1),
        key=(0, "toy"),
    )
    assert all(torch.isfinite(tensor).all() for tensor in fitted.state.values())


def test_targets_of_no_weight_do_not_matter() -> None:
    """Where the weight is 0 a target may be anything, NaN too: neither loss nor figures see it."""
    weight = torch.ones(64, 2)
    weight[:, 1] = 0

    def draw(epoch: int, wrong: float) -> Examples:
        one = examples(epoch, keypoints=2)
        target = one.target.clone()
        target[:, 1] = wrong
        return replace(one, target=target, weight=weight)

    results = []
    for wrong in (float("nan"), 1e9):
        torch.manual_seed(1)
        network = FaceRegressor(2, SIDE, 0, channels=(8, 16), hidden=32)
        results.append(
            fit(network, lambda e, w=wrong: draw(e, w), draw(9, wrong), replace(PLAN, epochs=2), key=(0, "t"))
        )
    assert same(results[0].state, results[1].state)
    assert results[0].history == results[1].history
    assert np.isfinite(results[0].history[-1]["rmse"])


# -- loss and schedule ------------------------------------------------------------------------------


def test_the_likelihood_is_least_at_the_true_sigma() -> None:
    """For errors of a known size, the loss is least where that size is stated per coordinate."""
    error = torch.randn(4000, 1, 2, generator=torch.Generator().manual_seed(0)) * 0.3
    stated = torch.linspace(-2.5, 0.0, 51)
    losses = [
        keypoint_loss(
            torch.cat([error, torch.full((4000, 1, 1), float(s))], -1),
            torch.zeros(4000, 1, 2),
            torch.ones(4000, 1),
            likelihood=True,
        )
        for s in stated
    ]
    assert float(stated[int(torch.stack(losses).argmin())]) == pytest.approx(np.log(0.3), abs=0.06)


@pytest.mark.parametrize("likelihood", [True, False])
def test_the_loss_is_a_weighted_mean(likelihood: bool) -> None:
    """Doubling all weights changes nothing; a weight of two is the row twice; none at all gives 0."""
    generator = torch.Generator().manual_seed(0)
    answer, target = torch.randn(4, 2, 3, generator=generator), torch.randn(4, 2, 2, generator=generator)
    weight = torch.ones(4, 2)
    once = keypoint_loss(answer, target, weight, likelihood=likelihood)
    torch.testing.assert_close(keypoint_loss(answer, target, 2 * weight, likelihood=likelihood), once)
    twice = torch.cat([torch.ones(4, 2), torch.ones(1, 2)])
    doubled = torch.ones(4, 2)
    doubled[0] = 2
    repeated = keypoint_loss(
        torch.cat([answer, answer[:1]]), torch.cat([target, target[:1]]), twice, likelihood=likelihood
    )
    torch.testing.assert_close(keypoint_loss(answer, target, doubled, likelihood=likelihood), repeated)
    assert float(keypoint_loss(answer, target, 0 * weight, likelihood=likelihood)) == 0


def test_in_the_end_the_position_learns_from_the_squared_error_alone() -> None:
    """Without the likelihood a stated sigma does not change how much a row pulls at its position."""
    gradients = []
    for log_sigma in (-1.0, 1.0):
        answer = torch.tensor([[[0.5, -0.2, log_sigma]]], requires_grad=True)
        keypoint_loss(answer, torch.zeros(1, 1, 2), torch.ones(1, 1), likelihood=False).backward()
        assert answer.grad is not None
        gradients.append(answer.grad[0, 0].tolist())
    assert gradients[0][:2] == gradients[1][:2] == pytest.approx([0.5, -0.2])
    assert gradients[0][2] < 0 < gradients[1][2]


def test_the_learning_rate_rises_and_falls_once() -> None:
    """One cycle: from little to the whole rate at a fifth, and to nothing at the end."""
    rates = [one_cycle(step / 1000) for step in range(1001)]
    top = int(np.argmax(rates))
    assert top == 200
    assert rates[top] == pytest.approx(1.0)
    assert 0 < rates[0] < 0.1
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()


# -- answering --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 130])
def test_an_answer_does_not_depend_on_how_many_rows_come_with_it(rows: int) -> None:
    """Rows are answered in padded chunks of one size: alone or in company, the same bytes."""
    torch.manual_seed(0)
    network = FaceRegressor(3, SIDE, 2, channels=(8, 16), hidden=32)
    inputs, evidence = torch.randn(130, 1, SIDE, SIDE), torch.randn(130, 2)
    everyone = answers(network, inputs, evidence)
    assert everyone.shape == (130, 3, 3)
    some = answers(network, inputs[130 - rows :], evidence[130 - rows :])
    assert some.shape == (rows, 3, 3)
    # The same place in a chunk is not promised, so compare where rows fall on the same place too.
    assert torch.equal(answers(network, inputs[:rows], evidence[:rows]), everyone[:rows])
    torch.testing.assert_close(some, everyone[130 - rows :], rtol=1e-5, atol=1e-6)


class Count(nn.Module):
    """Answers how many rows it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, inputs: Tensor, evidence: Tensor) -> Tensor:
        self.seen.append(len(inputs))
        assert len(evidence) == len(inputs)
        return torch.zeros(len(inputs), 1, 3)


def test_the_last_chunk_is_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every forward pass has the same number of rows."""
    network = Count()
    monkeypatch.setattr(memory, "ANSWERED_AT_ONCE", 4)
    assert answers(network, torch.zeros(10, 1, 8, 8), torch.zeros(10, 0)).shape == (10, 1, 3)
    assert network.seen == [4, 4, 4]


# -- randomness and devices -------------------------------------------------------------------------


def test_random_keys_differ_by_place() -> None:
    """Each place of the program has its own randomness, the same on every machine."""
    places = [(), ("a",), ("a", 1), ("a", "1"), ("a", 11), ("a1",), ("b", 1)]
    keys = {random_key(seed, *place) for seed in (0, 1) for place in places}
    assert len(keys) == 2 * len(places)
    assert random_key(0, "keypoint", 3) == random_key(0, "keypoint", 3)
    assert all(0 <= key < 2**63 for key in keys)
    assert random_key(0, "patch 3", 1, 7) == 30272920160114514


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    """Asking for CUDA where there is none says so, says what to do, and ends with exit code 4."""
    with pytest.raises(DeviceError, match=re.escape(f"--device {name} ")) as raised:
        choose_device(name)
    assert raised.value.exit_code == 4
    assert "--device cpu" in str(raised.value)
    assert choose_device("auto").type == "cpu"
    assert choose_device("cpu").type == "cpu"


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is a GPU of Apple's")
def test_mps_is_taken_only_where_it_is_and_when_it_is_named() -> None:
    """Without one a sentence says so, exit code 4; auto takes something else in any case."""
    with pytest.raises(DeviceError, match=r"--device mps was requested, but .* finds none;") as raised:
        choose_device("mps")
    assert raised.value.exit_code == 4
    assert choose_device("auto").type != "mps"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_cuda_device_is_found() -> None:
    """Where there is one, `auto` takes it, and a number too high is refused."""
    assert choose_device("auto").type == "cuda"
    assert choose_device("cuda:0").index == 0
    with pytest.raises(DeviceError, match="only"):
        choose_device(f"cuda:{torch.cuda.device_count()}")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_no_source_names_a_loader_that_may_unpickle(path: Path) -> None:
    """No file of the package speaks of torch.load, pickle modules, joblib.load or allow_pickle=True."""
    text = path.read_text(encoding="utf-8")
    found = re.search(
        r"torch\.load\b|\bjoblib\.load\b|^\s*(import|from)\s+(c?pickle|dill|cloudpickle|shelve|marshal)\b"
        r"|allow_pickle\s*=\s*(True|1)|weights_only\s*=\s*False|read_pickle|\.unsafe_load",
        text,
        re.MULTILINE,
    )
    assert found is None, found


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_auto_tells_which_device_it_took(caplog: pytest.LogCaptureFixture) -> None:
    """Once, and the choice is kept."""
    devices._automatic_device.cache_clear()
    with caplog.at_level(logging.INFO, "labelfill"):
        assert {choose_device("auto"), choose_device("auto")} == {torch.device("cpu")}
    assert [record.getMessage() for record in caplog.records] == [
        "computing on cpu (chosen by --device auto)"
    ]
