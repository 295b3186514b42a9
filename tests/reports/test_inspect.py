"""Inspecting a table: what is counted, what is found, and the command."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from labelfill.arrays import Array
from labelfill.cli.main import main
from labelfill.data.dataset import dataset_of_arrays, dataset_of_labels
from labelfill.data.synthetic import KAGGLE_SOURCES, LABEL_NOISE, DrawnTable, Source, draw_table, write_table
from labelfill.reports.inspection.inspected_table import InspectedTable
from labelfill.reports.inspection.inspection import Inspection, count_labels, inspect
from labelfill.reports.inspection.inspection_page import inspection_page
from labelfill.reports.inspection.lookalikes import Lookalike, find_disagreement, find_lookalikes
from labelfill.reports.inspection.summary import as_json, as_text, describe_pattern
from labelfill.schema import ImageSize, KeypointSchema, mirror_partners
from labelfill.sources.groups import find_groups, single_group

DATA = Path(os.environ.get("LABELFILL_DATA", Path(__file__).parents[2] / "../shared/data"))
ROWS = 240


def inspected(
    labels: Array,
    schema: KeypointSchema,
    images: NDArray[np.uint8] | None = None,
    *,
    frame_known: bool = True,
) -> InspectedTable:
    """A table of arrays, its label sources told apart by what rows label."""
    if images is None:
        dataset = dataset_of_labels(labels, schema.keypoints, "t.csv", schema.image_size)
    else:
        dataset = dataset_of_arrays(labels, schema.keypoints, images, "t.csv")
    sources = find_groups(dataset.table.labelled) if schema.count else single_group(0)
    return InspectedTable(dataset, sources, sources.assign(dataset.table.labelled), frame_known)


def inspect_drawn(table: DrawnTable, labels: Array | None = None, *, with_images: bool = True) -> Inspection:
    labels = table.labels if labels is None else labels
    return inspect(inspected(labels, table.schema, table.images if with_images else None))


# -- counts -----------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 40), keypoints=st.integers(0, 6))
@settings(deadline=None, max_examples=30)
def test_counts_add_up(seed: int, rows: int, keypoints: int) -> None:
    """Every row is in one pattern and under one number of labels, every blank cell in one coordinate."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random((rows, keypoints, 2)) < 0.3, np.nan, rng.uniform(0, 9, (rows, keypoints, 2)))
    schema = KeypointSchema(tuple(f"k{k}" for k in range(keypoints)), ImageSize(10, 10))
    counts = count_labels(inspected(labels, schema))
    assert counts.blank == np.isnan(labels).sum()
    assert counts.per_row.sum() == sum(pattern.rows for pattern in counts.patterns) == rows
    assert counts.complete_rows == np.isfinite(labels).all(axis=(1, 2)).sum()
    most_frequent = [pattern.rows for pattern in counts.patterns]
    assert most_frequent == sorted(most_frequent, reverse=True)
    for pattern in counts.patterns:
        assert (np.isfinite(labels) == pattern.observed).all(axis=(1, 2)).sum() == pattern.rows


def test_the_counts_of_kaggles_labels(capsys: pytest.CaptureFixture[str]) -> None:
    """Kaggle's table has the missing labels it is known for, and two label sources."""
    path = DATA / "kaggle" / "labels.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there; LABELFILL_DATA names its folder")
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    few = {"left_eye_center": 10, "right_eye_center": 13, "nose_tip": 0, "mouth_center_bottom_lip": 33}
    for keypoint in found["keypoints"]:
        for axis in "xy":
            missing = found["missing"][f"{keypoint}_{axis}"]
            if keypoint in few:
                assert missing == few[keypoint]
            else:
                assert 4774 <= missing <= 4824
    assert (found["rows"], found["complete_rows"]) == (7049, 2140)
    assert [group["rows"] for group in found["sources"]["groups"]] == [2284, 4765]
    assert found["images"] is None
    assert found["off_image"] is None


def test_patterns_in_words() -> None:
    """A pattern is told by the shorter list; one coordinate of a point is not a label."""
    schema = KeypointSchema(("a", "b", "c", "d"), ImageSize(9, 9))
    nan = np.nan
    rows = [[1, 1] * 4, [1, 1, 1, 1, 1, 1, nan, nan], [1, 1, *[nan] * 6], [1, nan, *[1] * 6], [nan] * 8]
    labels = np.array([row for i, row in enumerate(rows) for _ in range(9 - i)]).reshape(-1, 4, 2)
    patterns = count_labels(inspected(labels, schema)).patterns
    assert [describe_pattern(pattern, schema) for pattern in patterns] == [
        "complete",
        "all but 'd'",
        "'a' only",
        "all; one coordinate of 'a'",
        "no labels",
    ]


