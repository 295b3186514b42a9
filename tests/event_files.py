"""TensorBoard's event files read back by its own reader, and what they have to say of a run."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

# Commands are given this where the package is there: learning curves change no result.
CURVES = ["--tensorboard"] if find_spec("tensorboard") else []

needs_tensorboard = pytest.mark.skipif(not CURVES, reason="tensorboard is not installed")

Curve = dict[str, list[tuple[int, float]]]


def read_curves(run: Path) -> dict[str, Curve]:
    """For each folder with event files, by name: the steps and values of each scalar."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, curves = run / "tensorboard", {}
    for place in sorted({file.parent for file in folder.rglob("*tfevents*")}):
        events = EventAccumulator(str(place))
        events.Reload()
        curves[place.relative_to(folder).as_posix()] = {
            name: [(event.step, event.value) for event in events.Scalars(name)]
            for name in events.Tags()["scalars"]
        }
    return curves


def check_curves(run: Path) -> None:
    """Every fold of every model, and nothing else, has the curve that its ``model.json`` tells, once."""
    expected: dict[str, list[dict[str, float]]] = {}
    for file in [*run.glob("*-models/*/model.json"), *run.glob("final/model.json")]:
        history, model = json.loads(file.read_text())["history"], file.parent.relative_to(run).as_posix()
        if isinstance(history[0], list):
            expected |= {f"{model}/fold-{fold}": one for fold, one in enumerate(history)}
        else:
            expected[model] = history
    curves = read_curves(run)
    assert sorted(curves) == sorted(expected)
    for model, history in expected.items():
        assert set(curves[model]) == history[0].keys() - {"epoch"}
        for name, points in curves[model].items():
            assert [step for step, _ in points] == list(range(len(history)))
            assert [value for _, value in points] == pytest.approx(
                [epoch[name] for epoch in history], rel=1e-6
            )
