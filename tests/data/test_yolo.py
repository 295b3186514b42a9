"""YOLO pose data sets: read, filled word by word, and judged by sleap-io's reader."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.formats import detect, files_of, read_keypoints
from labelfill.data.formats.conversion import convert
from tests.drawn_points import SIZES, write_images
from tests.drawn_poses import check_filled, filled_copy, found_for
from tests.driving import labelfill
from tests.pose_files import write_set

sio = pytest.importorskip("sleap_io", reason="needs sleap-io: pip install '.[pose]'")

FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_SHARES = st.sampled_from(["0.5", "0.123456", ".25", "1", "3e-1", "0.0625000"])


@st.composite
def lines(draw: st.DrawFn) -> tuple[int, int, list[list[str]]]:
    """Keypoints, numbers of each, and for each of some images the lines of its label file."""
    count, numbers = draw(st.integers(1, 3)), draw(st.sampled_from([2, 3]))
    images = []
    for _ in range(draw(st.integers(1, 4))):
        found = []
        for _ in range(draw(st.integers(0, 2))):
            words = [draw(st.sampled_from(["0", "1"])), *(draw(_SHARES) for _ in range(4))]
            for _ in range(count):
                seen = draw(st.sampled_from("0122"))
                blank = (seen == "0" and numbers == 3) or (draw(st.integers(0, 3)) == 0 and numbers == 2)
                xy = ["0", "0.0"] if blank and numbers == 3 else ["-1", "-1"]
                words += [
                    *(xy if blank else [draw(_SHARES), draw(_SHARES)]),
                    *([seen] if numbers == 3 else []),
                ]
            found.append(draw(st.sampled_from([" ", "  ", "\t"])).join(words))
        images.append(found)
    if not any(images):
        images[0] = [" ".join(["0", *["0.5"] * 4, *(["0.5", "0.25", "2"][:numbers] * count)])]
    return count, numbers, images


@FEW
@given(drawn=lines(), end=st.sampled_from(["\n", "\r\n"]))
def test_filled_word_by_word(drawn: Any, end: str, tmp_path: Path) -> None:
    """Only the words of filled points differ; blanks, line ends and all other words stay byte for byte."""
    path, out = write_set(tmp_path, *drawn, end), tmp_path / "filled.zip"
    table = read_keypoints(path)
    found = found_for(table, 1, size=15.0)
    filled_copy(table, found, out)
    check_filled(path, found, out)
    new, row = found.new(table).all(axis=2), 0
    with zipfile.ZipFile(out) as archive:
        assert archive.read("data.yaml") == path.read_bytes()
        for name in archive.namelist()[1:]:
            before, after = (
                re.split(rb"(\s+)", content)
                for content in ((tmp_path / name).read_bytes(), archive.read(name))
            )
            assert len(before) == len(after)
            width = 2 * (5 + drawn[0] * drawn[1])
            starts = [i for i in range(0, len(before) - 1, width) if before[i]]
            may_change = set()
            for start in starts:
                for k in np.flatnonzero(new[row]).tolist():
                    first = start + 2 * (5 + k * drawn[1])
                    may_change |= {first + 2 * i for i in range(drawn[1])}
                    assert drawn[1] == 2 or after[first + 4] == b"1"
                row += 1
            assert all(
                a == b for i, (a, b) in enumerate(zip(before, after, strict=True)) if i not in may_change
            )
    assert row == table.rows


@FEW
@given(drawn=lines())
def test_labels_are_those_that_sleap_io_reads(drawn: Any, tmp_path: Path) -> None:
    """Of the original and of the filled set, unpacked over a copy of it: frames, points and their places."""
    count, _, images = drawn
    points = " 0.5 0.25 2" + " 0 0 0" * (count - 1)  # it reads three numbers for each keypoint alone
    images = [[" ".join(line.split()[:5]) + points for line in found] for found in images]
    path, out = write_set(tmp_path, count, 3, images), tmp_path / "filled.zip"
    table = read_keypoints(path)
    found = found_for(table, 2, size=15.0)
    filled_copy(table, found, out)
    with zipfile.ZipFile(out) as archive:
        archive.extractall(tmp_path)
    expected = found.whole(table)
    got = []
    for split in ("train", "val"):
        labels = sio.load_ultralytics(str(tmp_path), split=split)
        got += [instance.numpy() for frame in labels for instance in frame]
    assert len(got) == table.rows
    np.testing.assert_allclose(np.array(got), expected, atol=1e-4)


def test_points_beyond_the_image_are_written_on_its_edge(tmp_path: Path) -> None:
    """A sentence tells it; visibility 1 without a place is declared hidden, of 2 numbers -1 is a blank."""
    path = write_set(tmp_path, 3, 3, [["0 0.5 0.5 0.5 0.5 0.5 0.5 2 0 0 0 0 0 1"]])
    table = read_keypoints(path)
    assert table.extra["keypoint_2_visibility"] == ["1"]
    found = found_for(table, 1)
    found.xy[:] = (31.0, -4.0)
    filled_copy(table, found, tmp_path / "f.zip")
    after = read_keypoints(tmp_path / "f.zip", beside=path)
    assert after.labels[0, 1].tolist() == [30.0, 0.0]
    assert table.boxes is not None
    dataset = read_dataset(path, TableRequest())
    assert dataset.placements is not None


def test_the_set_s_files_are_watched(tmp_path: Path) -> None:
    """A label file that has changed is another table, and is not filled by what was found for the old one."""
    path = write_set(tmp_path, 1, 3, [["0 0.5 0.5 0.5 0.5 0 0 0"], ["0 0.5 0.5 0.5 0.5 0.5 0.5 2"]])
    assert files_of(path) == [path, *sorted(tmp_path.rglob("*.txt"))]
    table = read_keypoints(path)
    (tmp_path / "train" / "labels" / "0.txt").write_text("0 0.5 0.5 0.5 0.5 0.2 0.2 2")
    with pytest.raises(Exception, match="has changed since it was read"):
        filled_copy(table, found_for(table, 1), tmp_path / "f.zip")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("0 0.5 0.5 1 1 0.5 0.5", "found 7 numbers, expected 8"),
        ("0 0.5 0.5 1 1 0.5 0.5 0.93", "a model's answers"),
        ("0 0.5 0.5 1 1 0.5 x 2", "expected a finite number"),
        ("0 0.5 0.5 1 1 0.5 inf 2", "expected a finite number"),
    ],
)
def test_a_broken_line_is_named(line: str, sentence: str, tmp_path: Path) -> None:
    """By label file and line, with exit code 3."""
    path = write_set(tmp_path, 1, 3, [["0 0.5 0.5 1 1 0.5 0.5 2", line]])
    refused = labelfill("inspect", path)
    assert refused.code == 3
    assert "train/labels/0.txt, line 2" in refused.sentence
    assert sentence in refused.sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("kpt_shape: [1, 3]", "kpt_shape: [1]"), "kpt_shape is '[1]'"),
        (("train: train/images", "train: elsewhere"), "there is no such folder"),
        (("train: train/images\n", ""), "labels no instance"),
        (("names:", "kpt_names: [a, b]\nnames:"), "names 2 keypoints, and kpt_shape says 1"),
        (("names:", "names: ]"), "is damaged"),
    ],
)
def test_a_broken_description_is_told(change: tuple[str, str], sentence: str, tmp_path: Path) -> None:
    """What is wrong with data.yaml, with exit code 3."""
    path = write_set(tmp_path, 1, 3, [["0 0.5 0.5 1 1 0.5 0.5 2"]])
    path.write_text(path.read_text().replace(*change))
    refused = labelfill("inspect", path)
    assert refused.code == 3
    assert sentence in refused.sentence


def test_a_yaml_without_keypoints_is_no_data_set_of_poses(tmp_path: Path) -> None:
    """It is told as before; and a zip without a data.yaml is still one of a csv."""
    (tmp_path / "data.yaml").write_text("path: ../faces\ntrain: images\n")
    assert "YAML, which describes a data set" in labelfill("inspect", tmp_path / "data.yaml").sentence
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("t.csv", "a_x,a_y\n1,2\n")
    (tmp_path / "t.zip").write_bytes(buffer.getvalue())
    assert detect(tmp_path / "t.zip") == "table"


def test_converted_to_a_table(tmp_path: Path) -> None:
    """Names of keypoints, images, splits and boxes go with it."""
    path = write_set(tmp_path, 1, 3, [["0 0.5 0.5 0.5 0.5 0.5 0.5 2"], ["1 0.5 0.5 1 1 0.25 0.5 1"]])
    path.write_text(path.read_text() + "node_names: [snout]\n")
    convert(path, tmp_path / "t.csv")
    table = read_keypoints(tmp_path / "t.csv")
    assert table.keypoints == ("snout",)
    assert table.extra["split"] == ["train", "val"]
    assert table.extra["category"] == ["mouse", "rat"]
    assert table.extra["snout_visibility"] == ["2", "1"]
    np.testing.assert_allclose(table.labels[:, 0], [[SIZES[0][1] / 2, SIZES[0][0] / 2], [6.25, 20]])


def test_converted_from_a_table_and_back(tmp_path: Path) -> None:
    """A set that is unpacked beside its images is read back: labels, visibilities, boxes and names."""
    write_images(tmp_path)
    rows = ["0.png,3.5,4.25,2,,,1,", "0.png,7,8,1,9.5,3,2,2 3 10 12", "1.png,1,2,2,,,0,"]
    (tmp_path / "t.csv").write_text(
        "image_path,a_x,a_y,a_visibility,b_x,b_y,b_visibility,image_box\n" + "\n".join(rows) + "\n"
    )
    convert(tmp_path / "t.csv", tmp_path / "set.zip", "yolo")
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        archive.extractall(tmp_path)
    once, back = (read_keypoints(tmp_path / name) for name in ("t.csv", "data.yaml"))
    assert back.keypoints == once.keypoints
    assert back.extra["image_path"] == once.extra["image_path"]
    np.testing.assert_allclose(back.labels, once.labels, atol=1e-6)
    np.testing.assert_allclose(back.boxes, once.boxes, atol=1e-4)
    assert back.extra["b_visibility"] == ["1", "2", "0"]
