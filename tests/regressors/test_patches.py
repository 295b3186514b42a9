"""Upright patches: sampling, mirroring, turning, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.regressors.patches import Frames, Pyramid, _sampled, photometric_jitter, standardise, upright
from labelfill.schema import ImageSize, KeypointSchema
from tests.drawn_shapes import FRONT, blobs, faces

CPU = torch.device("cpu")


def noise_images(count: int, high: int, wide: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, high, wide)).astype(np.uint8)


def smooth_images(count: int, high: int, wide: int, seed: int = 0) -> NDArray[np.uint8]:
    """Waves that hardly change within a px."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[:high, :wide]
    a, b, c = rng.uniform(0.03, 0.09, (3, count, 1, 1))
    return (128 + 100 * np.sin(a * right + b * down + 6 * c)).round().astype(np.uint8)


def frame(x: float, y: float, half: float, angle: float = 0.0) -> Frames:
    return Frames(np.array([[x, y]]), np.array([half]), np.array([angle]))


def cut(
    images: NDArray[np.uint8], frames: Frames, size: int | tuple[int, int], mirrored: bool = False
) -> Array:
    """One patch of each image, in grey values of 0..255."""
    count = len(images)
    several = frames.take(np.zeros(count, np.int64)) if len(frames) == 1 else frames
    rows, flipped = np.arange(count), np.full(count, mirrored)
    patches = Pyramid(images, CPU).cut(rows, flipped, several, size, float(frames.half[0]))
    return patches[:, 0].double().numpy() * 255


def test_devices_without_a_border_continue_edges_all_the_same() -> None:
    """The way for Apple's GPU: samples far beyond, at the edge and within are those of every other device."""
    images = torch.from_numpy(noise_images(3, 5, 9))[:, None].float() / 255
    grid = torch.from_numpy(np.random.default_rng(1).uniform(-2, 2, (3, 40, 40, 2)).astype(np.float32))
    ways = [_sampled(images, grid, torch.device(name)) for name in ("cpu", "mps")]
    torch.testing.assert_close(*ways, rtol=0, atol=1e-5)


# -- cutting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("high", "wide"), [(12, 12), (9, 16), (16, 9), (1, 1)])
def test_an_upright_patch_is_the_pixels_themselves(high: int, wide: int) -> None:
    """Cut at its own resolution around its centre, an image comes back as it is, square or not."""
    images = noise_images(3, high, wide)
    size = ImageSize(high, wide)
    whole = frame(*size.centre, size.unit)
    np.testing.assert_allclose(cut(images, whole, (high, wide)), images, atol=1e-3)


def test_a_patch_inside_is_a_part_of_the_image() -> None:
    """A patch with a sample per px holds exactly the pixels under it; beyond the edge, the edge goes on."""
    images = noise_images(2, 10, 14)
    np.testing.assert_allclose(cut(images, frame(6.5, 4.5, 3), 6), images[:, 2:8, 4:10], atol=1e-3)
    corner = cut(images, frame(-0.5, -0.5, 2), 4)
    np.testing.assert_allclose(corner[:, 2:, 2:], images[:, :2, :2], atol=1e-3)
    np.testing.assert_allclose(corner[:, :2, :2], np.broadcast_to(images[:, :1, :1], (2, 2, 2)), atol=1e-3)


@pytest.mark.parametrize(("high", "wide"), [(24, 24), (20, 33)])
@pytest.mark.parametrize("half", [4.0, 7.3])
def test_a_mirrored_cut_is_a_cut_of_the_mirrored_image(high: int, wide: int, half: float) -> None:
    """Cutting from the mirrored image without making it gives what mirroring it first gives."""
    images = noise_images(3, high, wide)
    frames = frame(9.2, 8.7, half, angle=0.4)
    flipped = np.ascontiguousarray(images[:, :, ::-1])
    np.testing.assert_allclose(cut(images, frames, 8, mirrored=True), cut(flipped, frames, 8), atol=2e-2)


