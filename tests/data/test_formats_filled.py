"""DeepLabCut, Parquet and Label Studio files filled in place, and judged by their own readers."""

from __future__ import annotations

import csv
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelfill.data.formats import read_keypoints, write_found
from labelfill.data.formats.conversion import convert
from labelfill.data.formats.visibility import declared_occluded
from labelfill.data.table import FoundPoints
from labelfill.errors import DataError
from tests.drawn_points import write_images
from tests.driving import done, labelfill, read_provenance
from tests.trained_runs import SMALL_KEYPOINTS, Trained


def filled(faces: Trained, name: str, out: Path, to: str | None = None) -> Path:
    """The faces in another format, filled into `out`; the format's own copy before that."""
    file = faces.table.parent / name
    convert(faces.table, file, to, force=True)
    summary = done("impute", "--run-dir", faces.run, "--data", file, "--out", out)
    assert summary["left_blank"] == 0
    before, after = read_keypoints(file), read_keypoints(out, beside=file, filled=True)
    assert after.keypoints == before.keypoints
    np.testing.assert_array_equal(after.labels[before.observed], before.labels[before.observed])
    lines = read_provenance(out)
    assert len(lines) == summary["filled"] / 2 > 0
    for line in lines:
        row, k = int(line["row"]), before.keypoints.index(line["keypoint"])
        assert not before.observed[row, k].any()
        stated = [float(line["x"]), float(line["y"])]
        np.testing.assert_allclose(after.labels[row, k], stated, rtol=0, atol=6e-5)
    return file


def test_deeplabcut(faces: Trained, tmp_path: Path) -> None:
    """Cell by cell the same text but for blanks; pandas reads it as DeepLabCut does."""
    out = tmp_path / "CollectedData_Ann.csv"
    file = filled(faces, "CollectedData_Ann.csv", out)
    with open(file, newline="") as one, open(out, newline="") as other:
        rows, after = list(csv.reader(one)), list(csv.reader(other))
    assert rows[0][3:] == ["Ann"] * 8
    for old, new in zip(rows, after, strict=True):
        assert all(
            a == b or (a == "" and float(b) == round(float(b), 4)) for a, b in zip(old, new, strict=True)
        )
    import pandas as pd

    frame = pd.read_csv(out, header=[0, 1, 2], index_col=[0, 1, 2])
    assert frame.columns.names == ["scorer", "bodyparts", "coords"]
    assert list(frame["Ann"].columns.get_level_values(0)[::2]) == list(SMALL_KEYPOINTS)
    assert frame.index[0] == ("labeled-data", faces.table.parent.name, "0.png")
    assert frame.notna().all().all()
    final = done("train-final", "--run-dir", faces.run, "--filled", out, "--force")
    assert np.isfinite(final["evaluation rmse"])


def test_parquet(faces: Trained, tmp_path: Path) -> None:
    """Columns, types, metadata and packing stay; float32 becomes float64 where something is filled."""
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow: pip install '.[parquet]'")
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = tmp_path / "filled.parquet"
    file = filled(faces, "p.parquet", out)
    before, after = pq.read_table(file), pq.read_table(out)
    assert after.schema.equals(before.schema, check_metadata=True)
    content = before.replace_schema_metadata({"mine": "kept"})
    for index, kind in ((before.column_names.index("nose_tip_x"), pa.float32()), (1, pa.string())):
        content = content.set_column(index, before.column_names[index], before.column(index).cast(kind))
    pq.write_table(content, file, compression="zstd", row_group_size=7)
    done("impute", "--run-dir", faces.run, "--data", file, "--out", out, "--force")
    again = pq.ParquetFile(out)
    assert again.schema_arrow.metadata == {b"mine": b"kept"}
    assert again.metadata.row_group(0).num_rows == 7
    assert again.metadata.row_group(0).column(0).compression == "ZSTD"
    found = again.read()
    assert found.schema.field("nose_tip_x").type == pa.float64()
    single = content.column("nose_tip_x").to_pylist()
    assert all(
        b == a for a, b in zip(single, found.column("nose_tip_x").to_pylist(), strict=True) if a is not None
    )
    others = [name for name in content.column_names if name != "nose_tip_x" and name[-2:] not in ("_x", "_y")]
    assert found.select(others).equals(content.select(others))


