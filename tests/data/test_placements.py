"""Images of different sizes in one frame: where they lie, and what their pixels become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import io

from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.images.identity import content_ids
from labelfill.data.images.placing import placed, sampling
from labelfill.errors import DataError
from labelfill.schema import ImageSize, KeypointSchema, Placements, common_frame
from tests.examples import drawing

SIDES = st.integers(1, 40)
SIZES = st.builds(ImageSize, SIDES, SIDES)


def in_frame(image: np.ndarray, placements: Placements) -> np.ndarray:
    (scale,), ((x, y),) = placements.scale, placements.shift
    across = sampling(image.shape[1], placements.frame.width, scale, x)
    return placed(image, across, sampling(image.shape[0], placements.frame.height, scale, y))


def whole(frame: ImageSize, *sizes: ImageSize) -> Placements:
    return Placements.of_whole_images(frame, np.array([[s.height, s.width] for s in sizes], float))


@drawing(200)
@given(frame=SIZES, sizes=st.lists(SIZES, min_size=1, max_size=4))
def test_there_and_back_is_the_same_point(frame: ImageSize, sizes: list[ImageSize]) -> None:
    """Points and lengths come back from the frame, each row by its own scale."""
    placements = whole(frame, *sizes)
    points = np.random.default_rng(0).normal(20, 30, (len(sizes), 3, 2))
    points[0, 0, 0] = np.nan  # half a point
    np.testing.assert_allclose(placements.to_own(placements.to_frame(points)), points, atol=1e-9)
    lengths = np.ones((len(sizes), 3))
    np.testing.assert_allclose(placements.lengths_to_own(placements.lengths_to_frame(lengths)), lengths)
    both = points[:, :2]
    np.testing.assert_allclose(
        placements.lengths_to_frame(np.linalg.norm(both[:, 1:] - both[:, :1], axis=2)),
        np.linalg.norm(placements.to_frame(both)[:, 1:] - placements.to_frame(both)[:, :1], axis=2),
    )


@drawing(200)
@given(frame=SIZES, size=SIZES)
def test_an_image_just_fits_its_frame(frame: ImageSize, size: ImageSize) -> None:
    """Its corners lie in the frame, two opposite edges on the frame's, and it is centred."""
    placements = whole(frame, size)
    corners = placements.to_frame(placements.corners.reshape(1, 2, 2))[0]
    assert (corners[0] >= -0.5 - 1e-9).all()
    assert (corners[1] <= np.array([frame.width, frame.height]) - 0.5 + 1e-9).all()
    np.testing.assert_allclose(corners.mean(axis=0), frame.centre, atol=1e-9)
    assert np.isclose(corners[1] - corners[0], [frame.width, frame.height]).any()
    on_edge = np.array([[[-0.5, -0.5], [size.width - 0.5, size.height - 0.5], [-0.6, 0], [0, size.height]]])
    assert placements.on_image(on_edge).tolist() == [[True, True, False, False]]


@drawing(200)
@given(frame=SIZES, size=SIZES, seed=st.integers(0, 99))
def test_the_mirror_image_is_placed_as_the_mirror_image(frame: ImageSize, size: ImageSize, seed: int) -> None:
    """To the last bit, so that a mirrored copy still counts as a copy and stays on its side of the split."""
    image = np.random.default_rng(seed).integers(0, 256, (size.height, size.width), np.uint8)
    placements = whole(frame, size)
    straight, mirrored = in_frame(image, placements), in_frame(image[:, ::-1], placements)
    np.testing.assert_array_equal(mirrored, straight[:, ::-1])
    assert len(set(content_ids(np.stack([straight, mirrored])).tolist())) == 1


def test_an_image_of_the_frames_size_is_not_changed() -> None:
    """Nothing is interpolated where nothing needs to be."""
    image = np.random.default_rng(0).integers(0, 256, (17, 30), np.uint8)
    np.testing.assert_array_equal(in_frame(image, whole(ImageSize(17, 30), ImageSize(17, 30))), image)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (300, 200), (64, 64)])
