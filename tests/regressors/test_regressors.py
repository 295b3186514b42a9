"""Regressors on patches: views, the way from targets to answers and back, folds that stay unseen."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelfill.networks.architectures import PatchRegressor
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.fit import Plan
from labelfill.regressors.examples import Evidence, examples_of, sample_of, sought_keypoints
from labelfill.regressors.patch_regressor import Answer, RegressorJob, answer, train_folds
from labelfill.regressors.patches import Pyramid
from labelfill.regressors.trunk import Start, Trunk, TrunkJob, all_looks
from labelfill.regressors.views import View, face_view, image_view, look, make_network, patch_view
from labelfill.runs.records import record_of
from labelfill.schema import ImageSize, KeypointSchema
from labelfill.shape.prior import Expected, ShapePrior, fit_shape_prior, with_mirrored
from labelfill.sources.anchors import Anchors, PatternBank, labels_as_anchors
from tests.drawn_shapes import CHIN, FACE, LEFT_BROW, LEFT_EYE, PARTNERS, RIGHT_BROW, RIGHT_EYE, blobs, faces

CPU = torch.device("cpu")
ROWS = 90
EYES = np.isin(np.arange(7), [LEFT_EYE, RIGHT_EYE])
FEW = Plan(epochs=2, batch_size=32, learning_rate=2e-3)


@cache
def world() -> Evidence:
    """Small faces as blobs: 60 training rows in 3 folds, 15 for validation and for evaluation."""
    rng = np.random.default_rng(0)
    xy = faces(ROWS, rng, scatter=0.8)
    images = blobs(xy, FACE.image_size)
    anchors = labels_as_anchors(xy)
    training = np.arange(ROWS) < 60
    prior = fit_shape_prior(*with_mirrored(anchors.xy[training], anchors.noise[training], FACE, PARTNERS))
    folds = np.where(training, np.arange(ROWS) % 3, -1)
    validation = (np.arange(ROWS) >= 60) & (np.arange(ROWS) < 75)
    return Evidence(FACE, prior, PARTNERS, images, anchors, training, validation, folds, 3)


def eyes_only() -> PatternBank:
    """Rows to be filled label the eyes."""
    return PatternBank(np.where(EYES[:, None], 0.0, np.inf)[None].repeat(2, axis=2))


def expected_of(rows: np.ndarray) -> Expected:
    evidence = world()
    known = evidence.anchors.take(rows).without(~EYES)
    return evidence.prior.condition(known.xy, known.noise)


def views() -> dict[str, View]:
    evidence = world()
    expected = expected_of(np.arange(ROWS))
    return {
        "patch": patch_view(RIGHT_BROW, expected, evidence.prior, FACE, 16),
        "face": face_view(expected, evidence.prior, FACE),
        "image": image_view(None, FACE, evidence.prior),
        "one keypoint in the image": image_view(CHIN, FACE, evidence.prior),
    }


KINDS = sorted(views())


def answered(
    view: View, network: nn.Module, rows: np.ndarray, expected: Expected, pyramid: Pyramid,
    *, mirrored: bool = False,
) -> Answer:  # fmt: skip
    prior = world().prior
    seen = look(view, rows, np.full(len(rows), mirrored), expected, prior, FACE)
    return answer(view, [network], seen, pyramid, prior)


class Told(nn.Module):
    """A network that answers what it was told, row after row."""

    def __init__(self, told: Tensor) -> None:
        super().__init__()
        self.told, self.next = told, 0

    def forward(self, inputs: Tensor, evidence: Tensor) -> Tensor:
        told = self.told[self.next : self.next + len(inputs)]
        self.next += len(inputs)
        return torch.cat([told, told.new_zeros(len(inputs) - len(told), *told.shape[1:])])


# -- views ------------------------------------------------------------------------------------------


def test_a_patch_is_wide_enough_for_the_priors_errors() -> None:
    """The less surely a keypoint is expected the wider its patch, up to the image and never nothing."""
    evidence, rows = world(), np.arange(10)
    halves = []
    for sigma in (0.0, 2.0, 5.0, 500.0):
        covariance = np.broadcast_to(sigma**2 * np.eye(2), (10, 7, 2, 2))
        expected = Expected(expected_of(rows).xy, covariance)
        view = patch_view(CHIN, expected, evidence.prior, FACE, 32)
        assert view.half >= min(2.448 * sigma, 32)
        halves.append(view.half)
    assert halves == sorted(halves)
    assert halves[0] >= 4
    assert halves[-1] == 32


def test_a_single_keypoint_has_views() -> None:
    """A table of one keypoint has no extent, and still a patch and a view of some px."""
    prior = ShapePrior(np.array([[30.0, 20.0]]), np.diag([25.0, 16.0]))
    schema = KeypointSchema(("p",), ImageSize(48, 64))
    expected = prior.condition(np.zeros((3, 1, 2)), np.full((3, 1, 2), np.inf))
    for view in (
        patch_view(0, expected, prior, schema, 16),
        face_view(expected, prior, schema),
        image_view(0, schema, prior),
    ):
        assert view.half >= 4
        assert view.spread >= 0.25
        seen = look(view, np.arange(3), np.zeros(3, bool), expected, prior, schema)
        assert np.isfinite(seen.frames.centre).all()
        assert make_network(view, 1)(
            torch.rand(2, 1, view.size, view.size), torch.rand(2, 3 if view.keypoint is None else 0)
        ).shape == (2, 1, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_survives_its_json(kind: str) -> None:
    """What is written of a view makes the same view again."""
    view = views()[kind]
    assert record_of(View, json.loads(json.dumps(asdict(view)))) == view


def test_patches_are_centred_on_the_keypoint_and_views_on_the_shape() -> None:
    """A patch lies where its keypoint is expected and turns with the face; the image view does neither."""
    rows = np.arange(20)
    expected = expected_of(rows)
    for kind, view in views().items():
        seen = look(view, rows, np.zeros(20, bool), expected, world().prior, FACE)
        centre = {"patch": expected.xy[:, RIGHT_BROW], "face": expected.xy.mean(axis=1)}.get(
            kind, np.tile(FACE.image_size.centre, (20, 1))
        )
        np.testing.assert_allclose(seen.frames.centre, centre)
        np.testing.assert_allclose(seen.frames.half, view.half * seen.scale)
        assert (seen.frames.angle == 0).all() == view.whole_image


# -- what is learnt, what is answered ---------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_network_that_answers_its_targets_finds_the_truth(kind: str, mirrored: bool) -> None:
    """Targets and answers are inverse: told the targets, a regressor answers the labels, in px."""
    evidence, view = world(), views()[kind]
    rows = np.arange(200) % ROWS  # more than a chunk
    flipped = np.full(200, mirrored)
    truth = evidence.anchors.take(rows)
    truth = truth.mirrored(FACE, PARTNERS) if mirrored else truth
    sample = replace(
        sample_of(evidence, ~EYES, evidence.training), rows=rows, mirrored=flipped, anchors=truth
    )
    pyramid = Pyramid(evidence.images, CPU)
    learnt = examples_of(view, sample, eyes_only(), evidence, pyramid, 0, jitter=False)
    known = truth.without(~EYES)
    expected = evidence.prior.condition(known.xy, known.noise)
    told = torch.cat([learnt.target, torch.zeros(*learnt.target.shape[:2], 1)], dim=-1)
    found = answered(view, Told(told), rows, expected, pyramid, mirrored=mirrored)
    which = range(7) if view.keypoint is None else [view.keypoint]
    np.testing.assert_allclose(found.xy, truth.xy[:, which], atol=1e-3)
    np.testing.assert_allclose(
        found.sigma, np.repeat(learnt.scale.numpy()[:, None], len(which), 1), rtol=1e-4
    )


def test_the_target_is_where_the_patch_shows_the_keypoint() -> None:
    """A jittered patch shows the bright brow where the target says it is."""
    evidence = world()
    alone = np.flatnonzero(np.arange(7) == RIGHT_BROW)
    images = blobs(evidence.anchors.xy[:, alone], FACE.image_size, radius=1.5)
    evidence = replace(evidence, images=images, partners=None)
    view = replace(views()["patch"], size=32, half=12.0)
    sample = sample_of(evidence, np.arange(7) == RIGHT_BROW, evidence.training)
    learnt = examples_of(view, sample, eyes_only(), evidence, Pyramid(images, CPU), 1, jitter=True)
    weight = torch.relu(learnt.inputs[:, 0] - 2.0)  # far above the standardised background
    along = (torch.arange(32) + 0.5) / 16 - 1
    seen = torch.stack([(weight.sum(1) * along).sum(1), (weight.sum(2) * along).sum(1)], -1)
    seen = seen / weight.sum((1, 2))[:, None]
    inside = (learnt.target[:, 0] * view.spread / view.half).abs().amax(dim=1) < 0.7
    assert inside.sum() > 40
    error = seen - learnt.target[:, 0] * view.spread / view.half
    assert float(error[inside].abs().max()) < 0.08


def test_networks_answer_together_as_they_do_on_average() -> None:
    """Positions are averaged, and variances; of no rows there are no answers."""
    evidence, view, rows = world(), views()["patch"], np.arange(5)
    expected, pyramid = expected_of(rows), Pyramid(evidence.images, CPU)
    torch.manual_seed(0)
    networks = [make_network(view, 7) for _ in range(2)]
    each = [answered(view, network, rows, expected, pyramid) for network in networks]
    seen = look(view, rows, np.zeros(5, bool), expected, evidence.prior, FACE)
    both = answer(view, networks, seen, pyramid, evidence.prior)
    np.testing.assert_allclose(both.xy, (each[0].xy + each[1].xy) / 2)
    np.testing.assert_allclose(both.sigma, np.sqrt((each[0].sigma ** 2 + each[1].sigma ** 2) / 2))
    nobody = np.zeros(0, np.int64)
    assert answered(view, networks[0], nobody, expected_of(nobody), pyramid).xy.shape == (0, 1, 2)


def test_the_mirror_partners_rows_are_learnt_from() -> None:
    """A row that labels the left brow teaches, mirrored, the right brow."""
    evidence = world()
    noise = evidence.anchors.noise.copy()
    noise[5:, RIGHT_BROW] = np.inf
    noise[8:, LEFT_BROW] = np.inf
    evidence = replace(evidence, anchors=Anchors(evidence.anchors.xy, noise))
    sample = sample_of(evidence, np.arange(7) == RIGHT_BROW, evidence.training)
    assert sample.rows.tolist() == [*range(5), *range(8)]
    assert sample.mirrored.tolist() == [False] * 5 + [True] * 8
    assert sample.anchors.exact[:, RIGHT_BROW].all()
    np.testing.assert_allclose(
        sample.anchors.xy[5:, RIGHT_BROW, 0], 63 - evidence.anchors.xy[:8, LEFT_BROW, 0]
    )
    alone = sample_of(replace(evidence, partners=None), np.arange(7) == RIGHT_BROW, evidence.training)
    assert not alone.mirrored.any()


def test_what_a_row_is_told_is_nothing_to_learn() -> None:
    """The face regressor learns what patterns hide, and sees nothing of it in its evidence."""
    evidence, view = world(), views()["face"]
    sample = sample_of(evidence, ~EYES, evidence.training)
    pyramid = Pyramid(evidence.images, CPU)
    learnt = examples_of(view, sample, eyes_only(), evidence, pyramid, 0, jitter=False)
    assert (learnt.weight[:, EYES] == 0).all()
    assert (learnt.weight[:, ~EYES] == 1).all()
    moved = sample.anchors.xy.copy()
    moved[:, ~EYES] += 30
    elsewhere = replace(sample, anchors=Anchors(moved, sample.anchors.noise))
    again = examples_of(view, elsewhere, eyes_only(), evidence, pyramid, 0, jitter=False)
    assert torch.equal(again.evidence, learnt.evidence)
    assert torch.equal(again.inputs, learnt.inputs)
    assert not torch.equal(again.target, learnt.target)


def test_patches_lie_off_by_errors_that_the_prior_could_make() -> None:
    """Not always by the one that it made: a row seen often is off by as much as the prior states."""
    evidence, view = world(), views()["patch"]
    sample = sample_of(evidence, np.arange(7) == RIGHT_BROW, evidence.training).take(np.zeros(400, np.int64))
    learnt = examples_of(view, sample, eyes_only(), evidence, Pyramid(evidence.images, CPU), 0, jitter=True)
    off = torch.linalg.vector_norm(learnt.target[:, 0] * learnt.scale[:, None], dim=1)  # px
    expected = expected_of(sample.rows[:1]).covariance[0, RIGHT_BROW]
    assert float(off.square().mean()) == pytest.approx(np.trace(expected), rel=0.2)
    assert float(off.std()) > 0.3 * float(off.mean())


def test_keypoints_that_are_sought() -> None:
    """A patch regressor seeks its keypoint; a face regressor what half of the rows to be filled lack."""
    assert sought_keypoints(views()["patch"], eyes_only()).tolist() == (np.arange(7) == RIGHT_BROW).tolist()
    assert sought_keypoints(views()["face"], eyes_only()).tolist() == (~EYES).tolist()
    complete = PatternBank(np.zeros((1, 7, 2)))
    assert sought_keypoints(views()["face"], complete).all()


# -- training ---------------------------------------------------------------------------------------


def trained(evidence: Evidence, plan: Plan = FEW, folds: list[int] | None = None) -> list[Fitted]:
    return train_folds(
        RegressorJob("brow", views()["patch"], eyes_only(), plan, 1, 0, "cpu"), evidence, folds=folds
    )


def unlike(evidence: Evidence, rows: np.ndarray) -> Evidence:
    """The same with other images and labels in some rows."""
    images, xy = evidence.images.copy(), evidence.anchors.xy.copy()
    images[rows] = 255 - images[rows]
    xy[rows] += 7
    return replace(evidence, images=images, anchors=Anchors(xy, evidence.anchors.noise))


def weights(fitted: Fitted) -> bytes:
    return b"".join(fitted.state[name].contiguous().numpy().tobytes() for name in sorted(fitted.state))


def test_a_fold_learns_nothing_of_its_own_rows_nor_of_held_out_ones() -> None:
    """Whatever a fold's own and held-out rows hold, its network comes out the same, byte for byte."""
    evidence = replace(world(), validation=np.zeros(ROWS, bool))
    before = weights(trained(evidence, folds=[1])[0])
    hidden = (evidence.folds == 1) | ~evidence.training
    assert weights(trained(unlike(evidence, hidden), folds=[1])[0]) == before
    inside = evidence.training & (evidence.folds == 0)
    assert weights(trained(unlike(evidence, inside), folds=[1])[0]) != before


