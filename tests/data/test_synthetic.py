from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill.cli.main import main
from labelfill.data.synthetic import (
    KAGGLE_KEYPOINTS,
    KAGGLE_SOURCES,
    LANDMARKS,
    SAMPLE_FILES,
    SQUARE,
    Source,
    draw_faces,
    draw_table,
    drawing,
    source_of_rows,
    write_sample,
    write_table,
)
from labelfill.data.synthetic.heads import aim, draw_heads, landmarks
from labelfill.data.table import read_table
from labelfill.errors import UsageError
from labelfill.filling.simple_ways import fill_simply
from labelfill.schema import ImageSize

KAGGLE = Path(os.environ.get("LABELFILL_DATA", Path(__file__).parents[3] / "shared/data")) / "kaggle"

ROWS = 240


@pytest.fixture(scope="module")
def sample():
    """A sample as the demo draws it, but smaller."""
    return draw_table(ROWS, seed=3, sources=KAGGLE_SOURCES)


def of_source(table, name: str) -> np.ndarray:
    return np.array(table.sources) == name


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    """A sample's bytes depend on rows and seed alone."""
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_sample(tmp_path / folder, rows=20, seed=seed)
    for name in SAMPLE_FILES:
        content = [(tmp_path / folder / name).read_bytes() for folder in "abc"]
        assert content[0] == content[1]
        assert content[0] != content[2]


def test_how_many_are_drawn_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are the same whatever the size of a group that is drawn at once."""
    whole = draw_faces(5, seed=0).images
    monkeypatch.setattr(drawing, "_PIXELS_AT_ONCE", 2 * SQUARE.pixels)
    np.testing.assert_array_equal(draw_faces(5, seed=0).images, whole)


def test_landmarks_stand_where_the_picture_shows_them() -> None:
    """The surface point that a landmark's pixel sees is the landmark, to a tenth of an eye's height."""
    rng = np.random.default_rng(0)
    heads, size = draw_heads(40, rng), SQUARE
    heads = dataclasses.replace(heads, yaw=heads.yaw.clip(-0.35, 0.35))  # nothing hides behind the nose
    camera = aim(heads, size)
    points = landmarks(heads)
    looks = rng.random((len(heads), 24)).astype(np.float32)
    canvas = drawing._Canvas(heads, camera, looks, size)
    for name in KAGGLE_KEYPOINTS:
        px = camera.project(points[name][:, None])[:, 0]
        corner = np.floor(px).astype(int).clip(0, np.array([size.width, size.height]) - 2)
        rows, (fx, fy) = np.arange(len(heads)), (px - corner).T
        for axis, surface in enumerate((canvas.x, canvas.y)):
            here, right, below, across = (
                surface[rows, corner[:, 1] + dy, corner[:, 0] + dx]
                for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1))
            )
            seen = (1 - fy) * ((1 - fx) * here + fx * right) + fy * ((1 - fx) * below + fx * across)
            assert np.median(abs(seen - points[name][:, axis])) < 0.1, name
            assert np.quantile(abs(seen - points[name][:, axis]), 0.9) < 0.5, name


def test_eyes_are_darker_than_cheeks() -> None:
    """The pictures show what the landmarks say: nearly every pupil is darker than the cheek below it."""
    faces = draw_faces(80, seed=1)

    def grey(name: str) -> np.ndarray:
        x, y = np.rint(faces.landmarks[name]).astype(int).T
        return faces.images[np.arange(len(faces.images)), y, x].astype(int)

    for side in ("left", "right"):
        assert (grey(f"{side}_pupil") < grey(f"{side}_cheek")).mean() > 0.9


def test_a_turned_head_moves_its_nose_against_its_eyes() -> None:
    """With the yaw, the nose's tip moves further than its base, and that further than the eyes."""
    heads = draw_heads(20, np.random.default_rng(0))
    heads = dataclasses.replace(heads, pitch=0 * heads.pitch, roll=0 * heads.roll)
    sideways = {}
    for name, yaw in (("ahead", 0.0), ("turned", 0.3)):
        turned = dataclasses.replace(heads, yaw=np.full(len(heads), yaw))
        camera, points = aim(turned, SQUARE), landmarks(turned)
        sideways[name] = {k: camera.project(points[k][:, None])[:, 0, 0] for k in LANDMARKS}
    moved = {k: sideways["turned"][k] - sideways["ahead"][k] for k in LANDMARKS}
    eyes = (moved["left_eye_center"] + moved["right_eye_center"]) / 2
    assert (moved["nose_tip"] > moved["nose_base"] + 0.5).all()
    assert (moved["nose_base"] > eyes + 0.5).all()


