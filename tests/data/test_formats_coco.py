"""COCO keypoints: read, filled in place, and judged by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelfill.data.formats import check_out, declared_occluded, read_keypoints, write_found
from labelfill.data.formats.json_files import json_bytes
from labelfill.data.table import FoundPoints
from labelfill.errors import DataError, UsageError
from tests.drawn_points import write_faces, write_points
from tests.driving import PRIOR, done, labelfill, read_provenance
from tests.trained_runs import SMALL_KEYPOINTS

CONTENT = """{"info": {"year": 2017, "x": 1.50e1},
 "images": [{"id": 7, "file_name": "a.png", "height": 40, "width": 30}],
 "categories": [{"id": 1, "name": "cat", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]},
  {"id": 2, "name": "stone"}],
 "annotations": [
  {"id": 5, "image_id": 7, "category_id": 1, "bbox": [2.0, 4, 10, 20.0], "num_keypoints": 1,
   "keypoints": [ 3.10, 5, 2 , 0,0,0], "segmentation": [[1.0, 2.00]], "mine": {"b": 1e2, "a": "\\u00e9"}},
  {"id": 6, "image_id": 7, "category_id": 2},
  {"id": 8, "image_id": 7, "category_id": 1, "iscrowd": 1, "keypoints": [0, 0, 0, 0, 0, 0]},
  {"id": 9, "image_id": 7, "category_id": 1, "iscrowd": 0, "keypoints": [0, 0, 1, 4.0, 5.0, 1]},
  {"id": 10, "image_id": 7, "category_id": 1, "keypoints": [0, 0, 0, 1, 2, 2],
   "keypoint_scores": [0, 0.90]}
 ]}
"""


def written(folder: Path, content: str = CONTENT) -> Path:
    path = folder / "c.json"
    path.write_text(content)
    return path


def filled(path: Path, xy: np.ndarray, score: float = 0.25) -> str:
    table = read_keypoints(path)
    out = io.BytesIO()
    write_found(
        table,
        FoundPoints(xy, np.full(xy.shape[:2], score), np.full((len(xy), 2), 40.0), "m"),
        out,
        "out.json",
    )
    return out.getvalue().decode()


def test_rows_are_annotations_with_keypoints(tmp_path: Path) -> None:
    """Crowds and other categories are none; a hidden point at (0, 0) has no place; a box has a margin."""
    table = read_keypoints(written(tmp_path))
    assert table.keypoints == ("nose", "tail")
    assert table.extra["annotation_id"] == ["5", "9", "10"]
    assert table.extra["image_path"] == ["a.png"] * 3
    assert table.lines.tolist() == [6, 10, 11]
    nan = [np.nan, np.nan]
    np.testing.assert_array_equal(table.labels, [[[3.1, 5], nan], [nan, [4, 5]], [nan, [1, 2]]])
    assert table.extra["nose_visibility"] == ["2", "1", "0"]
    occluded = declared_occluded(table)
    assert occluded is not None
    assert occluded.tolist() == [[False, False], [True, False], [False, False]]
    assert table.boxes is not None
    np.testing.assert_allclose(table.boxes[0], [0.5, 1.5, 12.5, 25.5])
    assert np.isnan(table.boxes[1:]).all()


EXPECTED = (
    CONTENT.replace("2 , 0,0,0]", "2 , 8.1235,0.0,1]")
    .replace('"num_keypoints": 1', '"num_keypoints": 2')
    .replace('"a": "\\u00e9"}}', '"a": "\\u00e9"}, "keypoint_scores": [1, 0.25]}')
    .replace("[0, 0, 1, 4.0, 5.0, 1]}", '[8.1235, 0.0, 1, 4.0, 5.0, 1], "keypoint_scores": [0.25, 1]}')
    .replace("[0, 0, 0, 1, 2, 2]", "[8.1235, 0.0, 1, 1, 2, 2]")
    .replace("[0, 0.90]", "[0.25, 0.90]")
)


LAYOUTS = {
    "a line for each entry": lambda content: json_bytes(content).decode(),
    "one line": json.dumps,
    "compact": lambda content: json.dumps(content, separators=(",", ":"), ensure_ascii=False),
    "indented": lambda content: json.dumps(content, indent=2) + "\n",
    "tabs": lambda content: json.dumps(content, indent="\t"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_what_is_filled_changes(tmp_path: Path, layout: str) -> None:
    """Filled points get a place, visibility 1 and a score; all else of the file is as it was."""
    before, after = (LAYOUTS[layout](json.loads(text)) for text in (CONTENT, EXPECTED))
    path = written(tmp_path, before)
    xy = np.tile([8.12346, -1e-9], (3, 2, 1))
    assert filled(path, xy) == after
    assert filled(path, np.full((3, 2, 2), np.nan)) == before


def test_values_stay_where_the_layout_cannot(tmp_path: Path) -> None:
    """Of numbers and blanks that Python's json writes otherwise, the values stay; a line for each entry."""
    xy = np.tile([8.12346, -1e-9], (3, 2, 1))
    text = filled(written(tmp_path), xy)
    assert text == json_bytes(json.loads(EXPECTED)).decode()
    xy[:, 0] = np.nan
    text = filled(written(tmp_path), xy)
    assert "[0, 0, 1, 4.0, 5.0, 1]}" in text, "a row without fills is not touched"


