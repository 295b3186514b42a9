"""The original work's journey: its final network step by step, and two ideas that it left for the future."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from labelfill.errors import DataError
from labelfill.original.design import settings_kind
from labelfill.reports.comparison.trained_ways import MODEL_WAYS, FinalScore, ModelWay, TrainedWays
from labelfill.runs.progress import bar
from labelfill.settings import FinalModelSettings

_log = logging.getLogger("labelfill")


@dataclass(frozen=True)
class Step:
    """One network of the journey.

    Attributes
    ----------
    options
        Of `FinalModelSettings`, and of the original work's `Design`: what is no setting is chosen here alone.
    filled
        The way whose fills it learns, if it learns fills.
    after
        Name of the step that it builds on; None for the one before it.
    """

    phase: str
    name: str
    options: Mapping[str, Any]
    filled: ModelWay | None = None
    after: str | None = None

    @property
    def run(self) -> str:
        """The name of its run directory."""
        return "journey-" + re.sub(r"[^a-z0-9]+", "-", f"{self.phase} {self.name}".lower()).strip("-")

    @property
    def settings(self) -> FinalModelSettings:
        return settings_kind(self.options)(**self.options)


@dataclass(frozen=True)
class StepScore:
    """How a step did, all of them on the same held-out rows."""

    step: Step
    score: FinalScore


def _steps() -> tuple[Step, ...]:
    """Steps of a phase add up; equalisations, activations and penalties are choices beside each other."""
    plain = {
        "preset": "phase1",
        "batch_norm": "off",
        "epochs": 50,
        "batch_size": 128,
        "second_session_epochs": 0,
    }
    normed = {**plain, "batch_norm": "on"}
    early = {"preset": "phase2", "equalize": "none", "flip": "off", "rotate": "none"}
    turned = {**early, "flip": "on", "rotate": "complete"}
    deep = {"preset": "phase3", "second_session_epochs": 0}
    relu, copies = "12 convolutions, ReLU", "turned copies"
    apart = {"preset": "phase3", "second_session_epochs": 0, "labels": "observed"}
    return (
        Step("baseline", "baseline", {"preset": "baseline"}),
        Step("phase 1", "shuffled rows", {"preset": "baseline", "shuffle": "on"}),
        Step("phase 1", "LeakyReLU", {"preset": "baseline", "shuffle": "on", "activation": "leaky-relu"}),
        Step("phase 1", "more convolutions", plain),
        Step("phase 1", "batch normalisation", normed),
        Step("phase 1", "epochs and batch size", {"preset": "phase1", "second_session_epochs": 0}),
        Step("phase 1", "second session", {"preset": "phase1"}),
        Step("phase 2", "image-only fills", early, "image-only"),
        Step("phase 2", "flipped copies", {**early, "flip": "on"}, "image-only"),
        Step("phase 2", copies, turned, "image-only"),
        Step("phase 2", "stretched contrast", {**turned, "equalize": "stretch"}, "image-only", copies),
        Step("phase 2", "equalised histogram", {**turned, "equalize": "histogram"}, "image-only", copies),
        Step("phase 2", "adaptive equalisation", {"preset": "phase2"}, "image-only", copies),
        Step("phase 3", relu, {**deep, "activation": "relu"}, "image-only"),
        Step("phase 3", "LeakyReLU", {**deep, "activation": "leaky-relu"}, "image-only", relu),
        Step("phase 3", "ELU", {**deep, "activation": "elu"}, "image-only", relu),
        Step("phase 3", "SELU", deep, "image-only", relu),
        Step("phase 3", "SELU, no batch norm.", {**deep, "batch_norm": "off"}, "image-only", "SELU"),
        Step("phase 3", "SELU, L1", {**deep, "l1": 1e-6}, "image-only", "SELU"),
        Step("phase 3", "SELU, L2", {**deep, "l2": 1e-5}, "image-only", "SELU"),
        Step("phase 3", "second session", {"preset": "phase3"}, "image-only", "SELU"),
        Step("ideas", "sources: two networks", {**apart, "rows": "separate"}, after="SELU"),
        Step("ideas", "sources: two outputs", {**apart, "rows": "parallel"}, after="SELU"),
        Step("ideas", "edges beside pixels", {**deep, "features": "edges"}, "image-only", "SELU"),
        Step("labelfill", "default", {"preset": "default"}, "anchored", "baseline"),
    )


STEPS = _steps()


def journey(
    trained: TrainedWays, *, limits: Mapping[str, Any] | None = None, steps: Sequence[Step] = STEPS
) -> list[StepScore]:
    """Train every step's final network and score it on held-out rows; finished ones are not done again.

    Parameters
    ----------
    limits
        As for `limited`.
    """
    needed = {step.filled for step in steps if step.filled is not None}
    paths = {way: trained.filled(way) for way in MODEL_WAYS if way in needed}
    scores = []
    for step in bar(steps, desc="journey", unit="network", show=trained.setting.progress):
        settings = limited(step.settings, limits or {})
        path = None if step.filled is None else paths[step.filled]
        try:
            score = trained.final(step.run, settings, path)
        except DataError as error:
            if settings.rows == "together":
                raise
            _log.warning("%s, %s is skipped: %s", step.phase, step.name, error)
            continue
        _log.info("%s, %s: RMSE %.2f px", step.phase, step.name, score.rmse)
        scores.append(StepScore(step, score))
    return scores


def limited(settings: FinalModelSettings, limits: Mapping[str, Any]) -> FinalModelSettings:
    """Settings with others that reduce their budget; those without a second session get none."""
    left_out = set() if settings.complete().second_session_epochs else {"second_session_epochs"}
    return replace(settings, **{name: limit for name, limit in limits.items() if name not in left_out})
