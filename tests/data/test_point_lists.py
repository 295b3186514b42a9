"""CelebA's list and folders of .pts files: read, and filled with every other byte as it was."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.formats import read_keypoints
from labelfill.data.formats.pts import _names_of_68
from labelfill.data.reading_options import ReadingOptions
from labelfill.schema import mirror_partners
from tests.drawn_points import SIZES, write_images
from tests.drawn_poses import check_filled, filled_copy, found_for
from tests.driving import labelfill
from tests.pose_files import write_list, write_pts

FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_WORDS = st.sampled_from(["12", "3.5", "1e1", "-2", "8.250000", "nan"])


@st.composite
def points(draw: st.DrawFn) -> np.ndarray:
    """(n, K, 2) words, x and y blank together."""
    shape = (draw(st.integers(1, len(SIZES))), draw(st.integers(1, 4)))
    words = np.full((*shape, 2), "nan", object)
    for row, k in np.ndindex(*shape):
        x = draw(_WORDS)
        words[row, k] = x, "nan" if x == "nan" else draw(_WORDS.filter(lambda word: word != "nan"))
    words[0, 0] = "7", "6.5"
    return words


@FEW
@given(words=points(), end=st.sampled_from(["\n", "\r\n"]))
def test_a_folder_of_pts_files(words: Any, end: str, tmp_path: Path) -> None:
    """Places count from 1 in the files; filled, they are a zip in which only blanks have changed."""
    folder, out = write_pts(tmp_path, words, end), tmp_path / "out.zip"
    table = read_keypoints(folder)
    np.testing.assert_allclose(table.labels, words.astype(float) - 1)
    found = found_for(table, 1)
    filled_copy(table, found, out)
    check_filled(folder, found, out)
    with zipfile.ZipFile(out) as archive:
        for row, name in enumerate(archive.namelist()):
            before, after = (
                re.split(rb"(\s+)", c) for c in ((folder / name).read_bytes(), archive.read(name))
            )
            for old, new in zip(before, after, strict=True):
                assert old == new or old == b"nan"
            assert name == f"{row}.pts"


def test_the_images_of_pts_files(tmp_path: Path) -> None:
    """Each is the file of the same name, in folders below, too; those of a filled zip lie in the folder."""
    for part in ("indoor", "outdoor"):
        (tmp_path / part).mkdir()
        write_images(tmp_path / part)
        words = np.arange(4 * len(SIZES)).reshape(-1, 2, 2) / 2 + 1.25
        write_pts(tmp_path / part, words.astype(str).astype(object))
    dataset = read_dataset(tmp_path, TableRequest(), cache_dir=tmp_path / "cache")
    assert dataset.images is not None
    assert dataset.table.extra["image_path"][:2] == ["indoor/0.png", "indoor/1.png"]
    filled_copy(dataset.table, found_for(dataset.table, 1), tmp_path / "f.zip")
    request = TableRequest(images_beside=tmp_path, filled=True)
    again = read_dataset(tmp_path / "f.zip", request)
    assert again.images is not None
    np.testing.assert_array_equal(again.images, dataset.images)
    changed = tmp_path / "indoor" / "0.pts"
    changed.write_text(changed.read_text().replace("1.25 1.75", "1.25 nan", 1))
    fresh = read_dataset(tmp_path, TableRequest(), cache_dir=tmp_path / "cache")
    assert np.isnan(fresh.table.labels[0, 0, 1])


def test_the_names_of_68_points_have_mirror_partners() -> None:
    """As 300-W orders them: point 1 mirrors point 17, 37 mirrors 46, 61 mirrors 65."""
    names = _names_of_68()
    assert len(set(names)) == 68
    partners = mirror_partners(names)
    pairs = {
        1: 17,
        8: 10,
        9: 9,
        18: 27,
        22: 23,
        31: 31,
        32: 36,
        34: 34,
        37: 46,
        38: 45,
        39: 44,
        40: 43,
        41: 48,
    }
    pairs |= {
        42: 47,
        49: 55,
        50: 54,
        51: 53,
        52: 52,
        56: 60,
        57: 59,
        58: 58,
        61: 65,
        62: 64,
        63: 63,
        66: 68,
        67: 67,
    }
    assert {a: partners[a - 1] + 1 for a in pairs} == pairs


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("version: 1\nn_points: 2\n{\n1 2\n}\n", "found 2 numbers, expected x and y of '2' points"),
        ("version: 1\nn_points: 1\n{\n1 2\n", "no closing brace"),
        ("1 2\n", "expected version, n_points"),
        ("version: 1\nn_points: 1\n{\n1 two\n}\n", "'two', expected a finite number"),
        ("version: 1\nn_points: 2\n{\n1 2\n3 4\n}\n", "put files of different points in different folders"),
    ],
)
def test_a_broken_pts_file_is_named(text: str, sentence: str, tmp_path: Path) -> None:
    """With exit code 3."""
    write_pts(tmp_path, np.full((1, 1, 2), "7", object))
    (tmp_path / "b.pts").write_text(text)
    refused = labelfill("inspect", tmp_path)
    assert refused.code == 3
    assert "b.pts" in refused.sentence
    assert sentence in refused.sentence


@FEW
@given(words=points(), whole=st.booleans())
def test_celeba_s_list(words: Any, whole: bool, tmp_path: Path) -> None:
    """Only blanks change; where all coordinates are whole px, fills are, too."""
    if whole:
        words[words != "nan"] = "14"
    path, out = write_list(tmp_path / "list.txt", words), tmp_path / "out.txt"
    table = read_keypoints(path)
    np.testing.assert_array_equal(table.labels, words.astype(float))
    found = found_for(table, 1)
    filled_copy(table, found, out)
    if whole:
        found.xy[:] = np.rint(found.xy)
    check_filled(path, found, out)
    before, after = (re.split(rb"(\s+)", file.read_bytes()) for file in (path, out))
    for old, new in zip(before, after, strict=True):
        assert old == new or (old == b"nan" and (b"." not in new or not whole))


def test_celeba_s_placeholders(tmp_path: Path) -> None:
    """A declared placeholder is replaced in its place; the sidecar's digits are held as whole px."""
    path = write_list(tmp_path / "l.txt", np.array([[["-1", "-1"], ["3", "4"]]], object))
    table = read_keypoints(path, reading=ReadingOptions(missing_values=(-1.0,)))
    found = found_for(table, 1)
    found.xy[:] = 6.4
    filled_copy(table, found, tmp_path / "o.txt")
    assert (tmp_path / "o.txt").read_text().splitlines()[2] == "0.png  6  6  3  4 "


@pytest.mark.parametrize(
    ("line", "sentence"), [("2.png 1 2 3", "found 4 words"), ("2.png 1 2 3 b", "'b', expected")]
)
def test_a_broken_line_of_a_list_is_named(line: str, sentence: str, tmp_path: Path) -> None:
    """By its number, with exit code 3."""
    (tmp_path / "l.txt").write_text(f"2\na_x a_y b_x b_y\n1.png 1 2 3 4\n{line}\n")
    refused = labelfill("inspect", tmp_path / "l.txt")
    assert refused.code == 3
    assert "row 1 (line 4)" in refused.sentence
    assert sentence in refused.sentence
