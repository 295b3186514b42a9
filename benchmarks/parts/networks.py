"""What a device reaches: a plain large matrix product, and training steps of each network beside it.

Networks learn from random pixels, an epoch's worth at a time, through the same fit loop as in the stages; so
drawing examples is not counted here.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import Figures, tell
from labelfill.final.model import build_final_network
from labelfill.networks.architectures import PatchRegressor, parameter_count
from labelfill.networks.devices import native_bfloat16
from labelfill.networks.fit import Examples, Plan, fit
from labelfill.networks.loss import keypoint_loss
from labelfill.regressors.examples import MOST_EXAMPLES
from labelfill.regressors.files import load_models
from labelfill.regressors.unit_names import STAGE
from labelfill.regressors.views import View, make_network
from labelfill.runs import RunDirectory
from labelfill.settings import PRESETS, FinalModelSettings

SIDE = {"cpu": 1536, "cuda": 8192}
SECONDS = 1.0  # of matrix products, for each rate


@dataclass(frozen=True)
class Trained:
    """A network as it is trained: its input, how many rows an epoch and a step have, on how many threads."""

    name: str
    network: nn.Module
    shape: tuple[int, int]
    evidence: int
    answers: int
    rows: int
    batch: int
    threads: int


def measure(
    run: str, devices: Sequence[str], threads: int, epochs: int = 3, rows: int = MOST_EXAMPLES
) -> Figures:
    """The networks of a run's keypoint models and of the final stage, on each device.

    Parameters
    ----------
    threads
        Of networks that are trained alone.
    epochs
        That are timed, after one to warm up; each of so many `rows`.
    """
    told: Figures = {"matrix": [], "networks": [], "stage": stage_flops(Path(run))}
    for name in devices:
        device = torch.device(name)
        rates = dict(matrix_rates(device, sorted({1, threads})))
        told["matrix"] += [
            {"device": name, "precision": precision, "threads": count, "flops": rate}
            for (precision, count), rate in rates.items()
        ]
        told["networks"] += [
            measured(one, device, epochs, rates) for one in networks(Path(run), threads, rows)
        ]
    return told


def matrix_rates(device: torch.device, threads: list[int]) -> Iterator[tuple[tuple[str, int], float]]:
    """FLOP/s of a product of two large square matrices, the best of some, by precision and threads."""
    side, gpu = SIDE[device.type], device.type == "cuda"
    for precision, dtype in (
        ("float32", torch.float32), *([("tf32", torch.float32)] if gpu else []), ("bfloat16", torch.bfloat16)
    ):  # fmt: skip
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        for count in threads if device.type == "cpu" else [1]:
            torch.set_num_threads(count)
            a @ b
            took, begun = [], time.perf_counter()
            while time.perf_counter() - begun < SECONDS or len(took) < 2:
                took.append(seconds(lambda a=a, b=b: a @ b, device))
            yield (precision, count), 2 * side**3 / min(took)
    torch.backends.cuda.matmul.allow_tf32 = False


def seconds(work: Callable[[], object], device: torch.device) -> float:
    begun = time.perf_counter()
    work()
    return now(device) - begun


def networks(run_dir: Path, threads: int, rows: int) -> Iterator[Trained]:
    """The regressors of a run, the final network, and that of the original work."""
    run = RunDirectory.read_only(run_dir)
    ensemble = load_models(run, torch.device("cpu")).ensemble
    keypoints, size = ensemble.schema.count, ensemble.schema.image_size
    patches = next(iter(ensemble.patch.values())).view
    yield Trained("patch regressor", make_network(patches, keypoints), (patches.size,) * 2, 0, 1, rows, 64, 1)
    assert ensemble.face is not None
    face = ensemble.face.view
    evidence, network = 3 * keypoints, make_network(face, keypoints)
    yield Trained("face regressor", network, (face.size,) * 2, evidence, keypoints, rows, 64, 1)
    shape = (size.height, size.width)
    for preset, name in (("default", "final network"), ("baseline", "original, one keypoint")):
        settings = FinalModelSettings(preset=preset).complete()  # type: ignore[arg-type]  # a known preset
        count = keypoints if preset == "default" else 1
        batch = int(PRESETS[settings.preset]["batch_size"])
        network = build_final_network((count,), shape, settings)
        yield Trained(name, network, shape, 0, count, rows, batch, threads)


def measured(one: Trained, device: torch.device, epochs: int, rates: dict[tuple[str, int], float]) -> Figures:
    torch.set_num_threads(one.threads)
    network = one.network.to(device)
    examples = random_examples(one, one.rows, device)
    flops = training_flops(one, network, device)
    took = epoch_seconds(network, examples, Plan(epochs + 1, one.batch, 1e-3))
    precision = "tf32"  # as networks are trained on a GPU
    if device.type == "cpu":
        precision = "bfloat16" if native_bfloat16() else "float32"
    threads = one.threads if device.type == "cpu" else 1
    return {
        "network": one.name, "device": str(device), "threads": threads, "precision": precision,
        "parameters": parameter_count(network), "input": list(one.shape), "rows": one.rows,
        "training flops per row": flops, "seconds per epoch": took,
        "flops": flops * one.rows / took,
        "share of a matrix product": flops * one.rows / took / rates[precision, threads],
    }  # fmt: skip


def epoch_seconds(network: nn.Module, examples: Examples, plan: Plan) -> float:
    """Median seconds of an epoch without its validation, after one to warm up."""
    ended: list[float] = []

    def note(_: object) -> None:
        ended.append(now(examples.inputs.device))

    fit(network, lambda _: examples, None, plan, key=(0, "bench"), on_epoch=note)
    return statistics.median(after - before for before, after in pairwise(ended))


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def random_examples(one: Trained, rows: int, device: torch.device) -> Examples:
    torch.manual_seed(0)
    drawn = (
        torch.randn(rows, 1, *one.shape), torch.randn(rows, one.evidence), torch.randn(rows, one.answers, 2),
        torch.ones(rows, one.answers), torch.ones(rows),
    )  # fmt: skip
    return Examples(*(tensor.to(device) for tensor in drawn))


def training_flops(one: Trained, network: nn.Module, device: torch.device) -> float:
    """Floating point operations of one row's forward and backward pass, as PyTorch counts them."""
    rows = 4
    batch = random_examples(one, rows, device)
    counter = FlopCounterMode(display=False)
    with counter:
        answer = network(batch.inputs, batch.evidence)
        keypoint_loss(answer, batch.target, batch.weight, likelihood=True).backward()
    network.zero_grad(set_to_none=True)
    return counter.get_total_flops() / rows


