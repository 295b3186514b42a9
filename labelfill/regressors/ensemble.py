"""All that answers for the keypoints of a row, put together: prior, face and patch regressors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
from torch import nn

from labelfill.arrays import Array, Integers, Mask
from labelfill.regressors.calibration.blending import Calibration
from labelfill.regressors.calibration.joint_correction import Found, JointCorrection
from labelfill.regressors.calibration.radii import Radii
from labelfill.regressors.mirror_averaging import averaged_with_mirrored
from labelfill.regressors.patch_regressor import answer
from labelfill.regressors.patches import Pyramid, upright
from labelfill.regressors.views import View, ViewKind, look
from labelfill.schema import KeypointSchema
from labelfill.shape.prior import Expected, ShapePrior
from labelfill.sources.anchors import Anchors


class Member(IntEnum):
    """Who answers, in the order of the arrays that hold their answers."""

    PRIOR = 0
    FACE = 1
    PATCH = 2


@dataclass(frozen=True)
class Regressor:
    """The networks of one regressor, one per fold."""

    view: View
    networks: list[nn.Module]


@dataclass(frozen=True)
class Members:
    """What the members answer for some rows.

    Attributes
    ----------
    xy, sigma
        (M, n, K, 2) and (M, n, K), px; NaN where one does not answer.
    expected
        (n, K, 2), px: what the prior expects of all keypoints, those not asked for included.
    scale, angle
        (n,): of the expected shape against the mean shape.
    """

    xy: Array
    sigma: Array
    expected: Array
    scale: Array
    angle: Array

    @property
    def found(self) -> Found:
        """The same as the joint correction looks at it."""
        return Found(self.expected, self.xy[Member.FACE :], self.scale, self.angle)


def averaged(by_fold: Sequence[Members]) -> Members:
    """What all folds' networks answer on average, given what each fold's do for the same rows."""
    xy = np.mean([members.xy for members in by_fold], axis=0)
    sigma = np.sqrt(np.mean([members.sigma**2 for members in by_fold], axis=0))
    return replace(by_fold[0], xy=xy, sigma=sigma)


@dataclass(frozen=True)
class Ensemble:
    """What a run learnt of a table's keypoints.

    Attributes
    ----------
    partners
        (K,) mirror partners; None if mirrored rows are not used.
    patch
        By keypoint.
    face
        None where no network was trained.
    coarse
        Sees the whole image, for rows of which too little is known; its answers become anchors.
    coarse_noise
        (K,), px²: variance that these anchors are taken to have.
    fold_priors
        Shape priors that did not see each fold; only while the first stage measures residuals.
    """

    schema: KeypointSchema
    prior: ShapePrior
    partners: tuple[int, ...] | None
    patch: dict[int, Regressor] = field(default_factory=dict)
    face: Regressor | None = None
    coarse: Regressor | None = None
    coarse_noise: Array | None = None
    calibration: Calibration | None = None
    joint: JointCorrection | None = None
    radii: Radii | None = None
    fold_priors: tuple[ShapePrior, ...] = ()

    @property
    def has_networks(self) -> bool:
        """Whether networks answer, which look at images."""
        return bool(self.patch) or self.face is not None or self.coarse is not None

    @property
    def image_only(self) -> bool:
        """Whether regressors see whole images and nothing else: what a row labels is then no evidence."""
        return bool(self.patch) and all(
            regressor.view.kind is ViewKind.IMAGE for regressor in self.patch.values()
        )

    def best(self, members: Members) -> tuple[Array, Array]:
        """Positions (n, K, 2) and calibrated sigma (n, K), px: members blended, then corrected jointly."""
        assert self.calibration is not None
        xy, sigma = self.calibration.blend(members.xy, members.sigma)
        return xy if self.joint is None else self.joint.apply(members.found, xy), sigma

    def members(
        self,
        index: Integers,
        anchors: Anchors,
        wanted: Mask,
        pyramid: Pyramid | None,
        folds: Integers | None = None,
    ) -> Members:
        """Answers for rows whose `anchors` are given.

        Parameters
        ----------
        index
            (n,) of each row's image.
        anchors
            Of these rows.
        wanted
            (n, K): which keypoints are asked for.
        pyramid
            The images; None if there are none, where no network answers.
        folds
            (n,): answer by the networks that did not see this fold only; None averages over all.
        """
        xy = np.full((len(Member), *wanted.shape, 2), np.nan)
        sigma = np.full((len(Member), *wanted.shape), np.nan)
        expected = self._expected(anchors, folds)
        rows = _Rows(index, expected, pyramid, folds)
        if not self.image_only:
            xy[Member.PRIOR], sigma[Member.PRIOR] = expected.xy, expected.sigma
        if self.face is not None:
            asked = np.flatnonzero(wanted.any(axis=1))
            xy[Member.FACE][asked], sigma[Member.FACE][asked] = self._both_ways(self.face, rows.take(asked))
        for k, regressor in self.patch.items():
            asked = np.flatnonzero(wanted[:, k])
            if len(asked):
                found, stated = self._both_ways(regressor, rows.take(asked))
                xy[Member.PATCH][asked, k], sigma[Member.PATCH][asked, k] = found[:, 0], stated[:, 0]
        xy[:, ~wanted], sigma[:, ~wanted] = np.nan, np.nan
        scale, angle = upright(expected.xy, expected.sigma, self.prior.mean)
        return Members(xy, sigma, expected.xy, scale, angle)

    def _expected(self, anchors: Anchors, folds: Integers | None) -> Expected:
        if folds is None or not self.fold_priors:
            return self.prior.condition(anchors.xy, anchors.noise)
        xy = np.empty(anchors.xy.shape)
        covariance = np.empty((*anchors.xy.shape, 2))
        for fold, prior in enumerate(self.fold_priors):
            rows = np.flatnonzero(folds == fold)
            if len(rows):
                part = prior.condition(anchors.xy[rows], anchors.noise[rows])
                xy[rows], covariance[rows] = part.xy, part.covariance
        return Expected(xy, covariance)

    def coarse_anchors(
        self, index: Integers, anchors: Anchors, pyramid: Pyramid, folds: Integers | None = None
    ) -> Anchors:
        """The rows' anchors, completed by what the whole image shows; parameters as for `members`."""
        assert self.coarse is not None and self.coarse_noise is not None
        nothing = self.prior.condition(anchors.xy, np.full(anchors.noise.shape, np.inf))
        found, _ = self._both_ways(self.coarse, _Rows(index, nothing, pyramid, folds))
        unknown = ~np.isfinite(anchors.noise)
        noise = np.where(unknown, self.coarse_noise[None, :, None], anchors.noise)
        return Anchors(np.where(unknown, found, anchors.xy), noise)

    def _both_ways(self, regressor: Regressor, rows: _Rows) -> tuple[Array, Array]:
        """Average over folds, and over the image and its mirrored copy."""
        straight = self._averaged(regressor, rows, mirrored=False)
        partner = self._partner(regressor)
        if self.partners is None or partner is None:
            return straight
        turned = replace(rows, expected=_mirrored(rows.expected, self.schema, self.partners))
        mirrored = self._averaged(partner, turned, mirrored=True)
        answered = self.partners if regressor.view.keypoint is None else (0,)
        return averaged_with_mirrored(straight, mirrored, self.schema, answered)

    def _partner(self, regressor: Regressor) -> Regressor | None:
        """What answers in the mirrored image for the same keypoints."""
        keypoint = regressor.view.keypoint
        if keypoint is None or self.partners is None:
            return regressor
        return self.patch.get(self.partners[keypoint])

    def _averaged(self, regressor: Regressor, rows: _Rows, *, mirrored: bool) -> tuple[Array, Array]:
        assert rows.pyramid is not None, "networks look at images"
        view, networks = regressor.view, regressor.networks
        flipped = np.full(len(rows.index), mirrored)
        seen = look(view, rows.index, flipped, rows.expected, self.prior, self.schema)
        if rows.folds is None:
            together = answer(view, networks, seen, rows.pyramid, self.prior)
            return together.xy, together.sigma
        shape = (len(rows.index), view.answers(self.schema.count))
        xy, sigma = np.zeros((*shape, 2)), np.zeros(shape)
        for fold, network in enumerate(networks):
            asked = np.flatnonzero(rows.folds == fold)
            part = answer(view, [network], seen.take(asked), rows.pyramid, self.prior)
            xy[asked], sigma[asked] = part.xy, part.sigma
        return xy, sigma


@dataclass(frozen=True)
class _Rows:
    """Rows that networks are asked about; fields as the parameters of `Ensemble.members`."""

    index: Integers
    expected: Expected
    pyramid: Pyramid | None
    folds: Integers | None

    def take(self, part: Integers) -> _Rows:
        folds = None if self.folds is None else self.folds[part]
        return _Rows(self.index[part], self.expected.take(part), self.pyramid, folds)


def _mirrored(expected: Expected, schema: KeypointSchema, partners: tuple[int, ...]) -> Expected:
    """What is expected in the mirrored image; keypoints without a partner stay at their mirrored place."""
    order = np.asarray([p if p >= 0 else k for k, p in enumerate(partners)])
    flip = np.array([-1.0, 1.0])
    covariance = expected.covariance[:, order] * (flip[:, None] * flip[None, :])
    return Expected(schema.mirror(expected.xy, tuple(order.tolist())), covariance)
