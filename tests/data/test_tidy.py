"""Tables with a row for each point are refused with a line of Python that makes tables of them."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from labelfill.data.formats import read_keypoints
from labelfill.errors import DataError

LABELS = {
    ("b.png", "nose"): ("1.50", "02.5"),
    ("b.png", "left eye"): ("3", ""),
    ("a 1.png", "nose"): ("7", "8e0"),
}
HEADERS = {
    "image,keypoint,x,y": ",",
    "Filename;Bodypart;X;Y": ";",
    "file\tname\tx\ty": "\t",
    " frame, landmark , x ,y": ",",
    "image_path,Label,X,y": ",",
}


def write_tidy(path: Path, header: str, delimiter: str) -> Path:
    lines = [delimiter.join([*key, *xy]) for key, xy in LABELS.items()]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def proposed(path: Path) -> str:
    with pytest.raises(DataError, match="has a row for each point, expected one for each image") as caught:
        read_keypoints(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).partition("this line of Python makes one of it: ")[2]


@pytest.mark.parametrize("header", HEADERS)
def test_the_proposed_line_makes_a_table_of_it(tmp_path: Path, header: str) -> None:
    """Every label is there with its text, and what is not labelled is blank."""
    pytest.importorskip("pandas")
    path = write_tidy(tmp_path / "it's tidy.v2.csv", header, HEADERS[header])
    exec(proposed(path), {})
    table = read_keypoints(tmp_path / "it's tidy_wide.csv")
    for (row, image), (k, keypoint) in product(
        enumerate(table.extra["image_path"]), enumerate(table.keypoints)
    ):
        texts = LABELS.get((image, keypoint), ("", ""))
        np.testing.assert_array_equal(table.labels[row, k], [float(text or "nan") for text in texts])
    assert (table.rows, set(table.keypoints)) == (2, {"nose", "left eye"})
    assert "02.5" in table.path.read_text()


def test_the_line_is_one_that_a_shell_can_start(tmp_path: Path) -> None:
    """As the one argument of python -c."""
    pytest.importorskip("pandas")
    path = write_tidy(tmp_path / "t.csv", "image,keypoint,x,y", ",")
    subprocess.run([sys.executable, "-c", proposed(path)], check=True)
    assert read_keypoints(tmp_path / "t_wide.csv").rows == 2


@pytest.mark.parametrize("header", ["image,x,y", "keypoint,x,y", "image,keypoint,x,z"])
def test_other_tables_are_not_called_tidy(tmp_path: Path, header: str) -> None:
    """Without points' names, images or coordinates nothing could be made of them."""
    path = tmp_path / "t.csv"
    path.write_text(header + "\n" + "1," * header.count(",") + "1\n")
    with pytest.raises(DataError, match="no keypoint columns"):
        read_keypoints(path)
