"""Files that are no table are told from tables, and named; a cell that a spreadsheet cut is, too."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.driving import labelfill

FOREIGN = {
    "m.mat": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(90), "MATLAB's .mat"),
    "m73.mat": (b"MATLAB 7.3 MAT-file" + bytes(493) + b"\x89HDF", "MATLAB's .mat"),
    "a.npy": (b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'}\n", "array of numpy"),
    "a.pkl": (pickle.dumps({"a": 1}), "a pickle, which is not opened"),
    "a.feather": (b"ARROW1\0\0" + bytes(40), "write Parquet"),
    "a.db": (b"SQLite format 3\0" + bytes(40), "data base of SQLite"),
    "a.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(40), "workbook of Excel: save its sheet as CSV"),
    "a.pdf": (b"%PDF-1.7\n%", "a PDF"),
    "a.html": (b"\n<!DOCTYPE html>\n<html>", "a web page"),
    "a.png": (b"\x89PNG\r\n\x1a\n" + bytes(40), "an image: give a table that names"),
    "a.jpg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "an image"),
    "a.bmp": (b"BM  \0\0\0\0\0\0", "an image"),
    "a.tif": (b"II*\0" + bytes(8), "an image"),
    "a.webp": (b"RIFF\n\0\0\0WEBPVP8 ", "an image"),
    "a.heic": (b"\0\0\0\x18ftypheic", "an image"),
    "a.mp4": (b"\0\0\0 ftypisom", "a video: export its frames"),
    "a.avi": (b"RIFF\0\0\0\0AVI LIST", "a video"),
    "one.json": (b'{"version": "5.1", "shapes": [], "imagePath": "a.png"}', "LabelMe's JSON of one image"),
    "open.json": (b'{"version": 1.3, "people": []}', "OpenPose's JSON"),
    "via.json": (b'{"a.png1": {"filename": "a.png", "regions": []}}', "VGG Image Annotator"),
    "mpii.json": (b'[{"joints": [[1, 2]], "image": "a.jpg"}]', "MPII's JSON: write a table"),
    "results.json": (b'[{"image_id": 1, "keypoints": [1, 2, 1], "score": 0.5}]', "COCO's results"),
    "min.json": (b'[{"image": "a.png", "annotation_id": 1, "annotator": 1}]', "JSON-MIN: export JSON"),
    "other.json": (b'{"a": 1, "b": [2]}', "JSON of another kind, with 'a', 'b': export COCO"),
    "nothing.json": (b"{}", "JSON that holds nothing"),
    "coco.txt": (b'{\n "images": []}', "JSON: name it .json"),
    "c.h5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5, as DeepLabCut's .h5"),
    "a.xml": (b'<?xml version="1.0"?><annotations></annotations>', "XML"),
    "a.pts": (b"version: 1\nn_points: 2\n{\n30.1 30.2\n60.3 31.2\n}\n", ".pts file of one image"),
    "data.yaml": (b"path: ../faces\ntrain: images\n", "YAML"),
    "a.txt": (b"0 0.5 0.5 0.9 0.9 0.3 0.3 2 0.6 0.3 0\n", "numbers without a header"),
    "b.csv": (b"34.1,55.2,1e3\n1,2,3\n", "numbers without a header"),
    "list.txt": (b"2\nSmiling Young\n1.jpg 1 -1\n2.jpg 1 1\n", "first line is a count"),
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


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_json_lines_are_named(suffix: str, tmp_path: Path) -> None:
    """However long the first line is; a file that goes on in its first line is damaged JSON as before."""
    path = tmp_path / f"t{suffix}"
    path.write_text(json.dumps({"a": "b" * 9000}) + "\n" + '{"a": 1}\n')
    assert f"{path} is JSON Lines, a value in each line; export" in labelfill("inspect", path).sentence
    path.write_text('{"a": 1} {"a": 1}')
    assert "expected the end of the file" in labelfill("inspect", path).sentence


@pytest.mark.parametrize(
    ("member", "what"),
    [
        ("xl/workbook.bin", "an Excel workbook; save its sheet as CSV"),
        ("content.xml", "an OpenDocument file; save its sheet as CSV"),
        ("arr_0.npy", "arrays of numpy, an .npz; write a csv table"),
        ("model/data.pkl", "a file of PyTorch, which is not opened"),
    ],
)
def test_archives_of_other_programs_are_named(member: str, what: str, tmp_path: Path) -> None:
    """They are zip files, which hold no csv by which a table would be found."""
    path = tmp_path / "t.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, b"x")
    assert f"{path} is {what}" in labelfill("inspect", path).sentence


@pytest.mark.parametrize(
    "header",
    ["a_x,a_y", "1_x,1_y", "x_x,x_y,note: b", "a_x;a_y", "BM_x,BM_y", "II_x,II_y", "people_x,people_y"],
)
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
