"""What the final network answers on held-out rows, kept for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from labelfill.arrays import Array, Integers, KeptArrays, Parts
from labelfill.final.model import STAGE, FinalModel
from labelfill.final.targets import Targets
from labelfill.runs import EVALUATION, VALIDATION, RunDirectory, kept

ANSWERS = "report/final.safetensors"
_PARTS = {"evaluation": EVALUATION, "validation": VALIDATION}


@dataclass(frozen=True)
class PartAnswers:
    """Answers for the rows of one part that have a label.

    Attributes
    ----------
    rows
        (m,): of the table.
    xy, sigma
        (m, heads, 2) and (m, heads) px.
    """

    rows: Integers
    xy: Array
    sigma: Array


def answer_held_out(
    model: FinalModel, targets: Targets, images: NDArray[np.uint8], parts: Parts, device: torch.device
) -> dict[str, PartAnswers]:
    """Answers by the name of the part, evaluation rows first; parts without a label are left out."""
    answers = {}
    for name, part in _PARTS.items():
        rows = np.flatnonzero((parts == part) & targets.observed.any(axis=1))
        if len(rows):
            answers[name] = PartAnswers(rows, *model.answer(images[rows], device))
    return answers


@dataclass(frozen=True)
class FinalAnswers(KeptArrays):
    """What the final network answers on evaluation rows, or on validation rows for want of these.

    Attributes
    ----------
    rows
        (m,): of the table.
    xy
        (m, K, 2) px, each in its own row's convention.
    """

    shapes: ClassVar[Mapping[str, str]] = {
        "rows": "M <N",
        "xy": "M K 2",
    }

    rows: Integers
    xy: Array


def answers_file(model: FinalModel, answers: Mapping[str, PartAnswers], groups: Integers) -> dict[str, bytes]:
    """The file that `load_final_answers` reads; none if there are no answers."""
    if not answers:
        return {}
    first = next(iter(answers.values()))
    found = FinalAnswers(first.rows, model.heads.in_convention(first.xy, groups[first.rows]))
    return {ANSWERS: kept.arrays_bytes(found.to_arrays())}


def load_final_answers(run: RunDirectory) -> FinalAnswers | None:
    """What training kept; None without a final network, or if no held-out row has a label.

    Raises
    ------
    ModelError
        If the file is not as it should be.
    """
    entry = run.stages.get(STAGE, {})
    if entry.get("state") != "done" or ANSWERS not in entry["outputs"]:
        return None
    return kept.read_arrays(
        run, STAGE, ANSWERS, lambda arrays: FinalAnswers.from_arrays(arrays, sizes=run.sizes)
    )
