"""Sections of the report on networks: how they learnt, and how far the final one is off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelfill.errors import counted
from labelfill.final.held_out import FinalAnswers
from labelfill.final.model import STAGE as FINAL_STAGE
from labelfill.final.model import FinalFile
from labelfill.regressors.network_files import RegressorFile
from labelfill.regressors.unit_names import STAGE as MODELS_STAGE
from labelfill.regressors.unit_names import TRUNK
from labelfill.reports.faces import Points, face, key
from labelfill.reports.pages import Markup, and_more, element, figure, note, paragraph, section, table
from labelfill.reports.plots import Line, small_curves
from labelfill.reports.result.held_out import RunTable
from labelfill.runs import RunDirectory, kept

_PANELS = 40
_WORST = 16

History = Sequence[Mapping[str, float]]  # the figures of each epoch
Learning = tuple[str, Sequence[History]]  # a regressor or the final network, and how its networks learnt


def learning(run: RunDirectory) -> list[Learning]:
    """How each finished stage's networks learnt, by their ``model.json`` files; the final network first."""
    learnt: list[Learning] = []
    for stage in (FINAL_STAGE, MODELS_STAGE):
        for path in run.stages.get(stage, {}).get("outputs", {}):
            if not path.endswith("/model.json"):
                continue
            if stage == FINAL_STAGE:
                learnt.append(("final network", [kept.read_json(run, stage, path, FinalFile).history]))
                continue
            folder = path.split("/")[-2]
            if folder == str(TRUNK):  # which no validation row judges
                continue
            about = kept.read_json(run, stage, path, RegressorFile)
            if path.startswith("shared-models/") and about.keypoint:  # of the source audit
                learnt.append((f"{folder.partition('-')[0]}: {about.keypoint}", about.history))
            else:
                learnt.append((about.keypoint or folder, about.history))
    return learnt


def learning_section(learnt: Sequence[Learning]) -> Markup | None:
    """One small plot per network: validation RMSE by epoch, a line for each fold."""
    panels = []
    for name, histories in learnt[:_PANELS]:
        lines = [
            Line([epoch["epoch"] + 1 for epoch in history], [epoch["rmse"] for epoch in history])
            for history in histories
            if history and all({"epoch", "rmse"} <= epoch.keys() for epoch in history)
        ]
        if lines:
            panels.append((name, lines))
    if not panels:
        return None
    about = "Validation error by epoch, one line per fold. The weights of the best epoch are kept."
    ends = [f"{name} ends at {min(lines[0].y):.2f} px" for name, lines in panels[:6]]
    return section(
        "Learning curves",
        note(about),
        small_curves(panels, "epoch", "RMSE, px", f"Validation RMSE: {'; '.join(ends)}"),
        and_more(len(learnt) - _PANELS, "network"),
    )


# -- the final network -----------------------------------------------------------------------------------


def final_section(results: Mapping[str, Any]) -> Markup | None:
    """Errors per keypoint; None if no held-out row has a label."""
    part = "evaluation" if "evaluation rmse" in results else "validation"
    if f"{part} rmse" not in results:
        return None
    rows = [
        (name, f"{score['labels']:,}", f"{score['rmse']:.2f}", f"{score['mae']:.2f}")
        for name, score in results[f"{part} keypoints"].items()
    ]
    which = {"evaluation": "never used in training", "validation": "used to choose the epoch"}[part]
    return section(
        "The final network",
        paragraph(
            f"RMSE {results[f'{part} rmse']:.2f} px and MAE {results[f'{part} mae']:.2f} px per coordinate "
            f"over the labels of {counted(results[f'{part} rows'], 'row')} {which}."
        ),
        table(("keypoint", "labels", "RMSE, px", "MAE, px"), rows, numbers=(1, 2, 3)),
    )


def worst_cases(found: FinalAnswers, run_table: RunTable) -> Markup:
    """The rows on which the final network is furthest off."""
    labels, schema = run_table.dataset.labels[found.rows], run_table.schema
    distance = np.linalg.norm(found.xy - labels, axis=2)
    labelled = np.flatnonzero(np.isfinite(distance).any(axis=1))
    typical = np.full(len(distance), -np.inf)
    typical[labelled] = np.sqrt(np.nanmean(distance[labelled] ** 2, axis=1))
    cards = []
    for i in np.argsort(-typical, kind="stable")[: min(_WORST, len(labelled))].tolist():
        row, k = int(found.rows[i]), int(np.nanargmax(distance[i]))
        layers = [
            Points(labels[i], schema.keypoints, "label"),
            Points(found.xy[i], schema.keypoints, "found"),
        ]
        errors = f": RMS error {typical[i]:.1f} px, largest {distance[i, k]:.1f} px ({schema.keypoints[k]})"
        picture = face(run_table.dataset.images[row], schema.image_size, layers, f"row {row}{errors}")
        cards.append(figure(picture, element("strong", f"row {row}"), errors))
    return section(
        "The final network's worst cases",
        key([("label", "label in the table"), ("found", "prediction of the network")]),
        element("div", *cards, class_="faces large"),
    )