def test_kaggles_two_missing_patterns(sample) -> None:
    """The first third labels all but a few points, the rest four; a rare row of either lacks some of them."""
    labelled = ~np.isnan(sample.labels[..., 0])
    first, second = labelled[of_source(sample, "1")], labelled[of_source(sample, "2")]
    assert len(first) == round(ROWS * 2284 / 7049)
    assert 0.90 <= first.all(axis=1).mean() < 1
    often = second.mean(axis=0) > 0.5
    assert [k for k, o in zip(KAGGLE_KEYPOINTS, often, strict=True) if o] == list(KAGGLE_SOURCES[1].labels)
    assert not second[:, ~often].any()
    np.testing.assert_array_equal(*(np.isnan(sample.labels[..., axis]) for axis in (0, 1)))


def test_the_second_source_means_other_points(sample) -> None:
    """The second source marks the nose about 5 % lower and the lip about 6 % higher, by varying amounts."""
    offsets = (sample.own_truth - sample.truth)[of_source(sample, "2")]
    nose, lip = (offsets[:, KAGGLE_KEYPOINTS.index(k)] for k in ("nose_tip", "mouth_center_bottom_lip"))
    np.testing.assert_allclose(nose.mean(0), (0, 5.0), atol=0.6)
    np.testing.assert_allclose(lip.mean(0), (0, -5.6), atol=0.6)
    assert min(nose.std(0).min(), lip.std(0).min()) > 0.8
    assert not (sample.own_truth - sample.truth)[of_source(sample, "1")].any()


def test_labels_have_an_annotators_noise(sample) -> None:
    """A label lies 0.3 to 0.9 px (root mean square) from what its source meant, without bias."""
    errors = sample.labels - sample.own_truth
    spread = np.sqrt(np.nanmean(errors**2, axis=(0, 2)))
    assert spread.min() > 0.3
    assert spread.max() < 0.95
    assert np.abs(np.nanmean(errors, axis=0)).max() < 0.35


def test_simple_ways_of_filling_do_badly(sample) -> None:
    """No simple way of filling comes near 2 px: the points are no linear function of the four anchors."""
    blank = np.isnan(sample.labels)
    blank &= (blank.mean(axis=(0, 2)) > 0.5)[:, None]
    for method, at_least in (("mean", 4.0), ("forward-fill", 4.5), ("iterative", 2.1)):
        errors = (fill_simply(sample.labels, method) - sample.truth)[blank]
        assert np.sqrt((errors**2).mean()) > at_least, method


def test_points_lie_on_the_image(sample) -> None:
    """Faces are aimed at: hardly a point leaves the image."""
    assert sample.schema.on_image(sample.truth).mean() > 0.995


@pytest.mark.parametrize(
    ("keypoints", "image_size"),
    [
        (
            ("left_eye_center", "right_eye_center", "nose_tip", "mouth_left_corner", "mouth_right_corner"),
            "80x80",
        ),
        (LANDMARKS[:17], "203x198"),
        (("nose_tip",), "96x96"),
        ({"beak": "nose_tip", "L_eye": "left_pupil"}, "40x64"),
    ],
)
def test_tables_of_other_kinds(keypoints, image_size: str) -> None:
    """Any number of keypoints, by any names, on images of any shape, labelled where the landmarks are."""
    size = ImageSize.parse(image_size)
    table = draw_table(6, keypoints=keypoints, image_size=size, sources=(Source(noise=0),))
    assert table.schema.keypoints == tuple(keypoints)
    assert table.images.shape == (6, size.height, size.width)
    np.testing.assert_array_equal(table.labels, table.truth)
    assert table.schema.on_image(table.truth).all()


def test_rows_without_labels_and_random_gaps() -> None:
    """A source may label nothing, and any label may be missing by chance."""
    sources = (Source("1", 0.75), Source("none", 0.25, labels=()))
    table = draw_table(
        400, keypoints=("nose_tip", "chin"), image_size=ImageSize(16, 16), sources=sources, gaps=0.3
    )
    labelled = ~np.isnan(table.labels[..., 0])
    assert not labelled[of_source(table, "none")].any()
    assert 0.6 < labelled[of_source(table, "1")].mean() < 0.8