def trunk_of(evidence: Evidence, fold: int) -> Fitted:
    looks = all_looks(evidence, np.tile(~EYES, (ROWS, 1)), 16)
    return TrunkJob(looks, replace(FEW, epochs=1), 1, 0, "cpu").train(evidence, [fold], lambda _: None)[0]


def test_a_folds_trunk_and_what_starts_from_it_learn_nothing_of_its_rows() -> None:
    """Other labels and images in one fold's rows: its trunk and network stay, the others' do not."""
    evidence = replace(world(), validation=np.zeros(ROWS, bool))
    changed = unlike(evidence, (evidence.folds == 1) | ~evidence.training)
    before, after = ([trunk_of(one, fold) for fold in range(3)] for one in (evidence, changed))
    assert [weights(a) == weights(b) for a, b in zip(before, after, strict=True)] == [False, True, False]

    view = views()["patch"]
    assert view.keypoint is not None

    def network(evidence: Evidence, trunk: list[Fitted], trained: dict[int, Trunk]) -> Fitted:
        """Of fold 1, which starts from its trunk, or from what was trained before for its keypoint."""
        start = Start(tuple(fitted.state for fitted in trunk), trained, evidence.folds, view.size)
        job = RegressorJob("brow", view, eyes_only(), FEW, 1, 0, "cpu", start)
        return train_folds(job, evidence, folds=[1])[0]

    first = [network(*world, {}) for world in ((evidence, before), (changed, after))]
    assert weights(first[0]) == weights(first[1])
    other = network(evidence, [before[0], before[0], before[2]], {})
    assert weights(first[0]) != weights(other)
    again = [
        network(*world, {view.keypoint: (own.state,) * 3})
        for world, own in zip(((evidence, before), (changed, after)), first, strict=True)
    ]
    assert weights(again[0]) == weights(again[1]) != weights(first[0])
    assert weights(again[0]) != weights(network(evidence, before, {view.keypoint: (other.state,) * 3}))