# -- planted faults ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planted:
    """A drawn table with faults in known rows."""

    table: DrawnTable
    labels: Array
    swapped: tuple[int, ...]
    shifted: tuple[int, ...]
    black: tuple[int, ...]
    copies: dict[int, int]  # row: the row whose image it has, more or less
    found: Inspection

    @property
    def wrong(self) -> set[int]:
        return {*self.swapped, *self.shifted}


@pytest.fixture(scope="module")
def planted() -> Planted:
    """Three black images, ten copies (identical, mirrored, retouched) and ten rows of wrong labels."""
    table = draw_table(ROWS, 3, sources=KAGGLE_SOURCES)
    rng = np.random.default_rng(0)
    rows = rng.permutation(np.flatnonzero(np.isfinite(table.labels).all(axis=2).sum(axis=1) >= 4)).tolist()
    partners = np.array(mirror_partners(table.schema.keypoints))
    labels, images = table.labels.copy(), table.images.copy()
    swapped, shifted, black = rows[:5], rows[5:10], rows[10:13]
    labels[swapped] = labels[swapped][:, partners]
    angles = rng.uniform(0, 2 * np.pi, 5)
    labels[shifted] += 8 * np.stack([np.cos(angles), np.sin(angles)], 1)[:, None]
    images[black] = 0
    copies = dict(zip(rows[13:23], rows[23:33], strict=True))
    for i, (row, origin) in enumerate(copies.items()):
        labels[row], picture = labels[origin], images[origin]
        if i >= 7:  # brighter and noisier
            picture = np.clip(0.8 * picture + 20 + 4 * rng.standard_normal(picture.shape), 0, 255).astype(
                np.uint8
            )
        if i % 2:
            picture, labels[row] = picture[:, ::-1], table.schema.mirror(labels[origin], partners)
        images[row] = picture
    table = replace(table, images=images)
    return Planted(
        table,
        labels,
        tuple(swapped),
        tuple(shifted),
        tuple(sorted(black)),
        copies,
        inspect_drawn(table, labels),
    )


@pytest.mark.slow
def test_wrong_labels_come_first(planted: Planted) -> None:
    """At least 9 of 10 wrong rows are among the first 20; at most 2% of the others are flagged."""
    listed = [suspect.row for suspect in planted.found.suspects]
    assert len(listed) >= 20
    assert len(planted.wrong & set(listed[:20])) >= 9
    flagged = {suspect.row for suspect in planted.found.flagged}
    assert len(flagged - planted.wrong) <= 0.02 * (ROWS - len(planted.wrong))
    severities = [suspect.severity for suspect in planted.found.suspects]
    assert severities == sorted(severities, reverse=True)


def test_wrong_labels_are_explained(planted: Planted) -> None:
    """Swapped and shifted rows are called so, with suggestions near the truth."""
    suspects = {suspect.row: suspect for suspect in planted.found.flagged}
    kinds = [suspects[row].kind for row in planted.swapped if row in suspects]
    assert kinds.count("swapped") >= 4
    for row in set(planted.shifted) & set(suspects):
        if suspects[row].kind == "shifted":
            assert np.nanmax(np.abs(suspects[row].suggested - planted.table.labels[row])) < 5
    for row in planted.swapped:
        if row in suspects and suspects[row].kind == "swapped":
            suggested, labelled = suspects[row].suggested, np.isfinite(suspects[row].suggested)
            assert (suggested[labelled] == planted.table.labels[row][labelled]).all()


def test_black_images_and_copies_are_found(planted: Planted) -> None:
    """All black images and all copies: identical, mirrored, brighter and noisier; nothing else."""
    images = planted.found.images
    assert images is not None
    assert (images.black, images.flat) == (planted.black, ())
    pairs = {frozenset(pair) for pair in planted.copies.items()}
    groups = [*images.identical, *(images.near or ())]
    assert {frozenset(member.row for member in group) for group in groups} == pairs
    assert len(images.identical) == images.repeats == 7
    by_row = {row: i for i, row in enumerate(planted.copies)}
    for group in groups:
        odd = next(by_row[member.row] for member in group if member.row in by_row) % 2
        assert [member.mirrored for member in group] == [False, bool(odd)]
    assert np.nanmax(images.disagreement.rms) < 1e-6  # their labels are copies, too


def test_labels_are_judged_without_images(planted: Planted) -> None:
    """Exchanged sides show in the labels alone."""
    found = inspect_drawn(planted.table, planted.labels, with_images=False)
    assert found.images is None
    first = {suspect.row for suspect in found.suspects[:20]}
    assert set(planted.swapped) <= first


