from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from skimage import io

from labelfill.data import cache
from labelfill.data import dataset_reading as room
from labelfill.data.dataset import Dataset, dataset_of_arrays, dataset_of_labels, row_ids
from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.frame import assumed_frame
from labelfill.errors import DataError, StorageError
from labelfill.schema import ImageSize

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 9), np.uint8)
SIX_BY_SIX = IMAGES.reshape(6, 6, 6)


def write_table(path: Path, images: np.ndarray = SIX_BY_SIX, x: str = "1.5", y: str = "2") -> Path:
    rows = [f"{x},{y},{' '.join(map(str, image.ravel()))},caf\udce9" for image in images]
    path.write_bytes("\n".join(["a_x,a_y,Image,note", *rows, ""]).encode("utf-8", "surrogateescape"))
    return path


def write_files(folder: Path, images: np.ndarray = IMAGES) -> Path:
    for i, image in enumerate(images):
        io.imsave(folder / f"{i}.png", image, check_contrast=False)
    rows = "".join(f"8,3,{i}.png\n" for i in range(len(images)))
    (folder / "t.csv").write_text(f"a_x,a_y,image_path\n{rows}")
    return folder / "t.csv"


def assert_same(one: Dataset, other: Dataset) -> None:
    assert one.schema == other.schema
    assert one.image_size_assumed == other.image_size_assumed
    for name, value in vars(one.table).items():
        np.testing.assert_array_equal(getattr(other.table, name), value, err_msg=name)
    np.testing.assert_array_equal(one.images, other.images)


def test_labels_astray_are_not_learnt_from(tmp_path: Path) -> None:
    """A point further beyond the image than it is large is left out whole; one just beyond it is not."""
    rows = [
        "1,2,0 0 0 0",
        "-2,4,0 0 0 0",
        "-2.1,1,0 0 0 0",
        "1,4.1,0 0 0 0",
        "1,,0 0 0 0",
        *["1,1,0 0 0 0"] * 400,
    ]
    (tmp_path / "t.csv").write_text("\n".join(["a_x,a_y,Image", *rows]))
    dataset = read_dataset(tmp_path / "t.csv")
    known = np.isfinite(dataset.labels[:6, 0])
    assert known.tolist() == [
        [True, True],
        [True, True],
        [False] * 2,
        [False] * 2,
        [True, False],
        [True, True],
    ]
    assert dataset.table.observed[:6, 0].sum() == 11


def test_a_cached_table_serves_its_own_size(tmp_path: Path) -> None:
    """A size that was assumed and is stated later is no reason to parse again; another size is."""
    path, cache_dir = write_table(tmp_path / "t.csv"), tmp_path / "cache"
    assumed = read_dataset(path, cache_dir=cache_dir)
    with mock.patch.object(room, "read_keypoints", side_effect=AssertionError("parsed again")):
        stated = read_dataset(path, TableRequest(ImageSize(6, 6)), cache_dir=cache_dir)
        with pytest.raises(AssertionError, match="parsed again"):
            read_dataset(path, TableRequest(ImageSize(4, 9)), cache_dir=cache_dir)
    assert assumed.image_size_assumed
    assert not stated.image_size_assumed
    np.testing.assert_array_equal(assumed.images, stated.images)