def test_a_trunk_answers_each_keypoint_where_its_network_does() -> None:
    """A network that starts from a trunk answers what the trunk answers for its keypoint."""
    trunk = PatchRegressor(16, 7).eval()
    patches, nothing = torch.rand(4, 1, 16, 16), torch.zeros(4, 0)
    for keypoint in (0, RIGHT_BROW, 6):
        network = PatchRegressor(16).eval()
        network.start_from(trunk.state_dict(), {0: keypoint})
        torch.testing.assert_close(network(patches, nothing)[:, 0], trunk(patches, nothing)[:, keypoint])


def test_a_trunk_learns_of_each_patch_where_its_keypoint_is() -> None:
    """Every example has a weight for one keypoint alone, and rows that do not label it give none."""
    evidence = world()
    noise = evidence.anchors.noise.copy()
    noise[:, CHIN] = np.inf
    noise[10:, RIGHT_BROW] = np.inf
    evidence = replace(evidence, partners=None, anchors=Anchors(evidence.anchors.xy, noise))
    looks = all_looks(evidence, np.tile(~EYES, (ROWS, 1)), 16)
    job = TrunkJob(looks, FEW, 1, 0, "cpu")
    examples = job._drawing(evidence, 0, Pyramid(evidence.images, CPU))(0)
    assert (examples.weight.sum(dim=1) == 1).all()
    counts = examples.weight.sum(dim=0).tolist()
    assert counts[CHIN] == 0
    assert counts[RIGHT_BROW] == (evidence.folds[:10] != 0).sum()