def test_a_second_look_is_asked_for_flagged_rows_alone(planted: Planted) -> None:
    """Rows that are merely the most unusual ones are listed, and not said to deserve a look."""
    found = planted.found
    assert f"{len(found.flagged)} rows deserve a second look." in as_text(found)
    assert "labels worth a second look" in as_text(found)
    usual = replace(found, suspects=tuple(suspect for suspect in found.suspects if not suspect.flagged))
    assert usual.suspects
    assert "second look" not in as_text(usual)
    assert "no label looks wrong; the most unusual rows are" in as_text(usual)
    assert as_text(replace(found, suspects=())).endswith("too few labels to compare rows")


def test_a_stray_label_is_named() -> None:
    """A single label far off is named, with where it might belong; the row's other labels are left alone."""
    table = draw_table(150, 5)
    labels = table.labels.copy()
    labels[7, table.schema.keypoints.index("nose_tip")] += (9.0, -9.0)
    found = inspect_drawn(table, labels)
    suspect = found.suspects[0]
    assert (suspect.row, suspect.kind) == (7, "keypoint")
    assert [table.schema.keypoints[k] for k in suspect.keypoints] == ["nose_tip"]
    nose = suspect.keypoints[0]
    assert np.hypot(*(suspect.suggested[nose] - table.labels[7, nose])) < 6
    assert (7, "nose_tip") in found.distrusted


def test_labels_beyond_the_image_are_found() -> None:
    """A label beyond the edge is counted; far beyond, its row is flagged, unless the size is a guess."""
    rng = np.random.default_rng(0)
    labels = rng.normal([[20, 20], [40, 20]], 1.5, size=(60, 2, 2))
    labels[3, 1, 0] = 60.0
    schema = KeypointSchema(("a", "b"), ImageSize(50, 50))
    found = inspect(inspected(labels, schema))
    assert found.labels.off_image is not None
    assert found.labels.off_image.tolist() == [0, 1]
    assert 3 in {suspect.row for suspect in found.flagged}
    guessed = count_labels(inspected(labels, schema, frame_known=False))
    assert guessed.off_image is None


def test_conventions_are_no_faults() -> None:
    """Rows of a source that marks another point by the same name are not flagged for it."""
    table = draw_table(200, 8, sources=KAGGLE_SOURCES)
    found = inspect_drawn(table, with_images=False)
    assert [source.name for source in found.sources] == ["1", "2"]
    assert len(found.flagged) <= 0.02 * 200


# -- images that repeat -----------------------------------------------------------------------------


def test_annotators_noise_is_measured_on_copies() -> None:
    """Labels of the same image, mirrored or not, tell the noise of the annotators."""
    table = draw_table(240, 2, sources=(Source(noise=2 * LABEL_NOISE),), copies=0.3)
    identical, near = find_lookalikes(table.images, np.zeros(240, bool))
    assert near is not None
    rows = {member.row for group in (*identical, *near) for member in group}
    assert rows >= set(np.flatnonzero(table.copy_of >= 0).tolist())
    noise = find_disagreement((*identical, *near), inspected(table.labels, table.schema))
    spread = (table.labels - table.own_truth).std(axis=(0, 2))
    assert noise.rms.mean() == pytest.approx(spread.mean(), rel=0.15)
    row, other, keypoint, distance = noise.worst[0]
    assert {row, other} <= rows
    assert distance > 2 * noise.rms[keypoint]


def test_another_cut_of_a_picture_is_nearly_the_same() -> None:
    """A picture moved by two pixels is found, and its labels are not compared."""
    table = draw_table(60, 4)
    images = table.images.copy()
    images[9, :, 2:] = images[30, :, :-2]
    identical, near = find_lookalikes(images, np.zeros(60, bool))
    assert identical == ()
    assert near == ((Lookalike(9), Lookalike(30, moved=True)),)
    noise = find_disagreement(near, inspected(table.labels, table.schema))
    assert not noise.pairs.any()


# -- tables of every kind ---------------------------------------------------------------------------


def tables_of_every_kind() -> Sequence[tuple[str, Array, KeypointSchema, NDArray[np.uint8] | None]]:
    table = draw_table(40, 1)
    half = table.labels.copy()
    half[:10] = np.nan
    half[10:20, :, 0] = np.nan
    schema, images = table.schema, table.images
    one = KeypointSchema(("a",), schema.image_size)
    copied = images.copy()
    copied[3] = copied[4][:, ::-1]
    small = draw_table(40, 1, image_size=ImageSize(9, 13))
    return (
        ("no keypoints", table.labels[:, :0], KeypointSchema((), schema.image_size), images),
        ("no keypoints, a mirrored copy", table.labels[:, :0], KeypointSchema((), schema.image_size), copied),
        ("one keypoint", table.labels[:, :1], one, images),
        ("one keypoint, no images", table.labels[:, :1], one, None),
        ("one row", table.labels[:1], schema, images[:1]),
        ("few rows", table.labels[:7], schema, images[:7]),
        ("no labels", np.full_like(table.labels, np.nan), schema, images),
        ("half-labelled", half, schema, images),
        ("black images", table.labels, schema, np.zeros_like(images)),
        ("one image", table.labels, schema, np.repeat(images[:1], 40, axis=0)),
        ("one face", np.repeat(table.labels[:1], 40, axis=0), schema, images),
        ("tiny images", small.labels, small.schema, small.images),
    )


