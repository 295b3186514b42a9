"""The second look by networks of random weights: what it answers must hold whatever they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelfill.arrays import Array, Integers
from labelfill.final.exported_refiner import ExportedRefiner
from labelfill.final.refiner import Patches, Refiner
from labelfill.networks.architectures import PatchRegressor
from labelfill.networks.folding import folded
from labelfill.regressors.calibration.joint_correction import JointCorrection
from labelfill.regressors.patches import Pyramid
from labelfill.schema import ImageSize, KeypointSchema

CPU = torch.device("cpu")
SIDE = 16


def correction(corrected: Integers, rows: int, generator: np.random.Generator) -> JointCorrection:
    heads = len(corrected)
    features = 2 * 3 * heads
    return JointCorrection(
        corrected, generator.normal(size=(heads, 2)), generator.normal(size=features),
        generator.uniform(1, 3, features), generator.normal(size=(features, 2 * heads)) / features,
        generator.normal(size=2 * heads), generator.normal(size=(rows, features)),
        generator.normal(size=(rows, 2 * heads)) / 10, np.array(float(features)),
    )  # fmt: skip


def a_refiner(
    size: ImageSize, mean: Array, partners: tuple[int, ...] | None, *, rows: int = 7, looks: int = 2
) -> Refiner:
    """Two folds of random networks, patches of different resolutions, and labels beside what they mark."""
    generator, heads = np.random.default_rng(0), len(mean)
    torch.manual_seed(0)
    schema = KeypointSchema(tuple(f"p{k}" for k in range(heads)), size, mirror_shift=0.4)
    half = np.linspace(6.0, 2.5 * SIDE, heads)
    apart = np.abs(mean[None] - mean[:, None]).max(axis=2)
    patches = Patches(
        mean,
        np.linspace(1, 3, heads),
        half,
        np.linspace(1, 2, heads),
        np.array([SIDE]),
        apart < half[:, None],
    )
    networks = [[folded(PatchRegressor(SIDE, heads)) for _ in range(2)] for _ in range(heads)]
    # The last head has no labels that a correction could be fitted on.
    joint = None if heads < 2 else correction(np.arange(heads - 1), rows, generator)
    return Refiner(schema, partners, patches, networks, (joint, None)[:looks])


@pytest.fixture(params=["one", "oblong", "unpaired", "thirty"])
def refiner(request: pytest.FixtureRequest) -> Refiner:
    generator = np.random.default_rng(1)
    if request.param == "one":
        return a_refiner(ImageSize(40, 40), np.array([[20.0, 18.0]]), (0,))
    if request.param == "oblong":
        return a_refiner(ImageSize(50, 83), generator.uniform(10, 40, (5, 2)), (1, 0, 2, 4, 3))
    if request.param == "thirty":
        pairs = tuple(k ^ 1 for k in range(30))
        return a_refiner(ImageSize(48, 48), generator.uniform(10, 40, (30, 2)), pairs, looks=1)
    return a_refiner(ImageSize(61, 44), generator.uniform(10, 40, (4, 2)), (1, 0, -1, 3), looks=1)


def images_and_answers(refiner: Refiner, count: int) -> tuple[np.ndarray, Array]:
    generator, size = np.random.default_rng(2), refiner.schema.image_size
    images = generator.integers(0, 256, (count, size.height, size.width), np.uint8)
    turn = generator.normal(0, 0.3, count)
    around = refiner.patches.mean - refiner.patches.mean.mean(axis=0)
    cosine, sine = np.cos(turn)[:, None], np.sin(turn)[:, None]
    x, y = around[:, 0], around[:, 1]
    turned = np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)
    return images, turned + 20.0 + generator.normal(0, 1.5, turned.shape)


@pytest.mark.parametrize("count", [1, 5])
def test_the_exported_module_answers_the_same(refiner: Refiner, count: int) -> None:
    images, xy = images_and_answers(refiner, count)
    own = np.full(xy.shape[:2], 1.5)
    wanted, sigma = refiner.refine(Pyramid(images, CPU), xy, own)
    with torch.inference_mode():
        found, stated = ExportedRefiner(refiner)(
            *(torch.from_numpy(array.astype(np.float32)) for array in (images, xy, own))
        )
    assert np.abs(wanted - xy).max() > 0.1
    np.testing.assert_allclose(found.numpy(), wanted, atol=2e-3)
    np.testing.assert_allclose(stated.numpy(), sigma, rtol=1e-3)


def test_a_row_is_answered_whatever_rows_come_with_it(refiner: Refiner) -> None:
    images, xy = images_and_answers(refiner, 6)
    together, _ = refiner.refine(Pyramid(images, CPU), xy, np.ones(xy.shape[:2]))
    alone, _ = refiner.refine(Pyramid(images[2:3], CPU), xy[2:3], np.ones((1, xy.shape[1])))
    np.testing.assert_allclose(alone[0], together[2], atol=1e-6)


def test_mirrored_images_get_mirrored_answers() -> None:
    """Where every keypoint has a partner of the same kind of patch, the answer does not prefer a side."""
    mean = np.array([[15.0, 18.0], [28.0, 18.0], [21.5, 30.0]])
    refiner = a_refiner(ImageSize(44, 44), mean, (1, 0, 2), looks=1)
    patches = refiner.patches
    alike = Patches(mean, np.ones(3), np.full(3, 8.0), np.ones(3), patches.size, np.ones((3, 3), bool))
    refiner = Refiner(refiner.schema, (1, 0, 2), alike, refiner.networks, (None,))
    images, xy = images_and_answers(refiner, 4)
    axis = images.shape[2] - 1
    shift = 2 * refiner.schema.mirror_shift

    def flipped(points: Array) -> Array:
        turned = points[:, [1, 0, 2]].copy()
        turned[..., 0] = axis - turned[..., 0]
        return turned

    straight, _ = refiner.refine(Pyramid(images, CPU), xy, np.ones(xy.shape[:2]))
    mirrored, _ = refiner.refine(Pyramid(images[:, :, ::-1].copy(), CPU), flipped(xy), np.ones(xy.shape[:2]))
    back = flipped(mirrored)
    back[..., 0] += shift
    np.testing.assert_allclose(back, straight, atol=1e-4)


def test_folds_are_answered_by_their_own_networks(refiner: Refiner) -> None:
    images, xy = images_and_answers(refiner, 6)
    pyramid, shapes = Pyramid(images, CPU), refiner.patches.around(xy)
    folds = np.array([0, 1, 0, 1, 1, 0])
    by_fold = refiner.look(pyramid, shapes, folds)
    for fold in (0, 1):
        alone = Refiner(
            refiner.schema, refiner.partners, refiner.patches,
            [[networks[fold]] for networks in refiner.networks], refiner.corrections,
        )  # fmt: skip
        rows = folds == fold
        np.testing.assert_allclose(by_fold.own[rows], alone.look(pyramid, shapes).own[rows], atol=1e-6)
