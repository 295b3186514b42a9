"""The source audit: which keypoints mean different things in different label sources, and by how much.

Three steps. The shape prior of the reference group tells which shared keypoints agree and which are
suspected. A regressor of each suspected keypoint, trained on the reference group and blind to
suspected labels, measures the offset against the images. Regressors that see the labels moved by
the mean offset, as noisy anchors, then find each row's position in the reference convention.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from labelfill.arrays import Array, Integers, Mask
from labelfill.regressors.answering import Question, answer_in_blocks
from labelfill.regressors.ensemble import Ensemble, Member
from labelfill.regressors.examples import Evidence
from labelfill.regressors.setup import Setup, pattern_bank
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
from labelfill.sources.conventions import ConventionOffset, Sources, constant_map, measure_offset
from labelfill.sources.groups import least_offset


@dataclass(frozen=True)
class Audit:
    """What the source audit found.

    Attributes
    ----------
    anchors
        Of all rows, in the reference convention.
    agreements
        Of each other group with the reference group.
    offsets
        The claimed ones.
    """

    anchors: Anchors
    agreements: list[Agreement]
    offsets: list[ConventionOffset]

    def sources(self, setup: Setup, skipped: Iterable[int]) -> Sources:
        """What a run knows of label sources, and which keypoints it leaves blank."""
        prep, untested = setup.preparation, {a.group: a.untested for a in self.agreements}
        left_blank = np.array(sorted(skipped), np.int64)
        return Sources(prep.groups, prep.reference, self.offsets, untested, left_blank)


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


def compare_sources(setup: Setup) -> Comparison:
    """Judge from labels on which keypoints the label sources agree."""
    prep, labels = setup.preparation, setup.labels
    reference = int(np.bincount(prep.reference, minlength=len(prep.groups.names)).argmax())
    home: Mask = prep.group_of == reference
    if len(prep.groups.names) < 2 or not (home & prep.training).any():
        return Comparison([], None, home)
    prior = setup.fit_prior(labels_as_anchors(labels), home & prep.training)
    agreements = [
        find_agreement(
            prior, labels, group, reference, (prep.group_of == group) & prep.training, home & prep.training
        )
        for group in range(len(prep.groups.names))
        if group != reference
    ]
    return Comparison(agreements, prior, home)


def audit_sources(setup: Setup) -> Audit:
    """Find disputed keypoints, measure their offsets, and bring all labels into the reference convention."""
    compared = compare_sources(setup)
    offsets = _measured(setup, compared, compared.suspected) if compared.suspected else []
    audit = Audit(anchors_of_sources(setup, compared, offsets), compared.agreements, offsets)
    if not offsets or setup.settings.method == "prior":
        return audit
    return _refined(setup, audit, compared.home)


def anchors_of_sources(setup: Setup, compared: Comparison, offsets: Sequence[ConventionOffset]) -> Anchors:
    """All labels, moved by the offsets into the reference convention; those not tested are less trusted."""
    if compared.prior is None:
        return labels_as_anchors(setup.labels)
    untested = {a.group: a.untested for a in compared.agreements if a.untested.any()}
    variance = least_offset(compared.prior.extent) ** 2
    return guessed_anchors(setup.labels, setup.preparation.group_of, offsets, untested, variance)


def _evidence_of(setup: Setup, prior: ShapePrior, anchors: Anchors, home: Mask) -> Evidence:
    """Evidence of the reference group's rows alone."""
    prep = setup.preparation
    return replace(
        setup.evidence(prior, anchors), training=prep.training & home, validation=prep.validation & home
    )


def _measured(setup: Setup, compared: Comparison, suspected: list[int]) -> list[ConventionOffset]:
    """The offsets that regressors blind to suspected labels confirm."""
    prep, labels, home, prior = setup.preparation, setup.labels, compared.home, compared.prior
    assert prior is not None, "there are suspected keypoints"
    face_value = labels_as_anchors(labels)
    trusted = face_value.without(suspected)
    anchors = Anchors(face_value.xy, np.where(home[:, None, None], face_value.noise, trusted.noise))
    elsewhere = ~home & np.any(np.isfinite(labels[:, suspected]), axis=(1, 2))
    bank = PatternBank.of(trusted, elsewhere)
    untrained = Ensemble(setup.dataset.schema, prior, setup.partners)
    by_prior = setup.settings.method == "prior"
    banks = dict.fromkeys(suspected, bank)
    ensemble = untrained if by_prior else _trained(setup, UnitKind.PROBE, banks, untrained, anchors, home)
    offsets = []
    for k in suspected:
        rows = np.flatnonzero(elsewhere & prep.training & np.all(np.isfinite(labels[:, k]), axis=1))
        found = _look(setup, ensemble, trusted, rows, k)
        residual = _held_out_residual(setup, ensemble, face_value, bank, home, k)
        for agreement in compared.agreements:
            in_group = prep.group_of[rows] == agreement.group
            if agreement.suspected[k] and in_group.sum() > 1:
                offsets.append(
                    measure_offset(
                        agreement, k, labels, rows[in_group], found[in_group], residual, prior.extent
                    )
                )
    if by_prior:
        # The prior is too unsure of single rows to tell how offsets vary: they are taken as constant.
        variance = np.full(2, least_offset(prior.extent) ** 2)
        offsets = [
            replace(o, guess_variance=variance, noise=variance, to_group=constant_map(o.anchors, o.mean))
            for o in offsets
        ]
    return [offset for offset in offsets if offset.claimed]