def test_images_may_lie_beside_another_table(tmp_path: Path) -> None:
    """A filled copy elsewhere finds the image files of the table it was made from."""
    table = write_files(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "filled.csv"
    copy.write_bytes(table.read_bytes())
    with pytest.raises(DataError, match=r"no file '0\.png'"):
        read_dataset(copy)
    for cache_dir in (None, tmp_path / "cache"):
        again = read_dataset(copy, TableRequest(images_beside=table), cache_dir=cache_dir)
        np.testing.assert_array_equal(again.images, IMAGES)


def test_a_size_that_models_ask_for_is_said_to_be_theirs(tmp_path: Path) -> None:
    """Nobody is told to leave out an option that was not given."""
    run = tmp_path / "run"
    with pytest.raises(DataError, match=r"expected 25 \(5x5, which the models in .*run are for\)") as caught:
        read_dataset(write_table(tmp_path / "t.csv"), TableRequest(ImageSize(5, 5)), models=run)
    assert "--image-size" not in str(caught.value)
    with pytest.raises(DataError, match=r"its image files are 4x9, the models in .*run are for 9x4"):
        read_dataset(write_files(tmp_path), TableRequest(ImageSize(9, 4)), models=run)


def test_the_cache_gives_back_what_was_read(tmp_path: Path) -> None:
    """With no cache, a new and a filled one a dataset is the same; the second time nothing is parsed."""
    path = write_table(tmp_path / "t.csv")
    plain = read_dataset(path)
    np.testing.assert_array_equal(plain.images, SIX_BY_SIX)
    assert plain.table.extra == {"note": ["caf\udce9"] * 6}
    assert_same(read_dataset(path, cache_dir=tmp_path / "cache"), plain)
    with mock.patch.object(room, "read_keypoints", side_effect=AssertionError("parsed again")):
        again = read_dataset(path, cache_dir=tmp_path / "cache")
    assert_same(again, plain)
    assert isinstance(again.images, np.memmap)
    assert not plain.images.flags.writeable
    assert not again.images.flags.writeable


def test_the_same_content_under_another_name_is_known(tmp_path: Path) -> None:
    """The cache goes by content; the dataset names the file that was asked for."""
    read_dataset(write_table(tmp_path / "t.csv"), cache_dir=tmp_path / "cache")
    with mock.patch.object(room, "read_keypoints", side_effect=AssertionError("parsed again")):
        moved = read_dataset(write_table(tmp_path / "moved.csv"), cache_dir=tmp_path / "cache")
    assert moved.table.path == tmp_path / "moved.csv"


def test_another_content_or_option_is_read_anew(tmp_path: Path) -> None:
    """A changed byte and a changed image size each have an entry of their own."""
    cached = tmp_path / "cache"
    read_dataset(write_table(tmp_path / "t.csv"), cache_dir=cached)
    assert read_dataset(write_table(tmp_path / "t.csv", x="3"), cache_dir=cached).table.labels[0, 0, 0] == 3
    wide = read_dataset(tmp_path / "t.csv", TableRequest(ImageSize(4, 9)), cache_dir=cached)
    assert wide.images.shape == (6, 4, 9)
    assert len(os.listdir(cached)) == 3


@pytest.mark.parametrize("name", [cache.IMAGES, cache.LABELS, cache.TABLE])
@pytest.mark.parametrize("how", ["flipped", "truncated", "missing", "emptied"])
def test_a_damaged_entry_is_read_anew(tmp_path: Path, name: str, how: str) -> None:
    """Whatever happened to a file of the cache, the table decides."""
    path = write_table(tmp_path / "t.csv")
    plain = read_dataset(path, cache_dir=tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    content = bytearray((entry / name).read_bytes())
    del plain
    if how == "flipped":
        content[len(content) // 2] ^= 1
    (entry / name).write_bytes({"truncated": content[:-5], "emptied": b""}.get(how, content))
    if how == "missing":
        (entry / name).unlink()
    assert_same(read_dataset(path, cache_dir=tmp_path / "cache"), read_dataset(path))
    assert cache.load(entry, path) is not None


def test_an_entry_that_is_not_a_table_is_read_anew(tmp_path: Path) -> None:
    """Valid JSON of another make, with a matching hash, is no reason to stop."""
    path = write_table(tmp_path / "t.csv")
    read_dataset(path, cache_dir=tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    for content in ("[]", "7", "{}", json.dumps({"sha256": cache._json_sha256({})})):
        (entry / cache.TABLE).write_text(content)
        assert cache.load(entry, path) is None
    assert read_dataset(path, cache_dir=tmp_path / "cache").table.rows == 6


def test_failed_reading_leaves_nothing_behind(tmp_path: Path) -> None:
    """An entry appears whole or not at all, and folders of killed processes are removed."""
    cached = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    orphan = cached / f"k.tmp-{done.stdout.strip()}-ab"
    orphan.mkdir(parents=True)
    bad = write_table(tmp_path / "t.csv", x="left")
    with pytest.raises(DataError, match="found 'left'"):
        read_dataset(bad, cache_dir=cached)
    assert os.listdir(cached) == []


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """A file in the place of the folder is a matter of storage."""
    (tmp_path / "cache").write_text("")
    with pytest.raises(StorageError, match="cache cannot be written: ") as caught:
        read_dataset(write_table(tmp_path / "t.csv"), cache_dir=tmp_path / "cache")
    assert caught.value.exit_code == 5


def test_a_table_that_changes_while_read_is_not_kept(tmp_path: Path) -> None:
    """What was hashed must be what was parsed."""
    path = write_table(tmp_path / "t.csv")
    with (
        mock.patch.object(room, "_signature", side_effect=[(1, 1), (2, 2)]),
        pytest.raises(DataError, match=r"t\.csv changed while it was read; run the command again"),
    ):
        read_dataset(path, cache_dir=tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []


def test_image_files_give_the_size_and_are_watched(tmp_path: Path) -> None:
    """Files tell their own size; one that changes makes the cache read again."""
    path = write_files(tmp_path)
    first = read_dataset(path, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(first.images, IMAGES)
    assert (first.schema.image_size, first.image_size_assumed) == (ImageSize(4, 9), False)
    assert first.table.extra["image_path"][5] == "5.png"
    with mock.patch.object(room, "read_keypoints", side_effect=AssertionError("parsed again")):
        assert_same(read_dataset(path, cache_dir=tmp_path / "cache"), first)
    io.imsave(tmp_path / "5.png", 255 - IMAGES[5], check_contrast=False)
    os.utime(tmp_path / "5.png", ns=(0, 0))
    again = read_dataset(path, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(again.images[5], 255 - IMAGES[5])
    (tmp_path / "5.png").unlink()
    with pytest.raises(DataError, match=r"no file '5.png'"):
        read_dataset(path, cache_dir=tmp_path / "cache")


def test_an_image_size_that_the_files_do_not_have_is_refused(tmp_path: Path) -> None:
    """An option that contradicts the files is not ignored."""
    with pytest.raises(DataError, match="its image files are 4x9, not 9x4 as --image-size says"):
        read_dataset(write_files(tmp_path), TableRequest(ImageSize(9, 4)))


def test_an_assumed_square_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Read anew or from the cache; a stated size is not announced."""
    caplog.set_level(logging.INFO, logger="labelfill")
    path = write_table(tmp_path / "t.csv")
    for _ in range(2):
        assert read_dataset(path, cache_dir=tmp_path / "cache").image_size_assumed
        assert caplog.messages == [f"{path}: images of 6x6 assumed; --image-size HxW states another size"]
        caplog.clear()
    assert not read_dataset(path, TableRequest(ImageSize(4, 9))).image_size_assumed
    assert caplog.messages == []


def test_labels_beyond_an_assumed_square_name_the_likely_size(tmp_path: Path) -> None:
    """Thirty-six pixels with labels at x = 8 are 4x9, not 6x6."""
    path = write_table(tmp_path / "t.csv", x="8")
    with pytest.raises(DataError) as caught:
        read_dataset(path)
    assert str(caught.value) == (
        f"{path}: 6 of 12 coordinates (50%) lie beyond the 6x6 image (a square was assumed), "
        "first in row 0 (line 2); the images are probably 4x9: pass --image-size 4x9"
    )
    assert read_dataset(path, TableRequest(ImageSize(4, 9))).schema.image_size == ImageSize(4, 9)


def test_labels_beyond_every_shape_are_a_matter_of_the_labels(tmp_path: Path) -> None:
    """No shape of the same number of pixels is suggested where none holds the labels."""
    with pytest.raises(
        DataError, match="and no other shape of 36 pixels holds them; check the labels and images"
    ):
        read_dataset(write_table(tmp_path / "t.csv", x="800"))


def test_a_stated_size_wins_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the user says of the size is not overruled by labels."""
    read_dataset(write_table(tmp_path / "t.csv", x="8"), TableRequest(ImageSize(6, 6)))
    assert "lie beyond the 6x6 image, first in row 0 (line 2); check the image size" in caplog.text


def test_a_few_labels_beyond_the_image_are_normal(tmp_path: Path) -> None:
    """Up to 1% of the coordinates may be guesses at what the frame cuts off."""
    images = np.zeros((60, 2, 2), np.uint8)
    path = write_table(tmp_path / "t.csv", images, x="1", y="1")
    path.write_text(path.read_bytes().decode("latin-1").replace("1,1,", "9,1,", 1), "latin-1")
    assert read_dataset(path).schema.image_size == ImageSize(2, 2)


def test_labels_can_be_read_without_images(tmp_path: Path) -> None:
    """Tables without images, or images left unread: the frame is the square that holds all labels."""
    (tmp_path / "labels.csv").write_text("a_x,a_y\n95.2,12\n")
    bare, cache_dir = TableRequest(require_images=False), tmp_path / "cache"
    labels = read_dataset(tmp_path / "labels.csv", bare, cache_dir=cache_dir)
    assert (labels.images, labels.schema.image_size) == (None, ImageSize(96, 96))
    unread = read_dataset(write_table(tmp_path / "t.csv"), TableRequest(with_images=False))
    assert (unread.images, unread.schema.image_size) == (None, ImageSize(2, 2))
    with pytest.raises(DataError, match="no column 'Image'"):
        read_dataset(tmp_path / "labels.csv")
    (tmp_path / "blank.csv").write_text("a_x,a_y\n,\n")
    with pytest.raises(DataError, match="neither images nor labels, so nothing can be found"):
        read_dataset(tmp_path / "blank.csv", bare)
    blank = read_dataset(tmp_path / "blank.csv", TableRequest(ImageSize(4, 5), require_images=False))
    assert blank.schema.image_size == ImageSize(4, 5)


@pytest.mark.parametrize(
    ("x", "side"),
    [
        ([10, 20, 66.2], 67),
        ([-30, 5, 12], 42),
        ([-90, -20, -5], 90),
        ([0.1, 0.9, 0.5], 1),
        (300 * [10, 20] + [6600], 20),
    ],
)
def test_a_frame_is_assumed_that_holds_the_labels(x: list[float], side: int) -> None:
    """From 0 or the smallest coordinate to the largest, but for a few that lie far beyond all others."""
    labels = np.stack([np.array(x), np.full(len(x), np.nan)], axis=1)[:, None]
    assert assumed_frame(labels, "t.csv") == ImageSize(side, side)


def test_rows_without_images_show_the_same_if_their_labels_are_the_same() -> None:
    """To the last digit, in three points or more, blanks among them; identical images decide if there are."""
    labels = np.random.default_rng(0).normal(40, 9, (6, 4, 2))
    labels[:, 3] = np.nan
    labels[4] = labels[1]
    labels[[2, 5], 2] = np.nan
    labels[5] = labels[2]
    alone = dataset_of_labels(labels, "abcd", "X")
    ids = row_ids(alone).tolist()
    assert (ids[4], len(set(ids))) == (ids[1], 5)
    assert row_ids(alone, np.array([4, 1])).tolist() == [ids[4], ids[1]]
    images = np.random.default_rng(1).integers(0, 256, (6, 5, 5))
    images[3] = images[0, :, ::-1]
    ids = row_ids(dataset_of_arrays(labels, "abcd", images, "images")).tolist()
    assert (ids[3], len(set(ids))) == (ids[0], 5)


def test_one_entry_serves_whoever_needs_images_and_whoever_does_not(tmp_path: Path) -> None:
    """A table is not kept twice; one without images that is kept is refused where images are needed."""
    kept = tmp_path / "cache"
    for require_images in (False, True):
        request = TableRequest(require_images=require_images)
        read_dataset(write_table(tmp_path / "t.csv"), request, cache_dir=kept)
    assert len(list(kept.iterdir())) == 1
    (tmp_path / "bare.csv").write_text("a_x,a_y\n95.2,12\n")
    read_dataset(tmp_path / "bare.csv", TableRequest(require_images=False), cache_dir=kept)
    with pytest.raises(DataError, match="no column 'Image'"):
        read_dataset(tmp_path / "bare.csv", cache_dir=kept)


def test_images_can_be_read_without_keypoints(tmp_path: Path) -> None:
    """A table of images alone has a schema of no keypoints."""
    (tmp_path / "t.csv").write_text("id,Image\n7,0 1 2 3\n")
    images = read_dataset(tmp_path / "t.csv", TableRequest(require_keypoints=False))
    assert (images.schema.count, images.table.extra, images.images.tolist()) == (
        0,
        {"id": ["7"]},
        [[[0, 1], [2, 3]]],
    )


def test_a_file_that_is_not_there_is_bad_data_with_a_cache_too(tmp_path: Path) -> None:
    """The hash that names a cache entry is not what stumbles over it."""
    with pytest.raises(DataError, match="no such file"):
        read_dataset(tmp_path / "none.csv", cache_dir=tmp_path / "cache")