@pytest.mark.parametrize("kind", tables_of_every_kind(), ids=lambda kind: kind[0])
def test_every_kind_of_table_can_be_inspected(
    kind: tuple[str, Array, KeypointSchema, NDArray[np.uint8] | None],
) -> None:
    """Text, JSON and page are made of any table, and nothing is flagged without reason."""
    name, labels, schema, images = kind
    found = inspect(inspected(labels, schema, images))
    assert as_text(found).count("\n") > 2
    assert as_json(found)["rows"] == len(labels)
    assert "</html>" in inspection_page(found)
    assert len(found.flagged) <= 2
    if images is not None and name == "black images":
        assert found.images is not None
        assert len(found.images.black) == 40


# -- the command ------------------------------------------------------------------------------------


@pytest.fixture
def small_table(tmp_path: Path) -> Path:
    table = draw_table(60, 1, sources=KAGGLE_SOURCES)
    labels = table.labels.copy()
    labels[0] = labels[0][list(mirror_partners(table.schema.keypoints))]
    path = tmp_path / "training.csv"
    write_table(path, replace(table, labels=labels), after={"<script>": ["</script>"] * 60})
    return path


@pytest.mark.slow
def test_the_command_writes_page_and_list(
    small_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A summary on stdout, a page that loads nothing, and a list of labels that are not to be trusted."""
    html, distrust = tmp_path / "page.html", tmp_path / "distrust.csv"
    command = ["inspect", str(small_table), "--html", str(html), "--write-distrust", str(distrust)]
    assert main(command) == 0
    text = capsys.readouterr().out
    for word in ("60 rows with 15 keypoints", "missing labels", "worth a second look", f"wrote {html}"):
        assert word in text
    assert "left and right seem to be swapped" in text
    assert text.rstrip().endswith("# train without them")
    assert f"train-keypoint-models --data {small_table} --distrust {distrust}  #" in text
    page = html.read_text(encoding="utf-8")
    assert "<script" not in page
    with open(distrust, newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["row", "keypoint"]
    assert ["0", "left_eye_center"] in rows
    assert len(rows) == len({tuple(row) for row in rows})
    assert main(command) == 2
    assert f"{html} already exists" in capsys.readouterr().err
    assert main([*command, "--force", "-q"]) == 0
    capsys.readouterr()
    assert main(["inspect", str(small_table)]) == 0
    assert f"labelfill inspect {small_table} --write-distrust distrust.csv  #" in capsys.readouterr().out


def test_the_command_as_json(small_table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json gives what the text tells, and the same figures in a second run."""
    assert main(["inspect", str(small_table), "--json"]) == 0
    first = capsys.readouterr().out
    found = json.loads(first)
    assert found["suspects"][0]["row"] == 0
    assert found["suspects"][0]["line"] == 2
    assert found["suspects"][0]["kind"] == "swapped"
    assert found["images"]["repeats"] == 0
    assert main(["inspect", str(small_table), "--json"]) == 0
    assert capsys.readouterr().out == first


def test_a_column_may_name_the_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--source-column names them, none switches them off, and a column that is not there is named."""
    path = tmp_path / "t.csv"
    path.write_text("a_x,a_y,who\n1,2,me\n3,4,you\n5,,me\n")
    assert main(["inspect", str(path), "--json", "--source-column", "who"]) == 0
    sources = json.loads(capsys.readouterr().out)["sources"]
    assert [(group["name"], group["rows"]) for group in sources["groups"]] == [("me", 2), ("you", 1)]
    assert main(["inspect", str(path), "--source-column", "none"]) == 0
    capsys.readouterr()
    assert main(["inspect", str(path), "--source-column", "whom"]) == 3
    assert "no column 'whom' for --source-column; its other columns: 'who'" in capsys.readouterr().err


@pytest.mark.slow
def test_inspecting_loads_no_torch(small_table: Path) -> None:
    """Nothing is trained, so the command comes without torch; and matplotlib without pyplot."""
    code = (
        "import sys; from labelfill.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'matplotlib.pyplot'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    html = small_table.with_suffix(".html")
    command = [sys.executable, "-c", code, "inspect", str(small_table), "--html", str(html)]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert ended.returncode == 0, ended.stderr