def stage_flops(run_dir: Path) -> dict[str, float]:
    """Floating point operations of all training steps of a run's keypoint models, and their epochs.

    Where rows are few an epoch goes through them several times; that is counted once.
    """
    run = RunDirectory.read_only(run_dir)
    total, epochs, networks_trained, parameters = 0.0, 0, 0, 0
    per_row: dict[str, float] = {}
    for file in sorted(run.require_stage(STAGE)["outputs"]):
        if not file.endswith("model.json"):
            continue
        about = json.loads((run.path / file).read_text())
        one, examples = trained_as(about)
        if one.name not in per_row:
            per_row[one.name] = training_flops(one, one.network, torch.device("cpu"))
        passes = sum(len(history) for history in about["history"])
        total += passes * examples * per_row[one.name]
        epochs += passes
        networks_trained += about["folds"]
        parameters += about["folds"] * about["parameters"]
    return {"flops": total, "epochs": epochs, "networks": networks_trained, "parameters": parameters}


def trained_as(about: Figures) -> tuple[Trained, int]:
    """The network that a ``model.json`` is of, and how many examples one of its epochs had."""
    keypoints = len(about["keypoints"])
    if "view" not in about:  # the trunk
        network: nn.Module = PatchRegressor(about["size"], keypoints)
        return Trained("trunk", network, (about["size"],) * 2, 0, keypoints, 1, 1, 1), about["examples"]
    view = View(**about["view"])
    network = make_network(view, keypoints)
    evidence = 3 * keypoints if view.keypoint is None and not view.whole_image else 0
    kind = f"{view.size} {view.keypoint is None} {view.whole_image}"
    one = Trained(kind, network, (view.size,) * 2, evidence, view.answers(keypoints), 1, 1, 1)
    return one, min(about["examples"], MOST_EXAMPLES)


if __name__ == "__main__":
    tell(measure)
