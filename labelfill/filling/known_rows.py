"""What every row of a table knows of itself before it is filled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelfill.arrays import Array, Integers, Mask
from labelfill.data.dataset import Dataset, ImageDataset
from labelfill.networks.devices import Computing
from labelfill.regressors.answering import Question, answers_by_shard
from labelfill.regressors.ensemble import Ensemble, Member
from labelfill.regressors.files import KeypointModels
from labelfill.regressors.whole_image import coarse_completed, needs_coarse
from labelfill.sources.anchors import Anchors, guessed_anchors, refined_anchors
from labelfill.sources.doubtful_labels import weigh_down
from labelfill.sources.groups import least_offset


@dataclass(frozen=True)
class RowKnowledge:
    """Anchors of all rows, and (n, K) which labels their rows' others make implausible."""

    anchors: Anchors
    doubtful: Mask


def known_of_rows(
    dataset: Dataset, models: KeypointModels, groups: Integers, computing: Computing
) -> RowKnowledge:
    """Every row's labels in the reference convention; rows that know too little looked at as a whole.

    Parameters
    ----------
    groups
        (n,) the number of each row's label source.
    """
    ensemble, offsets, labels = models.ensemble, models.sources.offsets, dataset.labels
    untested_variance = least_offset(ensemble.prior.extent) ** 2
    guessed = guessed_anchors(labels, groups, offsets, models.sources.untested, untested_variance)
    answers = _disputed_answers(dataset, models, groups, guessed, computing)
    refined = refined_anchors(guessed, groups, offsets, answers) if answers else guessed
    confirmed: Mask = np.any(np.isfinite(labels) & ~dataset.table.observed, axis=2)
    weighed, doubtful = weigh_down(ensemble.prior, refined, confirmed)
    if ensemble.coarse is None:
        return RowKnowledge(weighed, doubtful)
    images, blank = ImageDataset.of(dataset).images, ~dataset.table.labelled
    rows = np.flatnonzero(needs_coarse(ensemble.prior, weighed, blank, dataset.schema))
    return RowKnowledge(coarse_completed(ensemble, weighed, rows, images, computing.device), doubtful)


def _disputed_answers(
    dataset: Dataset, models: KeypointModels, groups: Integers, anchors: Anchors, computing: Computing
) -> dict[int, Array]:
    """(n, 2) px by disputed keypoint: what the audit's regressors find in rows that label it otherwise."""
    if not models.audit:
        return {}
    ensemble = models.ensemble
    audit = Ensemble(ensemble.schema, ensemble.prior, ensemble.partners, dict(models.audit))
    wanted = np.zeros(dataset.table.labelled.shape, bool)
    for offset in models.sources.offsets:
        wanted[:, offset.keypoint] |= (groups == offset.group) & anchors.known[:, offset.keypoint]
    rows = np.flatnonzero(wanted.any(axis=1))
    answers = {k: np.full((len(wanted), 2), np.nan) for k in models.audit}
    question = Question(rows, anchors.take(rows), wanted[rows], dataset.images)
    for block, members in answers_by_shard(audit, question, computing, "disputed anchors"):
        for k, found in answers.items():
            found[rows[block]] = members.xy[Member.PATCH, :, k]
    return answers