def test_malformed_parquet(tmp_path: Path) -> None:
    """A damaged file, a column of texts, an infinite number and a nameless image are named."""
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow: pip install '.[parquet]'")
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "p.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match="is a damaged or truncated Parquet file"):
        read_keypoints(path)
    for column, values, words in (
        ("a_x", ["one"], "column 'a_x': found values of type string, expected numbers"),
        ("a_x", [np.inf], "row 0, column 'a_x': found inf, expected a finite number"),
        ("image_path", [" "], "row 0, column 'image_path': no image is named"),
        ("a_y", None, "column 'a_x' has no partner 'a_y'"),
    ):
        columns = {"a_x": [1.0], "a_y": [2.0], "image_path": ["0.png"]}
        columns = {n: v for n, v in {**columns, column: values}.items() if v is not None}
        pq.write_table(pa.table(columns), path)
        with pytest.raises(DataError) as caught:
            read_keypoints(path)
        assert words in str(caught.value)


def check_tasks(tasks: list[dict[str, Any]]) -> None:
    """Tasks are as Label Studio documents them, and the schema that says so finds what is wrong."""
    judge = pytest.importorskip("jsonschema", reason="jsonschema judges Label Studio's tasks: '.[dev]'")
    schema = json.loads((Path(__file__).parent / "label_studio_tasks.schema.json").read_text())
    validator = judge.Draft202012Validator(schema)
    validator.check_schema(schema)
    validator.validate(tasks)
    text = json.dumps(tasks)
    for right, wrong in (
        ('"image_rotation": 0', '"image_rotation": 0.5'),
        ('"to_name": "image", ', ""),
        ('"keypointlabels": ["', '"keypointlabels": ["", "'),
        ('"value": {"x": ', '"value": {"x": 1'),
    ):
        assert right in text
        assert not validator.is_valid(json.loads(text.replace(right, wrong))), wrong


def test_label_studio(faces: Trained, tmp_path: Path) -> None:
    """Annotations stay as they are; fills are a prediction with scores, which train-final knows."""
    out = tmp_path / "filled.json"
    file = filled(faces, "l.json", out, "label-studio")
    before, after = json.loads(file.read_text()), json.loads(out.read_text())
    for one, other in zip(before, after, strict=True):
        predictions = other.pop("predictions", [])
        assert other == one
        for prediction in predictions:
            assert prediction["model_version"].startswith("labelfill ")
            for point in prediction["result"]:
                assert 0 < point["score"] < 1
                assert (point["type"], point["to_name"]) == ("keypointlabels", "image")
                assert (point["original_width"], point["original_height"]) == (24, 24)
    assert any("predictions" in task for task in json.loads(out.read_text()))
    check_tasks(before)
    check_tasks(json.loads(out.read_text()))
    kept = out.read_text().replace("\n", "")
    for task in file.read_text().splitlines()[1:-1]:
        assert task.rstrip(",")[:-1] in kept
    occluded = declared_occluded(read_keypoints(file))
    assert occluded is not None
    assert occluded.sum() == 1
    final = done("train-final", "--run-dir", faces.run, "--filled", out, "--force")
    assert np.isfinite(final["evaluation rmse"])

    sdk = pytest.importorskip(
        "label_studio_sdk.label_interface",
        reason="label-studio-sdk judges predictions; it is large: install it",
    )
    labels = "".join(f'<Label value="{name}"/>' for name in SMALL_KEYPOINTS)
    interface = sdk.LabelInterface(
        '<View><Image name="image" value="$image"/>'
        f'<KeyPointLabels name="keypoints" toName="image">{labels}</KeyPointLabels></View>'
    )
    for task in json.loads(out.read_text()):
        assert all(interface.validate_annotation(one) for one in task["annotations"])
        assert all(interface.validate_prediction(p) for p in task.get("predictions", []))


TASKS = """[
 {"id": 3, "data": {"img": "http://host/data/upload/7/0a1b2c3d-0.png", "subject": "s1"},
  "annotations": [{"id": 1, "was_cancelled": true, "result": []},
   {"id": 2, "result": [
    {"id": "a", "type": "keypointlabels", "from_name": "kp", "to_name": "pic", "original_width": 30,
     "original_height": 20, "image_rotation": 0,
     "value": {"x": 50.0, "y": 1e1, "width": 0.75, "keypointlabels": ["nose"]}},
    {"id": "b", "type": "choices", "from_name": "q", "to_name": "pic", "value": {"choices": ["x"]}}]}],
  "predictions": [{"model_version": "other", "result": []}]},
 {"id": 4, "data": {"img": "s3://bucket/somewhere/1.png"}, "annotations": [], "predictions": null}
]
"""


