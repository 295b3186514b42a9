"""Sections of the report on networks: how they learnt, and how far the final one is off."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelfill.final.held_out import FinalAnswers
from labelfill.final.model import STAGE as FINAL_STAGE
from labelfill.regressors.files import STAGE as MODELS_STAGE
from labelfill.reports.faces import Points, face, key
from labelfill.reports.pages import Markup, element, paragraph, plural, section, table
from labelfill.reports.plots import Line, small_curves
from labelfill.reports.result.held_out import RunTable
from labelfill.runs import RunDirectory

_PANELS = 40
_WORST = 16

History = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Learning:
    """How a regressor or the final network learnt: the figures of each epoch, for each of its networks."""

    name: str
    histories: Sequence[History]


def learning(run: RunDirectory) -> list[Learning]:
    """The histories that every finished stage's ``model.json`` files hold; the final network first."""
    found = []
    for stage in (FINAL_STAGE, MODELS_STAGE):
        for path in run.stages.get(stage, {}).get("outputs", {}):
            if path.endswith("/model.json"):
                about = json.loads(run.read_artefact(stage, path))
                name = about.get("keypoint") or path.split("/")[-2]
                kind = path.split("/")[-2].partition("-")[0]
                if path.startswith("shared-models/") and about.get("keypoint"):
                    name = f"{kind}: {name}"  # a regressor of the source audit
                histories = about["history"]
                single = stage == FINAL_STAGE
                found.append(
                    Learning("final network" if single else name, [histories] if single else histories)
                )
    return found


def learning_section(learnt: Sequence[Learning]) -> Markup | None:
    """One small plot per network: validation RMSE by epoch, a line for each fold."""
    panels = []
    for one in learnt[:_PANELS]:
        lines = [
            Line([epoch["epoch"] + 1 for epoch in history], [epoch["rmse"] for epoch in history])
            for history in one.histories
            if history and all("rmse" in epoch for epoch in history)
        ]
        if lines:
            panels.append((one.name, lines))
    if not panels:
        return None
    about = (
        "Validation error by epoch; each line is the network of one fold. The best epoch's weights are kept."
    )
    ends = [f"{name} ends at {min(lines[0].y):.2f} px" for name, lines in panels[:6]]
    left = len(learnt) - _PANELS
    return section(
        "How the networks learnt",
        paragraph(about, class_="note"),
        small_curves(panels, "epoch", "RMSE, px", f"Learning curves: {'; '.join(ends)}"),
        paragraph(f"And {plural(left, 'network')} more.", class_="note") if left > 0 else None,
    )


# -- the final network -----------------------------------------------------------------------------------


def final_section(results: Mapping[str, Any]) -> Markup | None:
    """Errors per keypoint; None if no held-out row has a label."""
    part = "evaluation" if "evaluation rmse" in results else "validation"
    if f"{part} rmse" not in results:
        return None
    rows = [
        (name, f"{one['labels']:,}", f"{one['rmse']:.2f}", f"{one['mae']:.2f}")
        for name, one in results[f"{part} keypoints"].items()
    ]
    told = {"evaluation": "that no stage has learnt from", "validation": "that chose the epoch"}[part]
    return section(
        "The final network",
        paragraph(
            f"RMSE {results[f'{part} rmse']:.2f} px and MAE {results[f'{part} mae']:.2f} px per coordinate "
            f"over the labels of {plural(results[f'{part} rows'], 'row')} {told}."
        ),
        table(("keypoint", "labels", "RMSE, px", "MAE, px"), rows, numbers=(1, 2, 3)),
    )


def worst_cases(found: FinalAnswers, seen: RunTable) -> Markup:
    """The rows on which the final network is furthest off."""
    labels, images = seen.dataset.labels[found.rows], seen.dataset.images
    away = np.linalg.norm(found.xy - labels, axis=2)
    labelled = np.flatnonzero(np.isfinite(away).any(axis=1))
    typical = np.full(len(away), -np.inf)
    typical[labelled] = np.sqrt(np.nanmean(away[labelled] ** 2, axis=1))
    cards = []
    for i in np.argsort(-typical, kind="stable")[: min(_WORST, len(labelled))].tolist():
        row, k = int(found.rows[i]), int(np.nanargmax(away[i]))
        names = seen.schema.keypoints
        layers = [Points(labels[i], names, "label"), Points(found.xy[i], names, "found")]
        told = f", {typical[i]:.1f} px off; most for {names[k]}: {away[i, k]:.1f} px"
        picture = face(np.asarray(images[row]), seen.schema.image_size, layers, f"row {row}{told}")
        cards.append(element("figure", picture, element("figcaption", element("strong", f"row {row}"), told)))
    return section(
        "The final network's worst cases",
        key([("label", "label of the table"), ("found", "the network's answer")]),
        element("div", *cards, class_="faces large"),
    )
