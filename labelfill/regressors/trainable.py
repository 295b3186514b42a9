"""What of a table can be learnt: which anchors to trust, and which keypoints have labels enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from labelfill.arrays import Integers, Mask
from labelfill.regressors.setup import Setup
from labelfill.regressors.whole_image import needs_coarse
from labelfill.shape.prior import ShapePrior
from labelfill.sources.anchors import Anchors
from labelfill.sources.doubtful_labels import weigh_down
from labelfill.sources.preparation import LEAST_LABELS


@dataclass(frozen=True)
class Trainable:
    """What the stage learns from, decided before a regressor is trained.

    Attributes
    ----------
    anchors, prior
        Less the labels that their rows' others make implausible.
    doubtful
        (n, K): which these are.
    labels
        (K,): training rows that label each keypoint so that it can be learnt from.
    keypoints
        Incomplete ones that get regressors.
    skipped
        Incomplete keypoints that stay blank, and why.
    coarse_rows
        (n,): rows of which too little is known to cut a patch.
    """

    anchors: Anchors
    prior: ShapePrior
    doubtful: Mask
    labels: Integers
    keypoints: Integers
    skipped: Mapping[int, str]
    coarse_rows: Mask


def find_trainable(setup: Setup, anchors: Anchors) -> Trainable:
    """Fit the prior to anchors in the reference convention, and see what can be learnt."""
    training = setup.preparation.training
    anchors, prior, doubtful = _without_slips(setup, anchors, setup.fit_prior(anchors, training))
    labels: Integers = anchors.exact[training].sum(axis=0)
    divisible = _divisible(setup, anchors)
    incomplete = setup.blank.any(axis=0)
    enough = (labels >= LEAST_LABELS) & divisible
    needed = np.where(divisible | (labels == 0), f"{LEAST_LABELS} are needed", "they all belong together")
    skipped = {
        k: f"{labels[k]} training rows label it, but {needed[k]}"
        for k in np.flatnonzero(incomplete & ~enough).tolist()
    }
    keypoints = np.flatnonzero(incomplete & enough)
    coarse_rows = needs_coarse(prior, anchors, setup.blank, setup.dataset.schema)
    return Trainable(anchors, prior, doubtful, labels, keypoints, skipped, coarse_rows)


def _without_slips(setup: Setup, anchors: Anchors, prior: ShapePrior) -> tuple[Anchors, ShapePrior, Mask]:
    """Anchors and prior with implausible labels of training rows trusted less, and (n, K) which these are.

    Scores of held-out rows count every label, so theirs are left alone.
    """
    training = setup.preparation.training
    doubtful, weighed = np.zeros((len(anchors), setup.dataset.schema.count), bool), anchors
    for _ in range(2):  # a prior that wrong labels have widened does not find them all
        found, implausible = weigh_down(prior, anchors)
        doubtful = implausible & training[:, None]
        if not doubtful.any():
            break
        weighed = Anchors(anchors.xy, np.where(doubtful[..., None], found.noise, anchors.noise))
        prior = setup.fit_prior(weighed, training)
    return weighed, prior, doubtful


def _divisible(setup: Setup, anchors: Anchors) -> Mask:
    """(K,): keypoints that rows of several folds label, so that each fold's model has some to learn from."""
    folds = setup.preparation.folds
    labelled = [anchors.exact[folds == fold].any(axis=0) for fold in range(setup.preparation.fold_count)]
    several: Mask = np.sum(labelled, axis=0) > 1
    return several