def test_label_studio_as_it_exports(tmp_path: Path) -> None:
    """Uploaded and stored images are found by name; cancelled annotations and other results do not count."""
    write_images(tmp_path)
    path = tmp_path / "l.json"
    path.write_text(TASKS)
    table = read_keypoints(path)
    assert table.keypoints == ("nose",)
    np.testing.assert_array_equal(table.labels, [[[15.0, 2.0]], [[np.nan, np.nan]]])
    assert table.extra == {"task_id": ["3", "4"], "image_path": ["0.png", "1.png"], "subject": ["s1", ""]}
    found = FoundPoints(np.full((2, 1, 2), 5.0), np.full((2, 1), 0.5), np.array([[20.0, 30], [40, 25]]), "m")
    out = BytesIO()
    write_found(table, found, out, "o.json")
    before, after = json.loads(TASKS), json.loads(out.getvalue())
    point = after[1]["predictions"].pop()["result"][0]
    before[1]["predictions"] = []
    assert repr(after) == repr(before)
    assert (point["from_name"], point["to_name"], point["value"]["width"]) == ("kp", "pic", 0.75)
    assert point["value"] == {"x": 20.0, "y": 12.5, "width": 0.75, "keypointlabels": ["nose"]}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"y": 1e1', '"y": null', "task 3 (line 2), field 'annotations': y of 'nose' is 'null', expected"),
        ('"original_width": 30', '"width": 30', "original_width of 'nose' is 'null'"),
        ('["nose"]', '["nose", "tail"]', "a keypoint has labels '[\"nose\", \"tail\"]', expected one"),
        ('"image_rotation": 0', '"image_rotation": 90', "image_rotation of 'nose' is not 0"),
        ('{"img": "s3://bucket/somewhere/1.png"}', "{}", "task 4 (line 10), field 'data': names no image"),
        ('"data": {"img": "s3://bucket/somewhere/1.png"}', '"img": "1.png"', "(line 10): expected an object"),
        ("]\n", "", "expecting ',' delimiter"),
        ('"was_cancelled": true', '"id": 7', "line 3: an object has the name 'id' twice"),
    ],
)  # fmt: skip
def test_malformed_label_studio(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Exit code 3; task, line and field."""
    path = tmp_path / "l.json"
    path.write_text(TASKS.replace(old, new))
    outcome = labelfill("inspect", path)
    assert outcome.code == 3
    assert words in outcome.sentence


POINT = '{"type": "keypointlabels", "value": {"keypointlabels": ["nose"]}},\n    {"id": "a"'
NULLS = '{"type": "keypointlabels", "value": {"x": null, "y": null}}, {"id": "a"'


@pytest.mark.parametrize("placeless", [POINT, NULLS])
def test_a_label_studio_keypoint_without_a_place_is_not_labelled(
    tmp_path: Path, placeless: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted in one warning, is no second keypoint of its name, and stays in a filled file."""
    write_images(tmp_path)
    path = tmp_path / "l.json"
    path.write_text(TASKS.replace('{"id": "a"', placeless))
    table = read_keypoints(path)
    np.testing.assert_array_equal(table.labels, [[[15.0, 2.0]], [[np.nan, np.nan]]])
    assert caplog.messages == [
        f"{path}: 1 keypoint has neither x nor y (the first in task 3 (line 2)) and counts as not labelled"
    ]
    found = FoundPoints(np.full((2, 1, 2), 5.0), np.full((2, 1), 0.5), np.array([[20.0, 30], [40, 25]]), "m")
    out = BytesIO()
    write_found(table, found, out, "o.json")
    before, after = json.loads(path.read_text()), json.loads(out.getvalue())
    assert after[0] == before[0]


def test_a_label_studio_keypoint_whose_only_result_has_no_place_is_blank(tmp_path: Path) -> None:
    """Another task's place says that the keypoint exists; this one's is filled like any blank."""
    write_images(tmp_path)
    path = tmp_path / "l.json"
    ghost = '{"type": "keypointlabels", "value": {"keypointlabels": ["nose"]}}'
    path.write_text(TASKS.replace('"annotations": [], ', f'"annotations": [{{"result": [{ghost}]}}], '))
    table = read_keypoints(path)
    np.testing.assert_array_equal(table.labels, [[[15.0, 2.0]], [[np.nan, np.nan]]])