def test_a_blob_is_found_where_its_label_is_taken(height: int, width: int) -> None:
    """Pixels and coordinates go into the frame by the same way: a blob's centre of mass is its label."""
    x, y = 0.3 * width, 0.6 * height
    down, across = np.mgrid[:height, :width]
    spread = max(height, width) / 30
    blob = 255 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * spread**2))
    placements = whole(ImageSize(96, 110), ImageSize(height, width))
    image = in_frame(np.round(blob).astype(np.uint8), placements).astype(float)
    rows, columns = np.mgrid[:96, :110]
    found = np.array([(image * columns).sum(), (image * rows).sum()]) / image.sum()
    np.testing.assert_allclose(found, placements.to_frame(np.array([[[x, y]]]))[0, 0], atol=0.05)


def test_reducing_does_not_alias() -> None:
    """A fine chequerboard becomes grey, not another pattern."""
    board = np.indices((100, 100)).sum(axis=0).astype(np.uint8) % 2 * 255
    small = in_frame(board, whole(ImageSize(13, 13), ImageSize(100, 100)))
    assert np.ptp(small[1:-1, 1:-1].astype(int)) < 16


def test_the_common_frame_is_of_middling_shape_and_size() -> None:
    """One size is its own frame; outliers have no say; nothing is larger than 256."""
    assert common_frame(np.array([[60.0, 80.0]] * 3)) == ImageSize(60, 80)
    assert common_frame(np.array([[60.0, 80.0]] * 3 + [[4000.0, 10.0]])) == ImageSize(60, 80)
    assert common_frame(np.array([[3000.0, 4000.0]])) == ImageSize(192, 256)


def test_a_mirrored_shape_stays_in_its_image() -> None:
    """Mirroring happens in the frame; an image narrower than the frame lies in its middle."""
    placements = whole(ImageSize(50, 100), ImageSize(50, 40))
    schema = KeypointSchema(("a",), placements.frame)
    point = placements.to_frame(np.array([[[5.0, 7.0]]]))
    np.testing.assert_allclose(placements.to_own(schema.mirror(point, (0,))), [[[34.0, 7.0]]])


def write_mixed(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    sizes = [(20, 30), (40, 60), (30, 30), (20, 30)]
    for i, size in enumerate(sizes):
        io.imsave(folder / f"{i}.png", rng.integers(0, 256, size, np.uint8), check_contrast=False)
    rows = [f"{w / 2},{h / 4},{i}.png" for i, (h, w) in enumerate(sizes)]
    rows[2] = ",31,2.png"
    (folder / "t.csv").write_text("\n".join(["a_x,a_y,image_path", *rows, ""]))
    return folder / "t.csv"


def test_a_table_of_several_sizes_is_read_into_a_frame(tmp_path: Path) -> None:
    """Labels as stated in the table, and in the frame; the cache gives the same back."""
    path = write_mixed(tmp_path)
    plain = read_dataset(path)
    assert plain.schema.image_size == ImageSize(20, 30)
    assert plain.images is not None
    assert plain.images.shape == (4, 20, 30)
    np.testing.assert_array_equal(plain.images[0], io.imread(tmp_path / "0.png"))
    np.testing.assert_array_equal(plain.table.labels[1, 0], [30, 10])
    np.testing.assert_allclose(plain.labels[:2, 0], [[15, 5], [14.75, 4.75]])
    assert np.isnan(plain.labels[2, 0, 0])
    assert not plain.on_image(plain.all_labels)[2, 0]
    for _ in range(2):
        again = read_dataset(path, cache_dir=tmp_path / "cache")
        np.testing.assert_array_equal(again.images, plain.images)
        np.testing.assert_array_equal(again.labels, plain.labels)
    stated = read_dataset(path, TableRequest(ImageSize(10, 20)))
    assert stated.images is not None
    assert stated.images.shape == (4, 10, 20)


def test_models_for_one_size_refuse_files_of_another(tmp_path: Path) -> None:
    """A frame is for runs whose images differ; other models name the first image that does not fit them."""
    path = write_mixed(tmp_path)
    with pytest.raises(
        DataError, match=r"row 1 \(line 3\).*'1.png' is 40x60.*the models in run are for 20x30"
    ):
        read_dataset(path, TableRequest(ImageSize(20, 30), framed=False), models=Path("run"))
    framed = read_dataset(path, TableRequest(ImageSize(20, 30), framed=True), models=Path("run"))
    assert framed.placements is not None