@given(rows=st.integers(4, 30), seed=st.integers(0, 1000), share=st.floats(0, 0.5))
@settings(max_examples=15, deadline=None)
def test_copies_repeat_an_image_of_another_source(rows: int, seed: int, share: float) -> None:
    """A copy shows another row's image, possibly mirrored, and its truth is that row's, mirrored with it."""
    keypoints = ("left_eye_center", "right_eye_center", "nose_tip")
    sources = (Source("1", 0.5), Source("2", 0.5, labels=("nose_tip",)))
    size = ImageSize(24, 20)
    table = draw_table(rows, seed, keypoints=keypoints, image_size=size, sources=sources, copies=share)
    copies = np.flatnonzero(table.copy_of >= 0)
    assert len(copies) <= round(share * rows)
    for row in copies:
        origin = table.copy_of[row]
        assert table.copy_of[origin] < 0
        image, truth = table.images[origin], table.truth[origin]
        if table.mirrored[row]:
            image, truth = image[:, ::-1], table.schema.mirror(truth, (1, 0, 2))
        np.testing.assert_array_equal(table.images[row], image)
        np.testing.assert_allclose(table.truth[row], truth)
        if len({table.sources[i] for i in np.flatnonzero(table.copy_of < 0)}) == 2:
            assert table.sources[row] != table.sources[origin]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"keypoints": ("elbow",)}, "no landmark 'elbow' can be drawn; there are left_eye_center"),
        ({"keypoints": ()}, "at least one keypoint"),
        ({"sources": (Source("1", 0.5),)}, "sum to 1"),
        ({"gaps": 1.5}, "gaps is a share between 0 and 1, not 1.5"),
        ({"sources": (Source(labels=("elbow",)),)}, "source '1' labels 'elbow', no keypoint of the table"),
        ({"sources": (Source(means={"nose_tip": "beak"}),)}, "no landmark 'beak'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict, sentence: str) -> None:
    """A table that makes no sense is refused with what was found and what there is."""
    with pytest.raises(UsageError, match=sentence):
        draw_table(4, **options)


def test_sources_follow_each_other() -> None:
    """Every row has a source, in the order and by the shares given."""
    assert source_of_rows(10, (0.3, 0.5, 0.2)).tolist() == [0] * 3 + [1] * 5 + [2] * 2


def test_the_sample_reads_as_it_was_drawn(tmp_path: Path) -> None:
    """The sample's files hold labels, images and truth of the same faces, as the reader understands them."""
    written = write_sample(tmp_path, rows=24, seed=2)
    drawn = draw_table(24, 2, sources=KAGGLE_SOURCES)
    training, truth = (
        read_table(tmp_path / "training.csv"),
        read_table(tmp_path / "truth.csv", require_images=False),
    )
    assert training.columns == (*drawn.schema.columns, "Image")
    np.testing.assert_allclose(training.labels, drawn.labels, atol=1e-4)
    np.testing.assert_allclose(truth.labels, drawn.truth, atol=1e-4)
    assert truth.extra == {"row": [str(i) for i in range(24)], "source": list(drawn.sources)}
    last = (tmp_path / "training.csv").read_text().splitlines()[-1].rpartition(",")[2]
    np.testing.assert_array_equal(np.array(last.split(), np.uint8), drawn.images[-1].ravel())
    test = read_table(tmp_path / "test.csv", require_keypoints=False)
    test_truth = read_table(tmp_path / "test_truth.csv", require_images=False)
    assert test.columns == ("ImageId", "Image")
    assert test.extra["ImageId"] == test_truth.extra["ImageId"]
    assert list(written.values()) == [24, 24, test.rows, test_truth.rows]
    assert set(test_truth.extra["source"]) == {"1", "2"}


@pytest.mark.skipif(not KAGGLE.is_dir(), reason=f"no Kaggle labels at {KAGGLE} (LABELFILL_DATA)")
def test_columns_stand_in_kaggles_order(tmp_path: Path) -> None:
    """The sample's columns are Kaggle's, in Kaggle's order."""
    with open(KAGGLE / "labels.csv") as file:
        header = file.readline().strip().split(",")
    write_sample(tmp_path, rows=20)
    with open(tmp_path / "training.csv") as file:
        assert file.readline().strip().split(",") == [*header, "Image"]


def test_images_as_files(tmp_path: Path) -> None:
    """Images are written beside the table, named in `image_path`, and read back as they were."""
    from skimage.io import imread

    drawn = draw_table(3, keypoints=("nose_tip",), image_size=ImageSize(30, 20))
    write_table(tmp_path / "t.csv", drawn, images="files", after={"group": ["a", "b", "c"]}, delimiter=";")
    table = read_table(tmp_path / "t.csv")
    assert table.columns == ("nose_tip_x", "nose_tip_y", "group", "image_path")
    for path, image in zip(table.extra["image_path"], drawn.images, strict=True):
        np.testing.assert_array_equal(imread(tmp_path / path), image)


def test_demo_data_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command names the files it wrote and the next command; a second time it asks for --force."""
    folder = tmp_path / "new" / "data"
    command = ["demo-data", "--out", str(folder), "--rows", "20"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert all(str(folder / name) in out for name in SAMPLE_FILES)
    assert out.endswith(f"next: labelfill train-keypoint-models --data {folder / 'training.csv'}\n")
    (folder / "training.csv").write_text("mine")
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err
    assert (folder / "training.csv").read_text() == "mine"
    assert main([*command, "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][str(folder / "training.csv")] == 20


@pytest.mark.parametrize("options", [["--rows", "3"], ["--seed", "-1"], ["--rows", "many"]])
def test_demo_data_refuses_nonsense(tmp_path: Path, options: list[str]) -> None:
    """Too few rows, a negative seed or no number at all is a usage error, and nothing is written."""
    assert main(["demo-data", "--out", str(tmp_path / "data"), *options]) == 2
    assert not (tmp_path / "data").exists()
