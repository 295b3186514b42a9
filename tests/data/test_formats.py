"""A table made into another format and back is the same table, for every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from labelfill.data.formats import read_keypoints
from labelfill.data.formats.conversion import convert
from labelfill.data.formats.visibility import visibilities
from labelfill.errors import DataError, UsageError
from tests.drawn_points import points, write_images, write_points
from tests.examples import drawing

# Where a table goes by way of each format, and whether that carries visibilities and further columns.
FORMATS = {
    "coco": ("p.json", True),
    "deeplabcut": ("CollectedData_Ann.csv", False),
    "parquet": ("p.parquet", True),
    "label-studio": ("l.json", True),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("points"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@drawing(200)
@given(drawn=points())
def test_there_and_back(images: Path, name: str, drawn: tuple[list[str], np.ndarray, np.ndarray]) -> None:
    """Every observed value, visibility, image name and further column survives; nothing else appears."""
    if name == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow: pip install '.[parquet]'")
    names, labels, seen = drawn
    file, carries_all = images / FORMATS[name][0], FORMATS[name][1]
    table = write_points(images / "t.csv", names, labels, seen)
    convert(table, file, name, force=True)
    there = read_keypoints(file)
    convert(file, images / "back.csv", "table", force=True)
    back = read_keypoints(images / "back.csv")
    for one in (there, back):
        order = [one.keypoints.index(k) for k in names if k in one.keypoints]
        if name != "label-studio":  # it names only keypoints that some task has
            assert one.keypoints == tuple(names)
        present = [k for k, keypoint in enumerate(names) if keypoint in one.keypoints]
        assert np.isnan(np.delete(labels, present, axis=1)).all()
        # Percents are rounded to a billionth of a px.
        exact = 0 if name != "label-studio" else 1e-9
        np.testing.assert_allclose(one.labels[:, order], labels[:, present], rtol=0, atol=exact)
        assert one.extra["image_path"] == [f"{row}.png" for row in range(len(labels))]
        if not carries_all:
            np.testing.assert_array_equal(visibilities(one)[:, order] > 0, np.isfinite(labels[:, present, 0]))
            continue
        np.testing.assert_array_equal(visibilities(one)[:, order], seen[:, present])
        assert one.extra["subject"] == [f"s{row // 2}" for row in range(len(labels))]


def test_image_names_lead_from_where_the_file_lies(images: Path, tmp_path: Path) -> None:
    """A file written above the images names them from there; one that is read from there finds them."""
    labels = np.full((2, 1, 2), 3.0)
    table = write_points(images / "t.csv", ["nose"], labels, None)
    above = images.parent / f"{images.name}.json"
    convert(table, above, force=True)
    assert read_keypoints(above).extra["image_path"] == [f"{images.name}/{row}.png" for row in range(2)]


def test_what_exists_is_kept(images: Path) -> None:
    """Neither the input nor an existing file is overwritten without being asked to."""
    table = write_points(images / "kept.csv", ["nose"], np.full((1, 1, 2), 3.0), None)
    with pytest.raises(UsageError, match="is the file that is read"):
        convert(table, table)
    (images / "there.json").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        convert(table, images / "there.json")
    assert (images / "there.json").read_text() == "mine"
    with pytest.raises(UsageError, match="its name tells no format"):
        convert(table, images / "t.xml")


def test_half_a_point_is_no_point_elsewhere(images: Path) -> None:
    """What a format cannot say is refused by name, not dropped."""
    table = write_points(images / "half.csv", ["nose"], np.array([[[3.0, np.nan]]]), None)
    with pytest.raises(
        DataError, match=r"first of 'nose' in row 0 \(line 2\); COCO keypoints cannot say that"
    ):
        convert(table, images / "half.json")
