"""Sections of the report on networks: how they learnt, and how far the final one is off."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.final.model import STAGE as FINAL_STAGE
from labelfill.final.model import load_final
from labelfill.regressors.files import STAGE as MODELS_STAGE
from labelfill.reports.faces import Points, face, key
from labelfill.reports.inspection.summary import plural
from labelfill.reports.pages import Markup, element, paragraph, section, table
from labelfill.reports.plots import Line, small_curves
from labelfill.reports.result.held_out import RunModels
from labelfill.runs import EVALUATION, VALIDATION, RunDirectory

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


@dataclass(frozen=True)
class FinalAnswers:
    """What the final network answers on rows that it has not learnt from.

    Attributes
    ----------
    part
        Which rows they are.
    rows
        (m,)
    labels, answers
        (m, K, 2) px of the frame; labels are NaN where there is none.
    """

    part: str
    rows: NDArray[np.int64]
    labels: Array
    answers: Array


def final_answers(run: RunDirectory, models: RunModels) -> FinalAnswers | None:
    """Answers on evaluation rows, or validation rows for want of these; None without a final network."""
    if run.stages.get(FINAL_STAGE, {}).get("state") != "done":
        return None
    model = load_final(run, models.device)
    labels = models.dataset.labels
    labelled: NDArray[np.bool_] = np.any(np.isfinite(labels).all(axis=2), axis=1)
    for part, name in ((EVALUATION, "evaluation"), (VALIDATION, "validation")):
        rows = np.flatnonzero((models.parts == part) & labelled)
        if len(rows):
            assert models.dataset.images is not None
            found, _ = model.answer(np.asarray(models.dataset.images[rows]), models.device)
            own = model.heads.in_convention(found, models.groups[rows])
            return FinalAnswers(name, rows.astype(np.int64), labels[rows], own)
    return None


def final_section(found: FinalAnswers, results: Mapping[str, Any], models: RunModels) -> Iterator[Markup]:
    """Errors per keypoint, and the rows on which the network is furthest off."""
    part = found.part
    rmse, mae = results.get(f"{part} rmse"), results.get(f"{part} mae")
    rows = [
        (name, f"{one['labels']:,}", f"{one['rmse']:.2f}", f"{one['mae']:.2f}")
        for name, one in results.get(f"{part} keypoints", {}).items()
    ]
    told = {"evaluation": "that no stage has learnt from", "validation": "that chose the epoch"}[part]
    if rmse is not None:
        yield section(
            "The final network",
            paragraph(
                f"RMSE {rmse:.2f} px and MAE {mae:.2f} px per coordinate over the labels of "
                f"{plural(len(found.rows), 'row')} {told}."
            ),
            table(("keypoint", "labels", "RMSE, px", "MAE, px"), rows, numbers=(1, 2, 3)),
        )
    yield _worst_cases(found, models)


def _worst_cases(found: FinalAnswers, of: RunModels) -> Markup:
    away = np.linalg.norm(found.answers - found.labels, axis=2)
    typical = np.sqrt(np.nanmean(away**2, axis=1))
    images = of.dataset.images
    assert images is not None
    cards = []
    for i in np.argsort(-typical, kind="stable")[:_WORST].tolist():
        row, k = int(found.rows[i]), int(np.nanargmax(away[i]))
        names = of.schema.keypoints
        layers = [Points(found.labels[i], names, "label"), Points(found.answers[i], names, "found")]
        told = f", {typical[i]:.1f} px off; most for {names[k]}: {away[i, k]:.1f} px"
        picture = face(np.asarray(images[row]), of.schema.image_size, layers, f"row {row}{told}")
        cards.append(element("figure", picture, element("figcaption", element("strong", f"row {row}"), told)))
    return section(
        "The final network's worst cases",
        key([("label", "label of the table"), ("found", "the network's answer")]),
        element("div", *cards, class_="faces large"),
    )
