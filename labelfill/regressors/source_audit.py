"""The source audit: which keypoints mean different things in different label sources, and by how much.

Three steps. The shape prior of the reference group tells which shared keypoints agree and which are
suspected. A regressor of each suspected keypoint, trained on the reference group and blind to
suspected labels, measures the offset against the images. Regressors that see the labels moved by
the mean offset, as noisy anchors, then find each row's position in the reference convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Array, Mask
from labelfill.regressors.answering import answer_in_blocks
from labelfill.regressors.ensemble import Ensemble, Member, Regressor
from labelfill.regressors.patch_regressor import Evidence
from labelfill.regressors.stage_state import Work, pattern_bank
from labelfill.regressors.unit_names import UnitKind, UnitName
from labelfill.regressors.units import Unit
from labelfill.regressors.views import patch_view
from labelfill.runs.randomness import random_key
from labelfill.shape.prior import ShapePrior
from labelfill.sources.agreement import Agreement, find_agreement
from labelfill.sources.anchors import (
    Anchors,
    PatternBank,
    guessed_anchors,
    labels_as_anchors,
    refined_anchors,
)
from labelfill.sources.conventions import ConventionOffset, constant_map, measure_offset
from labelfill.sources.groups import least_offset


@dataclass(frozen=True)
class Audit:
    """What the source audit found.

    Attributes
    ----------
    anchors
        Of all rows, in the reference convention.
    offsets
        The claimed ones.
    """

    anchors: Anchors
    agreements: list[Agreement] = field(default_factory=list)
    offsets: list[ConventionOffset] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """What labels alone tell of label sources.

    Attributes
    ----------
    agreements
        Of each other group with the reference group.
    prior
        Of the reference group; None if there is nothing to compare.
    home
        (n,): the reference group's rows.
    """

    agreements: list[Agreement]
    prior: ShapePrior | None
    home: Mask

    @property
    def suspected(self) -> list[int]:
        """Keypoints to be measured against the images."""
        if not self.agreements:
            return []
        return np.flatnonzero(np.any([a.suspected for a in self.agreements], axis=0)).tolist()


def compare_sources(work: Work) -> Comparison:
    """Judge from labels on which keypoints the label sources agree."""
    prep, labels = work.preparation, work.labels
    reference = int(np.bincount(prep.reference, minlength=len(prep.groups.names)).argmax())
    home: Mask = prep.group_of == reference
    if len(prep.groups.names) < 2 or not (home & prep.training).any():
        return Comparison([], None, home)
    prior = work.fit_prior(labels_as_anchors(labels), home & prep.training)
    agreements = [
        find_agreement(
            prior, labels, group, reference, (prep.group_of == group) & prep.training, home & prep.training
        )
        for group in range(len(prep.groups.names))
        if group != reference
    ]
    return Comparison(agreements, prior, home)


def audit_sources(work: Work) -> Audit:
    """Find disputed keypoints, measure their offsets, and bring all labels into the reference convention."""
    compared = compare_sources(work)
    offsets = _measured(work, compared, compared.suspected) if compared.suspected else []
    audit = Audit(anchors_of_sources(work, compared, offsets), compared.agreements, offsets)
    if not offsets or work.settings.method == "prior":
        return audit
    return _refined(work, audit, compared.home)


def anchors_of_sources(work: Work, compared: Comparison, offsets: Sequence[ConventionOffset]) -> Anchors:
    """All labels, moved by the offsets into the reference convention; those not tested are less trusted."""
    if compared.prior is None:
        return labels_as_anchors(work.labels)
    untested = {a.group: a.untested for a in compared.agreements if a.untested.any()}
    variance = least_offset(compared.prior.extent) ** 2
    return guessed_anchors(work.labels, work.preparation.group_of, offsets, untested, variance)


def _evidence_of(work: Work, prior: ShapePrior, anchors: Anchors, home: Mask) -> Evidence:
    """Evidence of the reference group's rows alone."""
    prep = work.preparation
    return replace(
        work.evidence(prior, anchors), training=prep.training & home, validation=prep.validation & home
    )


def _measured(work: Work, compared: Comparison, suspected: list[int]) -> list[ConventionOffset]:
    """The offsets that regressors blind to suspected labels confirm."""
    prep, labels, home, prior = work.preparation, work.labels, compared.home, compared.prior
    assert prior is not None, "there are suspected keypoints"
    face_value = labels_as_anchors(labels)
    trusted = face_value.without(suspected)
    anchors = Anchors(face_value.xy, np.where(home[:, None, None], face_value.noise, trusted.noise))
    elsewhere = ~home & np.any(np.isfinite(labels[:, suspected]), axis=(1, 2))
    ensemble = Ensemble(work.dataset.schema, prior, work.partners)
    member = Member.PRIOR  # it answers where no network is trained
    if work.settings.method != "prior":
        bank = PatternBank.of(trusted, elsewhere)
        ensemble = _trained(
            work, UnitKind.PROBE, suspected, dict.fromkeys(suspected, bank), ensemble, anchors, home
        )
        member = Member.PATCH
    offsets = []
    for k in suspected:
        rows = np.flatnonzero(elsewhere & prep.training & np.all(np.isfinite(labels[:, k]), axis=1))
        found = _look(work, ensemble, trusted, rows, k, member)
        residual = _held_out_residual(
            work, ensemble, face_value, PatternBank.of(trusted, elsewhere), home, k, member
        )
        for agreement in compared.agreements:
            own = prep.group_of[rows] == agreement.group
            if agreement.suspected[k] and own.sum() > 1:
                offsets.append(
                    measure_offset(agreement, k, labels, rows[own], found[own], residual, prior.extent)
                )
    if member is Member.PRIOR:
        # The prior is too unsure of single rows to tell how offsets vary: they are taken as constant.
        variance = np.full(2, least_offset(prior.extent) ** 2)
        offsets = [
            replace(o, guess_variance=variance, noise=variance, to_group=constant_map(o.anchors, o.mean))
            for o in offsets
        ]
    return [offset for offset in offsets if offset.claimed]