def test_a_filled_file_has_the_formats_name(tmp_path: Path) -> None:
    """A name for another format is refused, and a file that changed since it was read is not filled."""
    path = written(tmp_path)
    table = read_keypoints(path)
    with pytest.raises(UsageError, match=r"choose a name that ends in \.json"):
        check_out(table, Path("filled.csv"))
    path.write_text(CONTENT + "\n")
    with pytest.raises(DataError, match="has changed since it was read"):
        write_found(
            table,
            FoundPoints(table.labels, table.labels[..., 0], table.labels[:, 0], "m"),
            io.BytesIO(),
            "o.json",
        )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("3.10, 5, 2 ,", "3.10, 5,", "annotation 5 (line 6), field 'keypoints': found 5 values, expected 6"),
        ("3.10, 5, 2 ,", "3.10, 5, 3 ,", "visibility of 'nose' is '3', expected 0 (not labelled)"),
        ("3.10, 5, 2 ,", '"x", 5, 2 ,', "x of 'nose' is '\"x\"', expected a finite number"),
        ("3.10, 5, 2 ,", "null, 5, 2 ,", "x of 'nose' is 'null', expected a finite number"),
        ("[2.0, 4, 10, 20.0]", "[2.0, 4, 10]", "annotation 5 (line 6), field 'bbox': found '[2.0, 4, 10]'"),
        ('"image_id": 7, "category_id": 1, "bbox"', '"image_id": 70, "category_id": 1, "bbox"',
         "annotation 5 (line 6), field 'image_id': found '70', expected the id of one of the file's images"),
        ('"file_name": "a.png"', '"file_name": ""', "image number 0: expected an object with 'id' and a"),
        ('["nose", "tail"]', '["nose", "nose"]', "category 1, field 'keypoints': expected different names"),
        ('{"id": 2, "name": "stone"}', '{"id": 2, "name": "stone", "keypoints": ["a"]}',
         "categories 'cat' and 'stone' have different keypoints"),
        ('"annotations"', '"annotation"', "no array 'annotations'; expected COCO's images, annotations"),
        (" ]}\n", " ]", "expecting ',' delimiter, found the end of the file"),
        ('"category_id": 2}', '"id": 7}', "line 8: an object has the name 'id' twice; remove one of them"),
        ('"x": 1.50e1', '"x": NaN', "c.json, line 1: NaN is no number of JSON; write null, or a number"),
        ("2.00", "1e400", "c.json, line 7: a float does not hold '1e400', it would become inf; round it"),
        ("3.10, 5, 2 ,", f"3.10, {10**400}, 2 ,", f"y of 'nose' is '{10**36}...', expected a finite number"),
    ],
)  # fmt: skip
def test_malformed_files_name_entry_and_field(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Exit code 3 and one sentence."""
    assert CONTENT.count(old) == 1 or old == '"annotations"'
    outcome = labelfill("inspect", written(tmp_path, CONTENT.replace(old, new)))
    assert outcome.code == 3
    assert words in outcome.sentence
    assert outcome.sentence.startswith(f"{tmp_path / 'c.json'}")


def test_places_without_visibility_are_said_to_be_filled(tmp_path: Path, caplog: Any) -> None:
    """Visibility decides, and who meant it otherwise is told."""
    read_keypoints(written(tmp_path, CONTENT.replace("2 , 0,0,0]", "2 , 4,0,0]")))
    assert "1 points have visibility 0 and yet a place" in caplog.text


@pytest.mark.slow
def test_through_the_commands_and_the_judge(tmp_path: Path) -> None:
    """A COCO file is trained on, filled, loaded by pycocotools, trained on again and predicted for."""
    truth = write_faces(tmp_path)
    coco, run, out = tmp_path / "c.json", tmp_path / "run", tmp_path / "elsewhere" / "filled.json"
    out.parent.mkdir()
    done("convert", tmp_path / "t.csv", coco)
    assert read_keypoints(coco).boxes is None, "the whole image is no box"
    boxed = json.loads(coco.read_text())
    for annotation in boxed["annotations"][::2]:
        annotation["bbox"] = [1, 2, 21, 20.5]
    coco.write_text(json.dumps(boxed, indent=1))
    done("train-keypoint-models", "--data", coco, "--run-dir", run, *PRIOR)
    summary = done("impute", "--run-dir", run, "--out", out)
    assert summary["kept_occluded"] == 1
    assert summary["left_blank"] == 0
    before, after = json.loads(coco.read_text()), json.loads(out.read_text())
    lines = read_provenance(out)
    told = {(int(line["row"]), line["keypoint"]): line for line in lines}
    names = before["categories"][0]["keypoints"]
    filled_points = 0
    for row, (one, other) in enumerate(zip(before["annotations"], after["annotations"], strict=True)):
        scores = other.pop("keypoint_scores", [1.0] * len(names))
        for k, name in enumerate(names):
            old, new = one["keypoints"][3 * k : 3 * k + 3], other["keypoints"][3 * k : 3 * k + 3]
            if old[2] != 0:
                assert new == old
                continue
            assert new[2] == 1
            assert 0 < scores[k] < 1
            line = told[row, name]
            assert [float(line["x"]), float(line["y"])] == new[:2]
            filled_points += 1
        assert other["num_keypoints"] == sum(v > 0 for v in other["keypoints"][2::3])
        for changed in ("keypoints", "num_keypoints"):
            other[changed] = one[changed]
    assert after == before
    assert filled_points == len(lines) == summary["filled"] / 2
    found = read_keypoints(out).labels
    assert np.sqrt(np.nanmean((found - truth) ** 2)) < 2.5
    write_points(tmp_path / "truth.csv", list(SMALL_KEYPOINTS), truth, None)
    scored = done("evaluate", out, tmp_path / "truth.csv", "--blank-in", coco)
    assert (scored["joined_by"], scored["coordinates"]) == ("image_path", summary["filled"])
    done("train-final", "--run-dir", run)
    done("predict", "--run-dir", run, "--images", coco, "--out", tmp_path / "predicted.csv")
    everything = tmp_path / "everything.json"
    also = done("impute", "--run-dir", run, "--fill-occluded", "--out", everything)
    assert (also["kept_occluded"], also["filled"]) == (0, summary["filled"] + 2)

    judge = pytest.importorskip(
        "pycocotools.coco", reason="pycocotools judges COCO files: pip install '.[dev]'"
    )
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = judge.COCO(str(out))
        ids = loaded.getAnnIds(imgIds=loaded.getImgIds(), catIds=[1])
        results = [
            {"image_id": a["image_id"], "category_id": 1, "keypoints": a["keypoints"], "score": 1.0}
            for a in loaded.loadAnns(ids)
        ]
        scored = pytest.importorskip("pycocotools.cocoeval").COCOeval(
            loaded, loaded.loadRes(results), "keypoints"
        )
        scored.params.kpt_oks_sigmas = np.full(len(names), 0.05)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    assert len(ids) == len(truth)
    assert scored.stats[0] > 0.99, "the file scores fully against itself"