def test_a_quarter_turn_turns_the_patch() -> None:
    """A frame turned by a quarter sees the image turned back by a quarter."""
    images = noise_images(2, 9, 9)
    turned = cut(images, frame(4, 4, 4.5, np.pi / 2), 9)
    np.testing.assert_allclose(turned, np.rot90(images, k=1, axes=(1, 2)), atol=1e-2)


@given(seed=st.integers(0, 2**32 - 1), high=st.integers(24, 50), wide=st.integers(24, 50))
@settings(deadline=None, max_examples=30)
def test_a_keypoint_appears_where_the_frame_says(seed: int, high: int, wide: int) -> None:
    """A bright point lies in a turned, scaled, mirrored patch where `to_frame` puts it."""
    rng = np.random.default_rng(seed)
    size = ImageSize(high, wide)
    point = size.centre + rng.uniform(-6, 6, 2)
    image = blobs(point[None, None], size, radius=2.0)
    mirrored = bool(rng.random() < 0.5)
    seen = np.array([wide - 1 - point[0], point[1]]) if mirrored else point
    frames = frame(*(seen + rng.uniform(-3, 3, 2)), rng.uniform(8, 20), rng.uniform(-np.pi, np.pi))
    patch = cut(image, frames, 32, mirrored)[0]
    weight = np.maximum(patch - 60, 0)
    along = (np.arange(32) + 0.5) / 16 - 1
    found = np.array([(weight.sum(0) * along).sum(), (weight.sum(1) * along).sum()]) / weight.sum()
    np.testing.assert_allclose(found, frames.to_frame((seen - frames.centre[0])[None])[0], atol=0.05)


@pytest.mark.parametrize(("high", "wide"), [(64, 64), (61, 50)])
def test_a_coarse_patch_shows_the_mean_of_what_it_covers(high: int, wide: int) -> None:
    """Where a sample covers several px, patches come from a reduced image: waves stay, noise is averaged."""
    images = smooth_images(2, high, wide)
    size = ImageSize(high, wide)
    coarse = cut(images, frame(*size.centre, 20), 8)
    fine = cut(images, frame(*size.centre, 20), 40)
    np.testing.assert_allclose(coarse, fine.reshape(2, 8, 5, 8, 5).mean(axis=(2, 4)), atol=4)
    noisy = cut(noise_images(4, 64, 64), frame(31.5, 31.5, 32), 8)
    assert noisy.std() < 0.3 * noise_images(4, 64, 64).std()


def test_a_patch_does_not_depend_on_the_other_rows() -> None:
    """The same frame on the same image gives the same patch, whichever images come with it."""
    images = noise_images(300, 20, 20)
    frames = Frames(np.full((300, 2), 9.3), np.geomspace(4, 40, 300), np.linspace(0, 1, 300))
    pyramid = Pyramid(images, CPU)
    everyone = pyramid.cut(np.arange(300), np.zeros(300, bool), frames, 8, 6.0)
    some = np.array([299, 3, 1])
    few = pyramid.cut(some, np.zeros(3, bool), frames.take(some), 8, 6.0)
    assert torch.equal(everyone[some], few)
    assert pyramid.cut(some[:0], np.zeros(0, bool), frames.take(some[:0]), 8, 6.0).shape == (0, 1, 8, 8)


# -- frames -----------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), points=st.integers(0, 4))
@settings(deadline=None, max_examples=30)
def test_to_frame_and_from_frame_are_inverse(seed: int, points: int) -> None:
    """Px to the patch's axes and back is what it was, for one offset or several per frame."""
    rng = np.random.default_rng(seed)
    frames = Frames(rng.normal(size=(5, 2)), rng.uniform(1, 30, 5), rng.uniform(-4, 4, 5))
    offset = rng.normal(size=(5, points, 2) if points else (5, 2)) * 20
    np.testing.assert_allclose(frames.from_frame(frames.to_frame(offset)), offset, atol=1e-9)
    np.testing.assert_allclose(frames.to_frame(frames.from_frame(offset)), offset, atol=1e-9)
    lengths = np.linalg.norm(frames.from_frame(offset), axis=-1)
    expected = np.linalg.norm(offset, axis=-1) * (frames.half[:, None] if points else frames.half)
    np.testing.assert_allclose(lengths, expected)


