"""Labels that trained regressors contradict, asked where they neither saw the label nor learnt from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from labelfill.arrays import Array, Integers, Mask
from labelfill.data.dataset import Dataset
from labelfill.errors import DataError
from labelfill.filling.known_rows import known_of_rows
from labelfill.networks.devices import Computing
from labelfill.regressors.answering import Question, answer_in_blocks
from labelfill.regressors.ensemble import Ensemble, Member
from labelfill.regressors.files import KeypointModels, load_distrusted, load_models
from labelfill.regressors.unit_names import STAGE
from labelfill.runs import RunDirectory
from labelfill.settings import TableSettings
from labelfill.sources.preparation import groups_of_rows, prepare

# A label is contradicted if it lies this many times further off than the answer does in 99% of cases.
_COVERAGE, _BEYOND = 0.99, 1.5


@dataclass(frozen=True)
class Contradictions:
    """What the regressors say of a table's labels.

    Attributes
    ----------
    severity
        (n, K): from 1 on a label is contradicted; 0 where nothing judges it.
    answer
        (n, K, 2), px: where they see the point; NaN where they were not asked.
    """

    severity: Array
    answer: Array


def find_contradictions(
    run: RunDirectory, dataset: Dataset, device: torch.device, *, progress: bool = False
) -> Contradictions:
    """Ask the regressors of a run for points that are labelled.

    Rows that they learnt from are answered by the folds that did not. Labels in another convention than the
    answer's are not judged, nor are keypoints that no regressor was trained for.

    Raises
    ------
    DataError
        If the table has other keypoints or images than the run.
    """
    models = load_models(run, device)
    names, trained = dataset.schema.keypoints, models.ensemble.schema
    if (
        (dataset.images is None) != run.without_images
        or set(names) != set(trained.keypoints)
        or dataset.schema.image_size != trained.image_size
    ):
        raise DataError(
            f"{dataset.table.path} cannot be checked with the models in {run.path}: it has "
            "different keypoints "
            "or images, or none; leave --run-dir out, or pass the run of this table"
        )
    found = _judged(run, dataset.in_order_of(trained.keypoints), models, Computing(device, progress))
    order = [trained.keypoints.index(name) for name in names]
    return Contradictions(found.severity[:, order], dataset.in_own_px(found.answer[:, order]))


def _judged(
    run: RunDirectory, dataset: Dataset, models: KeypointModels, computing: Computing
) -> Contradictions:
    labels, folds = dataset.labels, _folds(run, dataset)
    ensemble, sources = models.ensemble, models.sources
    groups = groups_of_rows(dataset, sources.groups)
    anchors = known_of_rows(dataset, replace(models, audit={}), groups, computing).anchors
    judged: Mask = np.all(np.isfinite(labels), axis=2)
    for offset in sources.offsets:
        judged[groups == offset.group, offset.keypoint] = False
    severity, answer = np.zeros(judged.shape), np.full(labels.shape, np.nan)
    if ensemble.radii is None:
        return Contradictions(severity, answer)
    judged[:, ensemble.radii.learnt == 0] = False
    for keypoints in _asked_together(dataset, judged):
        wanted = judged & np.isin(np.arange(judged.shape[1]), keypoints)
        hidden = anchors.without(keypoints)
        for learnt in (True, False):
            rows = np.flatnonzero(wanted.any(axis=1) & ((folds >= 0) == learnt))
            if len(rows):
                of_folds = folds[rows] if learnt else None
                question = Question(rows, hidden.take(rows), wanted[rows], dataset.images, of_folds)
                xy, limit = _answers(ensemble, question, computing)
                answer[rows] = np.where(wanted[rows][..., None], xy, answer[rows])
                off = np.linalg.norm(xy - labels[rows], axis=2) / (_BEYOND * limit)
                severity[rows] = np.where(wanted[rows], off, severity[rows])
    return Contradictions(severity, answer)


def _answers(ensemble: Ensemble, question: Question, computing: Computing) -> tuple[Array, Array]:
    """(m, K, 2) and (m, K), px: what is answered for the rows, and how far that may be off."""
    assert ensemble.radii is not None
    members = answer_in_blocks(ensemble, question, replace(computing, progress=False))
    xy, sigma = ensemble.best(members)
    return xy, sigma * ensemble.radii.factor(_COVERAGE, members.sigma[Member.PRIOR])


def _folds(run: RunDirectory, dataset: Dataset) -> Integers:
    """(n,): the fold that each row was left out with; -1 for rows that the models did not learn from."""
    inputs = run.stages[STAGE]["inputs"]
    if inputs["table"] != dataset.table.content_sha256:
        return np.full(dataset.table.rows, -1)
    trained_on = replace(dataset, distrusted=load_distrusted(run, dataset))
    table = TableSettings(source_column=inputs["source column"], group_column=inputs["group column"])
    return prepare(run, trained_on, table, int(inputs["seed"])).folds


def _asked_together(dataset: Dataset, judged: Mask) -> list[Integers]:
    """Keypoints that incomplete rows lack, hidden together as when filled; then the others singly."""
    blank = ~dataset.table.labelled
    lacking = blank[blank.any(axis=1)].mean(axis=0) >= 0.5 if blank.any() else np.zeros(blank.shape[1], bool)
    asked = judged.any(axis=0)
    together = np.flatnonzero(asked & lacking)
    return [
        *([together] if len(together) else []),
        *(np.array([k]) for k in np.flatnonzero(asked & ~lacking)),
    ]