def _refined(work: Work, audit: Audit, home: Mask) -> Audit:
    """Look again at disputed keypoints, given the guesses; what is found replaces them."""
    prep, guess = work.preparation, audit.anchors
    disputed = sorted({offset.keypoint for offset in audit.offsets})
    prior = work.fit_prior(guess, prep.training)
    banks = {
        k: pattern_bank(guess, np.isin(prep.group_of, [o.group for o in audit.offsets if o.keypoint == k]), k)
        for k in disputed
    }
    ensemble = Ensemble(work.dataset.schema, prior, work.partners)
    ensemble = _trained(work, UnitKind.AUDIT, disputed, banks, ensemble, guess, home)
    answers, refined = look_at_disputed(work, ensemble, guess, audit.offsets), []
    for offset in audit.offsets:
        k = offset.keypoint
        residual = _held_out_residual(work, ensemble, guess, banks[k], home, k, Member.PATCH)
        refined.append(replace(offset, noise=np.maximum(residual.var(axis=0), 0.01)))
    return Audit(refined_anchors(guess, prep.group_of, refined, answers), audit.agreements, refined)


def audit_units(work: Work, kind: UnitKind, keypoints: Sequence[int]) -> list[UnitName]:
    """Names of the regressors of the first look (`PROBE`) or the second (`AUDIT`) at disputed keypoints."""
    return [] if work.settings.method == "prior" else [UnitName(kind, k) for k in keypoints]


def _trained(
    work: Work,
    kind: UnitKind,
    keypoints: list[int],
    banks: dict[int, PatternBank],
    ensemble: Ensemble,
    anchors: Anchors,
    home: Mask,
) -> Ensemble:
    """The ensemble with a patch regressor for each of the keypoints, trained on the reference group."""
    prior, schema = ensemble.prior, work.dataset.schema
    units = []
    for k, name in zip(keypoints, audit_units(work, kind, keypoints), strict=True):
        expected = prior.condition(np.zeros(banks[k].noise.shape), banks[k].noise)
        view = patch_view(k, expected, prior, schema, work.settings.patch_size)
        units.append(Unit(name, f"{kind}: {schema.keypoints[k]}", view, banks[k]))
    regressors: list[Regressor] = work.trainer.train(
        units, _evidence_of(work, prior, anchors, home), "source audit"
    )
    return replace(ensemble, patch=dict(zip(keypoints, regressors, strict=True)))


def look_at_disputed(
    work: Work, ensemble: Ensemble, guess: Anchors, offsets: Sequence[ConventionOffset]
) -> dict[int, Array]:
    """(n, 2) px by disputed keypoint: what the regressors find in rows of the disputing groups, else NaN."""
    answers = {}
    for k in sorted({offset.keypoint for offset in offsets}):
        groups = [offset.group for offset in offsets if offset.keypoint == k]
        rows = np.flatnonzero(np.isin(work.preparation.group_of, groups) & guess.known[:, k])
        answers[k] = np.full((len(guess), 2), np.nan)
        answers[k][rows] = _look(work, ensemble, guess, rows, k, Member.PATCH)
    return answers


def _look(
    work: Work, ensemble: Ensemble, anchors: Anchors, rows: NDArray[np.int64], k: int, member: Member
) -> Array:
    """(m, 2) px: one member's answers for a keypoint in `rows`."""
    wanted = np.zeros((len(rows), anchors.xy.shape[1]), bool)
    wanted[:, k] = True
    found = answer_in_blocks(
        ensemble, rows, anchors.take(rows), wanted, work.dataset.images, work.device,
        desc="source audit", progress=work.progress,
    )  # fmt: skip
    answer: Array = found.xy[member, :, k]
    return answer


def _held_out_residual(
    work: Work, ensemble: Ensemble, anchors: Anchors, bank: PatternBank, home: Mask, k: int, member: Member
) -> Array:
    """(r, 2) px: cross-fitted label minus answer in the reference group, labels hidden as elsewhere."""
    prep = work.preparation
    rows = np.flatnonzero(home & prep.training & anchors.exact[:, k])
    generator = np.random.default_rng(random_key(work.seed, "audit residuals", k))
    borrowed = bank.draw(anchors.take(rows), generator)
    wanted = np.zeros((len(rows), anchors.xy.shape[1]), bool)
    wanted[:, k] = True
    found = answer_in_blocks(
        ensemble, rows, borrowed, wanted, work.dataset.images, work.device, folds=prep.folds[rows]
    )
    residual: Array = anchors.xy[rows, k] - found.xy[member, :, k]
    return residual