def test_validation_chooses_the_epoch_and_teaches_nothing() -> None:
    """With one epoch there is nothing to choose: other validation rows leave the weights as they are."""
    evidence, plan = world(), replace(FEW, epochs=1)
    before = trained(evidence, plan, [0])[0]
    after = trained(unlike(evidence, evidence.validation), plan, [0])[0]
    assert weights(before) == weights(after)
    assert before.history != after.history


def test_a_patch_regressor_beats_the_prior() -> None:
    """In rows not trained on, the brow is found more exactly than the prior expects it."""
    evidence, view = world(), views()["patch"]
    (fitted,) = trained(evidence, Plan(epochs=12, batch_size=16, learning_rate=3e-3), [0])
    network = make_network(view, 7)
    network.load_state_dict(fitted.state)
    rows = np.flatnonzero((evidence.folds == 0) | (np.arange(ROWS) >= 75))
    expected = expected_of(rows)
    pyramid = Pyramid(evidence.images, CPU)
    found = answered(view, network, rows, expected, pyramid)
    truth = evidence.anchors.xy[rows, RIGHT_BROW]
    error, before = found.xy[:, 0] - truth, expected.xy[:, RIGHT_BROW] - truth
    assert np.sqrt(np.mean(error**2)) < 0.8 * np.sqrt(np.mean(before**2))
