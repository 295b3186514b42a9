"""Files that are no table are told from tables, and named; a cell that a spreadsheet cut is, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.driving import labelfill

FOREIGN = {
    "c.h5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
    "a.xml": (b'<?xml version="1.0"?><annotations></annotations>', "XML"),
    "a.pts": (b"version: 1\nn_points: 2\n{\n30.1 30.2\n60.3 31.2\n}\n", ".pts file of one image"),
    "data.yaml": (b"path: ../faces\ntrain: images\n", "YAML"),
    "pose.yaml": (b"kpt_shape: [2, 3]\n", "YAML"),
    "a.txt": (b"0 0.5 0.5 0.9 0.9 0.3 0.3 2 0.6 0.3 0\n", "numbers without a header"),
    "b.csv": (b"34.1,55.2,1e3\n1,2,3\n", "numbers without a header"),
    "list.txt": (b"2\nlefteye_x lefteye_y\n1.jpg 3 4\n2.jpg 3 4\n", "first line is a count"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_table_is_told_by_its_begin(name: str, tmp_path: Path) -> None:
    """The sentence says what the file is and what to give instead; no option that cannot help is named."""
    content, what = FOREIGN[name]
    (tmp_path / name).write_bytes(content)
    refused = labelfill("inspect", tmp_path / name)
    assert refused.code == 3, refused.err
    assert "is no table but" in refused.sentence
    assert what in refused.sentence
    assert "--image-size" not in refused.sentence


@pytest.mark.parametrize("header", ["a_x,a_y", "1_x,1_y", "x_x,x_y,note: b", "a_x;a_y"])
def test_tables_are_not_taken_for_others(header: str, tmp_path: Path) -> None:
    """Odd names of columns are names."""
    (tmp_path / "t.csv").write_text(f"{header}\n" + "1,2\n".replace(",", header[3]) * 3)
    assert "is no table but" not in labelfill("inspect", tmp_path / "t.csv").err


def test_a_cell_that_excel_cut_is_named(tmp_path: Path) -> None:
    """Exactly 32,767 characters: the original is whole, and no size of an image would help."""
    pixels = np.random.default_rng(0).integers(0, 256, 96 * 96)
    cell = " ".join(map(str, pixels))[:32_767]
    assert len(cell) == 32_767
    (tmp_path / "t.csv").write_text(f"a_x,a_y,Image\n1,2,{cell}\n3,4,{cell}\n")
    refused = labelfill("inspect", tmp_path / "t.csv")
    assert refused.code == 3
    assert "Excel has cut it" in refused.sentence
    assert "--image-size" not in refused.sentence
