"""Placeholders are told from labels, whatever pair they are, in every format; and labels raise nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill.api.imputer import KeypointImputer
from labelfill.data.formats import read_keypoints
from labelfill.data.formats.conversion import convert
from labelfill.data.placeholders import find_placeholders, single_placeholders
from labelfill.data.reading_options import ReadingOptions
from labelfill.data.synthetic.tables import draw_table
from labelfill.data.units import likely_unit
from labelfill.errors import DataError
from labelfill.schema import ImageSize
from labelfill.settings import TableSettings
from tests.driving import DATA, PRIOR, labelfill

NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")


def labels_of(rows: int = 40, seed: int = 0) -> np.ndarray:
    """Faces on 96x96 px, complete."""
    random = np.random.default_rng(seed)
    mean = np.array([[66, 36], [30, 36], [48, 56], [62, 76], [34, 76]], float)
    return mean + random.normal(0, 3, (rows, 1, 2)) + random.normal(0, 1, (rows, len(NAMES), 2))


def table(path: Path, labels: np.ndarray, decimals: int = 4) -> Path:
    header = ",".join(f"{name}_{axis}" for name in NAMES for axis in "xy")
    lines = [
        ",".join("" if np.isnan(v) else f"{v:.{decimals}f}".rstrip("0").rstrip(".") for v in row.ravel())
        for row in labels
    ]
    path.write_text("\n".join([header, *lines, ""]))
    return path


def found(labels: np.ndarray, size: int = 96) -> list[str]:
    sizes = np.full((len(labels), 2), float(size))
    return [str(each) for each in find_placeholders(labels, labels, labels, sizes)]


def holes(rows: int, share: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, len(NAMES))) < share


@pytest.mark.parametrize("pair", [(0, 0), (-1, -1), (-999, -999), (9999, 9999), (5, 90), (48, 48)])
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_constant_pair_in_several_keypoints_is_found(pair: tuple[int, int], share: float) -> None:
    """Whatever the pair, if it stands in several keypoints of a row in several rows."""
    labels = np.where(holes(120, share)[..., None], pair, labels_of(120))
    assert found(labels) == [f"({pair[0]}, {pair[1]})"]
    assert found(np.where(holes(120, 0.2, 7)[..., None], np.nan, labels)) == [f"({pair[0]}, {pair[1]})"]


@pytest.mark.parametrize("value", [0, -1, -999, 9999])
@pytest.mark.parametrize("rows", [3, 10])
def test_a_pair_off_its_keypoint_is_found(value: float, rows: int) -> None:
    """In one keypoint alone, in three rows."""
    labels = labels_of(120)
    labels[:rows, 2] = value
    assert found(labels) == [f"({value}, {value})"]
    labels = labels_of(120)
    labels[: rows if rows < 3 else 2, 2] = value
    assert found(labels) == [], "one or two are slips of the pen"


def test_two_placeholders_are_both_found() -> None:
    labels = np.where(holes(120, 0.3)[..., None], 0.0, labels_of(120))
    labels = np.where(holes(120, 0.1, 5)[..., None], -1.0, labels)
    assert sorted(found(labels)) == ["(-1, -1)", "(0, 0)"]


def test_a_number_in_one_column_alone_is_told() -> None:
    """It is no placeholder by itself."""
    labels = labels_of(120)
    labels[:5, 1, 0] = -1
    assert found(labels) == []
    assert single_placeholders(labels) == [-1.0]


def honest(random: np.random.Generator) -> tuple[np.ndarray, int]:
    """Labels as people make them: faces, animals and crops; whole px or not, clipped, aligned, with gaps."""
    count, rows = int(random.integers(1, 21)), int(random.choice([3, 8, 20, 60, 200]))
    size, kind = int(random.choice([16, 24, 48, 96, 256, 640])), random.choice(["face", "animal", "crop"])
    shape = random.uniform(-0.35, 0.35, (count, 2))
    if random.random() < 0.3:  # two keypoints that lie close together
        shape[random.integers(count)] = shape[0] + random.normal(0, 0.02, 2)
    centre, scale, angle = {
        "face": (0.5 + random.normal(0, 0.03, (rows, 1, 2)), random.normal(1, 0.06, (rows, 1, 1)), 0.1),
        "animal": (random.uniform(0.1, 0.9, (rows, 1, 2)), random.uniform(0.1, 0.5, (rows, 1, 1)), 2.0),
        "crop": (0.5 + random.normal(0, 0.15, (rows, 1, 2)), random.uniform(0.8, 1.5, (rows, 1, 1)), 0.3),
    }[str(kind)]
    turn = np.exp(1j * random.normal(0, angle, (rows, 1)))
    turned = (shape[:, 0] + 1j * shape[:, 1]) * turn
    labels = np.stack([turned.real, turned.imag], -1) * scale + centre
    labels = (labels + random.normal(0, random.choice([0.002, 0.01, 0.03]), labels.shape)) * size
    if random.random() < 0.5:
        labels = np.rint(labels)
    if random.random() < 0.5:
        labels = np.clip(labels, 0, size - 1)
    if random.random() < 0.2:  # by this keypoint the images were aligned
        k = random.integers(count)
        labels[random.random(rows) < 0.9, k] = np.rint(labels[0, k])
    if random.random() < 0.2:  # where a person saw it
        labels[random.integers(rows, size=2), random.integers(count)] = 0
    labels[random.random(labels.shape[:2]) < random.choice([0, 0.2, 0.6])] = np.nan
    return labels, size


@pytest.mark.parametrize("tables", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_honest_labels_raise_nothing(tables: int) -> None:
    """Of generated tables none is doubted, with images or without."""
    random = np.random.default_rng(tables)
    for number in range(tables):
        labels, size = honest(random)
        assert found(labels, size) == [], f"table {number}"
        assert not find_placeholders(labels, labels, labels, None), f"table {number}, without images"
        assert likely_unit(labels, np.full((1, 2), float(size))) == "px", f"table {number}"
        assert single_placeholders(labels) == [], f"table {number}"


@given(st.integers(3, 100), st.sampled_from([0.0, -1.0, -999.0, 4096.0]), st.floats(0.1, 0.6))
@settings(max_examples=30)
def test_declared_placeholders_are_blank_and_nothing_else_is(rows: int, value: float, share: float) -> None:
    """Only where both coordinates are the number; what is left is found to be honest."""
    labels = np.where(holes(rows, share)[..., None], value, labels_of(rows))
    left = np.where((labels == value).all(axis=2, keepdims=True), np.nan, labels)
    assert np.array_equal(np.isnan(left).all(axis=2), holes(rows, share))
    assert found(left) == []


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """A table that marks what is not labelled by (-1, -1)."""
    return table(tmp_path / "t.csv", np.where(holes(120, 0.4)[..., None], -1.0, labels_of(120)))


def test_training_refuses_what_it_is_not_told_of(marked: Path) -> None:
    """The sentence names the pair, how many points hold it, the first of them and the option."""
    sentence = labelfill(
        "train-keypoint-models", *PRIOR, "--data", marked, "--run-dir", marked.parent / "run"
    )
    count, first = int(holes(120, 0.4).sum()), int(np.flatnonzero(holes(120, 0.4).any(axis=1))[0])
    assert sentence.code == 3
    assert f"{count} points are exactly (-1, -1), first" in sentence.sentence
    assert f"in row {first} (line {first + 2})" in sentence.sentence
    assert "pass --missing-value -1 " in sentence.sentence


def test_declared_placeholders_are_filled_as_blanks_are(marked: Path, tmp_path: Path) -> None:
    """Every stage knows them from the run; their bytes are replaced, and provenance says so."""
    blank = table(tmp_path / "blank.csv", np.where(holes(120, 0.4)[..., None], np.nan, labels_of(120)))
    filled = []
    for path, option in ((marked, ("--missing-value", -1)), (blank, ())):
        run, out = tmp_path / f"run-{path.stem}", tmp_path / f"filled-{path.name}"
        trained = labelfill("train-keypoint-models", *PRIOR, "--data", path, "--run-dir", run, *option)
        assert trained.code == 0, trained.err
        assert labelfill("impute", "--data", path, "--run-dir", run, "--out", out).code == 0
        filled.append(out)
    assert filled[0].read_bytes() == filled[1].read_bytes()
    sidecar = filled[0].with_name("filled-t.provenance.csv").read_text().splitlines()
    assert len(sidecar) == 1 + int(holes(120, 0.4).sum())
    assert all(line.endswith("replaced") for line in sidecar[1:])
    again = labelfill(
        "train-keypoint-models", *PRIOR, "--data", marked, "--run-dir", tmp_path / "run-t", "--json"
    )
    assert again.result["state"] == "done before", "the run remembers it"


def test_half_a_placeholder_stays_a_label_and_is_told(marked: Path, tmp_path: Path) -> None:
    labels = np.where(holes(120, 0.4)[..., None], -1.0, labels_of(120))
    labels[3, 2] = (-1, 50)
    path = table(tmp_path / "half.csv", labels)
    known = read_keypoints(path, require_images=False, reading=ReadingOptions(missing_values=(-1.0,)))
    assert known.labels[3, 2].tolist() == [-1, 50]
    run = tmp_path / "run"
    told = labelfill(
        "train-keypoint-models", *PRIOR, "--data", path, "--run-dir", run, "--missing-value", "-1"
    )
    assert "row 3 (line 5), column 'nose_x': 1 point with '-1' in only one of x and y" in told.err


def test_evaluate_and_compare_refuse_placeholders(marked: Path, tmp_path: Path) -> None:
    """In the truth and in what is scored, as training does."""
    truth = table(tmp_path / "truth.csv", labels_of(120))
    for arguments in (("evaluate", marked, truth), ("evaluate", truth, marked)):
        assert "(-1, -1)" in labelfill(*arguments).sentence
        assert labelfill(*arguments, "--missing-value", "-1").code == 0
    blank = table(tmp_path / "blank.csv", np.where(holes(120, 0.4)[..., None], np.nan, labels_of(120)))
    compared = labelfill("compare", blank, "--truth", marked, "--ways", "mean")
    assert "(-1, -1)" in compared.sentence
    assert labelfill("compare", blank, "--truth", truth, "--ways", "mean").code == 0


def test_inspect_lists_them_and_goes_on(marked: Path) -> None:
    """What follows is of the table read so."""
    result = labelfill("inspect", marked, "--json").result
    assert len(result["findings"]) == 1
    assert "--missing-value -1" in result["findings"][0]
    assert result["blank_coordinates"] == 2 * int(holes(120, 0.4).sum())
    declared = labelfill("inspect", marked, "--missing-value", "-1", "--json").result
    assert declared["findings"] == []
    assert declared["blank_coordinates"] == result["blank_coordinates"]


def coco(path: Path, value: float, visibility: int) -> Path:
    absent, points = holes(60, 0.4), labels_of(60)
    annotations = []
    for row in range(60):
        flat: list[float] = []
        for k in range(len(NAMES)):
            flat += [value, value, visibility] if absent[row, k] else [*points[row, k].tolist(), 2]
        annotations.append({"id": row, "image_id": row, "category_id": 1, "keypoints": flat})
    images = [{"id": row, "file_name": f"{row}.png"} for row in range(60)]
    categories = [{"id": 1, "name": "face", "keypoints": list(NAMES)}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


@pytest.mark.parametrize(("value", "visibility"), [(0, 2), (-1, 1), (-1, 2)])
def test_coco_points_without_a_place_are_placeholders(value: float, visibility: int, tmp_path: Path) -> None:
    """(0, 0) that is visible, and negative ones whatever is said of them; converted they are unlabelled."""
    path = coco(tmp_path / "t.json", value, visibility)
    assert found(read_keypoints(path).labels) == [f"({value}, {value})"]
    settings_of = TableSettings(missing_value=(float(value),))
    table_of = read_keypoints(path, reading=ReadingOptions.of(settings_of))
    assert np.array_equal(~table_of.labelled, holes(60, 0.4))
    convert(path, tmp_path / "t.csv", settings=settings_of)
    again = read_keypoints(tmp_path / "t.csv")
    assert np.array_equal(~again.labelled, holes(60, 0.4))
    assert {again.extra[f"{name}_visibility"][row] for row, k in np.argwhere(holes(60, 0.4)) for name in
            (NAMES[k],)} == {"0"}  # fmt: skip


def test_the_imputer_takes_and_refuses_them() -> None:
    labels = np.where(holes(120, 0.4)[..., None], -1.0, labels_of(120)).reshape(120, -1)
    with pytest.raises(ValueError, match=r"\(-1, -1\).*missing_value"):
        KeypointImputer(method="prior").fit(labels)
    filled = KeypointImputer(method="prior", missing_value=-1).fit_transform(labels)
    assert not (filled == -1).any()
    assert np.array_equal(filled[~(labels == -1)], labels[~(labels == -1)])


@pytest.mark.parametrize("seed", range(5))
def test_the_drawn_sample_raises_nothing(seed: int) -> None:
    drawn = draw_table(120, seed, image_size=ImageSize(96, 96), gaps=0.3)
    assert found(drawn.labels) == []
    assert found(np.rint(drawn.labels)) == []


@pytest.mark.skipif(not DATA.is_dir(), reason="the real tables are not there (LABELFILL_DATA)")
def test_real_tables_raise_nothing() -> None:
    """Tables with coordinates, read as a stage would, without their images."""
    tables = [*DATA.glob("*/*.csv"), *DATA.glob("*/*.zip"), *DATA.glob("*/*.csv.gz")]
    read = 0
    for path in tables:
        try:
            labels = read_keypoints(path, require_images=False).labels
        except DataError:  # a table of images or a look-up table
            continue
        read += 1
        assert found(labels) == [], path
        assert likely_unit(labels, np.full((1, 2), 96.0)) == "px"
    assert read