def test_jitter_keeps_centres_and_turns_and_scales_a_little() -> None:
    """Jittered frames stay where they are, and are turned and scaled by about a tenth."""
    frames = frame(5, 6, 10, 0.3).take(np.zeros(4000, np.int64))
    jittered = frames.jittered(np.random.default_rng(0))
    np.testing.assert_array_equal(jittered.centre, frames.centre)
    assert (jittered.angle - 0.3).std() == pytest.approx(0.1, rel=0.1)
    assert np.log(jittered.half / 10).std() == pytest.approx(0.1, rel=0.1)


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_upright_recovers_a_planted_similarity(seed: int) -> None:
    """A mean shape that was scaled, turned and moved is told by how much, however unevenly it is trusted."""
    rng = np.random.default_rng(seed)
    scale, angle = rng.uniform(0.5, 2, 6), rng.uniform(-3, 3, 6)
    frames = Frames(np.zeros((6, 2)), scale, angle)
    xy = frames.from_frame(np.tile(FRONT, (6, 1, 1))) + rng.normal(size=(6, 1, 2)) * 10
    sigma = rng.uniform(0, 9, (6, len(FRONT)))
    found_scale, found_angle = upright(xy, sigma, FRONT)
    np.testing.assert_allclose(found_scale, scale, rtol=1e-6)
    np.testing.assert_allclose(found_angle, angle, atol=1e-6)


def test_upright_trusts_what_is_expected_surely() -> None:
    """A keypoint that is hardly known does not turn the shape."""
    xy = np.tile(FRONT, (2, 1, 1))
    xy[0, 0] += [0, 25]
    sigma = np.ones((2, len(FRONT)))
    sigma[:, 0] = 30
    _, angle = upright(xy, sigma, FRONT)
    assert abs(angle[0]) < 0.02
    assert angle[1] == pytest.approx(0)


def test_a_single_keypoint_is_upright_and_of_mean_size() -> None:
    """One point has neither size nor turn; nor has a shape whose points are all expected at one place."""
    single = faces(3, np.random.default_rng(0))[:, :1]
    scale, angle = upright(single, np.zeros((3, 1)), FRONT[:1])
    assert (scale.tolist(), angle.tolist()) == ([1.0] * 3, [0.0] * 3)
    scale, angle = upright(np.zeros((1, len(FRONT), 2)), np.zeros((1, len(FRONT))), FRONT)
    assert np.isfinite([scale, angle]).all()
    assert scale[0] > 0


# -- grey values ------------------------------------------------------------------------------------


def test_photometric_jitter_depends_on_its_generator_alone() -> None:
    """The same generator jitters alike; black and white patches stay finite."""
    patches = torch.cat([torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8), torch.rand(2, 1, 8, 8)])
    one, two = (photometric_jitter(patches, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.isfinite(one).all()
    assert not torch.equal(one, patches)


def test_standardised_patches_do_not_tell_brightness_or_contrast() -> None:
    """Mean 0 and deviation near 1 whatever the exposure; a flat patch is about 0."""
    patch = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    plain, bright = standardise(patch), standardise(patch * 0.6 + 0.3)
    assert abs(float(plain.mean())) < 1e-5
    assert 0.75 < float(plain.std()) <= 1
    assert float((plain - bright).abs().max()) < 0.3
    assert float(standardise(torch.full((1, 1, 8, 8), 0.7)).abs().max()) < 1e-3


def test_the_whole_image_lies_in_its_frame() -> None:
    """A frame of half the longer side around the centre holds every px of an image that is not square."""
    schema = KeypointSchema(("p",), ImageSize(30, 50))
    frames = frame(*schema.image_size.centre, schema.image_size.unit)
    corners = np.array([[[0.0, 0], [49, 0], [0, 29], [49, 29]]]) - schema.image_size.centre
    assert np.abs(frames.to_frame(corners)).max() <= 1
