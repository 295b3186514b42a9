"""DeepLabCut's files: of one animal, of several, and what a network answered."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from labelfill.data.formats import read_keypoints, write_found
from labelfill.data.formats.deeplabcut import is_deeplabcut, read_deeplabcut
from labelfill.data.table import FoundPoints
from labelfill.errors import DataError
from tests.drawn_points import write_images
from tests.driving import labelfill

OLD_STYLE = "scorer,A,A\nbodyparts,nose,nose\ncoords,x,y\n"
PREDICTED = "scorer,A,A,A\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\n"


@pytest.mark.parametrize("name", ["labeled-data/vid/0.png", "labeled-data\\vid\\0.png"])
def test_deeplabcut_of_one_index_column_in_its_project(tmp_path: Path, name: str) -> None:
    """Names from the project's folder are found in the file's own."""
    folder = tmp_path / "labeled-data" / "vid"
    folder.mkdir(parents=True)
    write_images(folder)
    path = folder / "CollectedData_A.csv"
    path.write_text(f"{OLD_STYLE}{name},1.50,\n")
    table = read_keypoints(path)
    assert table.extra == {"image_path": ["0.png"]}
    np.testing.assert_array_equal(table.labels, [[[1.5, np.nan]]])
    above = tmp_path / "CollectedData_A.csv"
    above.write_text(path.read_text())
    assert read_keypoints(above).extra["image_path"] == ["labeled-data/vid/0.png"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("scorer,A,A\nindividuals,m,m\nbodyparts,n,n\n", "line 4: the file ends in its header; expected"),
        ("scorer,A,A\nindividuals,m,m\ncoords,x,y\na,1,2\n", "line 3: found 'coords' and 3 fields, expected"),
        (
            "scorer,,A,A,A,A\nindividuals,,m1,m1,single,single\nbodyparts,,n,n,t,t\ncoords,,x,y,x,y\nv,a,1,2,3,4\n",
            "line 2: the file is of 2 individuals ('m1', 'single'), and labelfill reads one set",
        ),
        ("scorer,A,A\nbodyparts,n,n\n1.png,2,3\n", "line 3: found '1.png' and 3 fields, expected"),
        ("scorer,A,A\nbodyparts,n\ncoords,x,y\n", "line 2: found 'bodyparts' and 2 fields"),
        ("scorer,A,A\nbodyparts,n,n\ncoords,x,x\na,1,2\n", "line 3, field 3: found 'x' of 'n', expected x"),
        ("scorer,A\nbodyparts,n\ncoords,x\na,1\n", "line 3: no x and y of 'n'"),
        (f"{OLD_STYLE}a.png,1,two\n", "row 0 (line 4), column 'nose_y': found 'two', expected a finite"),
        (f"{OLD_STYLE}a.png,1\n", "row 0 (line 4): found 2 fields, expected 3"),
    ],
)  # fmt: skip
def test_malformed_deeplabcut(tmp_path: Path, content: str, words: str) -> None:
    """Exit code 3; line, field and what was expected."""
    path = tmp_path / "CollectedData_A.csv"
    path.write_text(content)
    outcome = labelfill("inspect", path)
    assert outcome.code == 3
    assert words in outcome.sentence


def test_a_first_line_that_does_not_end_is_looked_at_once(tmp_path: Path) -> None:
    """Megabytes without a line end: a search that begins anew at every byte would not end within days."""
    assert not is_deeplabcut(b"left_eye_x,Image" + b"7" * (4 << 20))
    path = tmp_path / "CollectedData_A.csv"
    path.write_bytes(b"scorer,A,A\nbodyparts," + b"n" * (4 << 20))
    with pytest.raises(DataError, match="the file ends in its header"):
        read_keypoints(path)


INDIVIDUAL = "scorer,,,A,A\r\nindividuals,,,{0},{0}\r\nbodyparts,,,nose,nose\r\ncoords,,,x,y\r\n"


@pytest.mark.parametrize("individual", ["mouse1", "single", '"a, b"'])
def test_a_file_of_one_individual_is_of_one_animal(tmp_path: Path, individual: str) -> None:
    """Its header of four rows stays byte for byte when its blanks are filled."""
    path = tmp_path / "CollectedData_A.csv"
    begin = INDIVIDUAL.format(individual) + "labeled-data,vid,0.png,1.50,2\r\nlabeled-data,vid,1.png,"
    path.write_bytes(f"{begin},\r\n".encode())
    table = read_keypoints(path)
    assert table.keypoints == ("nose",)
    assert table.lines.tolist() == [5, 6]
    np.testing.assert_array_equal(table.labels, [[[1.5, 2.0]], [[np.nan, np.nan]]])
    found = FoundPoints(np.full((2, 1, 2), 5.0), np.ones((2, 1)), np.full((2, 2), 9.0), "m")
    out = BytesIO()
    write_found(table, found, out, path.name)
    assert out.getvalue() == f"{begin}5.0000,5.0000\r\n".encode()


def predictions(path: Path, *frames: object) -> Path:
    path.write_text(PREDICTED + "".join(f"{frame},1.5,2.5,0.9\n" for frame in frames))
    return path


def test_predictions_are_called_what_they_are(tmp_path: Path) -> None:
    """They are refused with the option that reads them, and several individuals with their names."""
    path = predictions(tmp_path / "vidDLC_resnet50.csv", 0, 1)
    assert labelfill("inspect", path).sentence.endswith(
        f"{path} is a DeepLabCut prediction file, which holds a network's answers and no labels; "
        "--min-likelihood 0.6 takes the points above it as labels"
    )
    animals = (
        "scorer,A,A,A,A,A,A\nindividuals,m,m,m,n,n,n\nbodyparts,a,a,a,a,a,a\ncoords" + ",x,y,likelihood" * 2
    )
    path.write_text(f"{animals}\n0,1,2,1,3,4,1\n")
    with pytest.raises(DataError, match=r"of 2 individuals \('m', 'n'\)"):
        read_deeplabcut(path)


def test_predictions_are_read_with_their_likelihoods(tmp_path: Path) -> None:
    """Image names stay image names; a header of four rows is read as well."""
    path = predictions(tmp_path / "p.csv", "0.png", "1.png")
    for header in ("", "individuals,m,m,m\n"):
        path.write_text(path.read_text().replace("bodyparts", f"{header}bodyparts"))
        table = read_deeplabcut(path, predictions=True)
        assert table.extra == {"image_path": ["0.png", "1.png"], "nose_likelihood": ["0.9", "0.9"]}
        np.testing.assert_array_equal(table.labels, [[[1.5, 2.5]]] * 2)


def test_frames_of_a_video_are_images_whose_names_end_in_their_numbers(tmp_path: Path) -> None:
    """Leading zeros do not count, other files neither; the images may lie beside another file."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for name in ("img0007.png", "frame_8.JPG", "v2.tif", "clip9.mp4", "cover.png", "10x.png"):
        (frames / name).touch()
    path = predictions(tmp_path / "p.csv", 7, 8, 2)
    table = read_deeplabcut(path, beside=frames / "t.csv", predictions=True)
    assert table.extra["image_path"] == ["img0007.png", "frame_8.JPG", "v2.tif"]
    with pytest.raises(DataError) as caught:
        read_deeplabcut(predictions(path, 7, 9, 10), beside=frames / "t.csv", predictions=True)
    assert str(caught.value) == (
        f"{path} names frames of a video by number, and {frames} has no image whose name ends in that of "
        "2 of them, the first 9; export the frames as images, such as frame9.png, and name their folder by "
        "--image-folder"
    )
    (frames / "img007.png").touch()
    with pytest.raises(
        DataError, match=r"row 1 \(line 5\): frame 7 may be any of 'img0007.png', 'img007.png'"
    ):
        read_deeplabcut(predictions(path, 8, 7), beside=frames / "t.csv", predictions=True)