def _refined(setup: Setup, audit: Audit, home: Mask) -> Audit:
    """Look again at disputed keypoints, given the guesses; what is found replaces them."""
    prep, guess = setup.preparation, audit.anchors
    prior = setup.fit_prior(guess, prep.training)
    banks = {}
    for k in sorted({offset.keypoint for offset in audit.offsets}):
        groups = [offset.group for offset in audit.offsets if offset.keypoint == k]
        banks[k] = pattern_bank(guess, np.isin(prep.group_of, groups), k)
    untrained = Ensemble(setup.dataset.schema, prior, setup.partners)
    ensemble = _trained(setup, UnitKind.AUDIT, banks, untrained, guess, home)
    answers, refined = look_at_disputed(setup, ensemble, guess, audit.offsets), []
    for offset in audit.offsets:
        k = offset.keypoint
        residual = _held_out_residual(setup, ensemble, guess, banks[k], home, k)
        refined.append(replace(offset, noise=np.maximum(residual.var(axis=0), 0.01)))
    return Audit(refined_anchors(guess, prep.group_of, refined, answers), audit.agreements, refined)


def audit_units(setup: Setup, kind: UnitKind, keypoints: Sequence[int]) -> list[UnitName]:
    """Names of the regressors of the first look (`PROBE`) or the second (`AUDIT`) at disputed keypoints."""
    return [] if setup.settings.method == "prior" else [UnitName(kind, k) for k in keypoints]


def _trained(
    setup: Setup, kind: UnitKind, banks: Mapping[int, PatternBank], ensemble: Ensemble, anchors: Anchors,
    home: Mask,
) -> Ensemble:  # fmt: skip
    """The ensemble with a patch regressor for each keypoint of `banks`, trained on the reference group."""
    prior, schema = ensemble.prior, setup.dataset.schema
    units = []
    for (k, bank), name in zip(banks.items(), audit_units(setup, kind, list(banks)), strict=True):
        expected = prior.condition(np.zeros(bank.noise.shape), bank.noise)
        view = patch_view(k, expected, prior, schema, setup.settings.patch_size)
        units.append(Unit(name, f"{kind}: {schema.keypoints[k]}", view, bank))
    evidence = _evidence_of(setup, prior, anchors, home)
    trainer = setup.trainer.announce("source audit", units, evidence, setup.blank)
    # The second look starts where the first one ended.
    probes = audit_units(setup, UnitKind.PROBE, list(banks)) if kind is UnitKind.AUDIT else []
    start = trainer.start(evidence, setup.blank, probes)
    regressors = trainer.train(units, evidence, "source audit", start)
    return replace(ensemble, patch=dict(zip(banks, regressors, strict=True)))


def look_at_disputed(
    setup: Setup, ensemble: Ensemble, guess: Anchors, offsets: Sequence[ConventionOffset]
) -> dict[int, Array]:
    """(n, 2) px by disputed keypoint: what the regressors find in rows of the disputing groups, else NaN."""
    answers = {}
    for k in sorted({offset.keypoint for offset in offsets}):
        groups = [offset.group for offset in offsets if offset.keypoint == k]
        rows = np.flatnonzero(np.isin(setup.preparation.group_of, groups) & guess.known[:, k])
        answers[k] = np.full((len(guess), 2), np.nan)
        answers[k][rows] = _look(setup, ensemble, guess, rows, k)
    return answers


def _look(setup: Setup, ensemble: Ensemble, anchors: Anchors, rows: Integers, k: int) -> Array:
    """(m, 2) px: answers for a keypoint in `rows`."""
    return _answer(setup, ensemble, Question(rows, anchors.take(rows), _only(k, anchors, rows),
                                             setup.dataset.images), k, "source audit")  # fmt: skip


def _held_out_residual(
    setup: Setup, ensemble: Ensemble, anchors: Anchors, bank: PatternBank, home: Mask, k: int
) -> Array:
    """(r, 2) px: cross-fitted label minus answer in the reference group, labels hidden as elsewhere."""
    prep = setup.preparation
    rows = np.flatnonzero(home & prep.training & anchors.exact[:, k])
    generator = np.random.default_rng(random_key(setup.seed, "audit residuals", k))
    borrowed = bank.draw(anchors.take(rows), generator)
    question = Question(rows, borrowed, _only(k, anchors, rows), setup.dataset.images, prep.folds[rows])
    residual: Array = anchors.xy[rows, k] - _answer(setup, ensemble, question, k, "")
    return residual


def _only(k: int, anchors: Anchors, rows: Integers) -> Mask:
    """(m, K): one keypoint is asked for in all rows."""
    return np.tile(np.arange(anchors.xy.shape[1]) == k, (len(rows), 1))


def _answer(setup: Setup, ensemble: Ensemble, question: Question, k: int, desc: str) -> Array:
    """(m, 2) px: what the keypoint's regressor answers; the shape prior where none is trained."""
    members = answer_in_blocks(ensemble, question, setup.computing, desc)
    answer: Array = members.xy[Member.PATCH if ensemble.patch else Member.PRIOR, :, k]
    return answer
