"""Predictions for a look-up table, for folders of images, and how far they may be off."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from skimage import io

from labelfill.data.dataset import dataset_of_arrays
from labelfill.data.synthetic import DrawnTable, draw_table, write_table
from labelfill.final.submission import Submission, read_lookup
from tests.driving import DATA, bare_table, content, done, labelfill
from tests.trained_runs import TWO_SOURCES_FINAL, Trained, draw_two_sources

REAL_LOOKUP = DATA / "kaggle" / "IdLookupTable.csv"


@pytest.fixture(scope="module")
def run(two_sources_final: Trained) -> Path:
    return two_sources_final.run


@pytest.fixture(scope="module")
def new() -> DrawnTable:
    return draw_table(9, 8, keypoints=("nose_tip",), image_size=draw_two_sources().schema.image_size)


@pytest.fixture(scope="module")
def images(new: DrawnTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine new images with ids from 11."""
    path = tmp_path_factory.mktemp("images") / "test.csv"
    write_table(path, new.labelled(None), before={"ImageId": [str(11 + row) for row in range(9)]})
    return path


COLUMNS = draw_two_sources().schema.columns
OF_TWO = [c for c in COLUMNS if c[:-2] in ("left_eye_center", "right_eye_center", "nose_tip",
                                           "mouth_center_bottom_lip")]  # fmt: skip


def asked_for() -> list[tuple[str, str]]:
    """Image 11 with all coordinates, image 19 with those of source 2, the images after and before them."""
    return [
        *(("11", column) for column in COLUMNS),
        *(("19", column) for column in OF_TWO),
        *(("12", column) for column in reversed(COLUMNS)),
    ]


def write_lookup(path: Path, asked: list[tuple[str, str]]) -> Path:
    """As Kaggle's: four columns in the header, three in the records, lines that end in CR CR LF."""
    lines = ["RowId,ImageId,FeatureName,Location"]
    lines += [f"{7 * number + 1},{image},{feature}" for number, (image, feature) in enumerate(asked)]
    path.write_bytes("".join(line + "\r\r\n" for line in lines).encode())
    return path


def submitted(run: Path, images: Path, lookup: Path, out: Path, *options: object) -> list[list[str]]:
    done("predict", "--run-dir", run, "--images", images, "--lookup", lookup, "--submission", out, *options)
    with open(out, newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["RowId", "Location"]
    return lines


def test_locations_stand_in_the_order_asked_for(tmp_path: Path) -> None:
    """Whatever the order of a look-up table, and however many images are answered at once."""
    rng = np.random.default_rng(0)
    names = [str(11 + row) for row in range(9)]
    every = [(name, column) for name in names for column in COLUMNS]
    asked = [every[at] for at in rng.permutation(len(every))[:40]]
    lookup = read_lookup(write_lookup(tmp_path / "lookup.csv", asked))
    xy = rng.uniform(1, 40, (9, len(COLUMNS) // 2, 2))
    keypoints = draw_two_sources().schema.keypoints
    dataset = dataset_of_arrays(np.full(xy.shape, 9.0), keypoints, np.zeros((9, 48, 48), np.uint8), "images")
    wanted = Submission(lookup, lookup.cells(names, COLUMNS, "images"), dataset)
    for begin in range(0, 9, 4):
        part = slice(begin, min(begin + 4, 9))
        wanted.add(part, xy[part], np.ones(xy[part].shape[:2]))
    wanted.write(tmp_path / "s.csv")
    _, *lines = csv.reader((tmp_path / "s.csv").read_text().splitlines())
    assert [row_id for row_id, _ in lines] == [str(7 * number + 1) for number in range(40)]
    columns = {column: xy.reshape(9, -1)[:, c] for c, column in enumerate(COLUMNS)}
    expected = [columns[column][int(name) - 11] for name, column in asked]
    np.testing.assert_allclose([float(location) for _, location in lines], expected, atol=6e-5)


def test_a_submission_answers_row_by_row_in_the_convention_asked_for(
    run: Path, images: Path, tmp_path: Path
) -> None:
    """RowIds in the order of the look-up table; each image in the convention of the source that labels what
    is asked for, as `--source` would give it."""
    asked = asked_for()
    lookup = write_lookup(tmp_path / "lookup.csv", asked)
    lines = submitted(run, images, lookup, tmp_path / "s.csv", "--batch-size", 2)
    assert [row_id for row_id, _ in lines] == [str(7 * number + 1) for number in range(len(asked))]
    of_source = {}
    for source in ("1", "2"):
        out = tmp_path / f"p{source}.csv"
        done("predict", "--run-dir", run, "--images", images, "--out", out, "--source", source)
        of_source[source] = bare_table(out).labels.reshape(9, -1)
    size = draw_two_sources().schema.image_size
    for (image, column), (_, location) in zip(asked, lines, strict=True):
        whole = of_source["2" if image == "19" else "1"][int(image) - 11, COLUMNS.index(column)]
        most = (size.width if column.endswith("_x") else size.height) - 1
        assert float(location) == pytest.approx(np.clip(whole, 0, most), abs=1e-4)
    every_one = submitted(run, images, lookup, tmp_path / "s2.csv", "--source", "2")
    nose = [number for number, (_, column) in enumerate(asked) if column.startswith("nose_tip")]
    assert [every_one[n] for n in nose] != [lines[n] for n in nose]


def test_a_submission_is_packed_and_kept_as_any_output(run: Path, images: Path, tmp_path: Path) -> None:
    """It may be a zip, may come with all coordinates, and overwrites nothing without --force."""
    lookup = write_lookup(tmp_path / "lookup.csv", asked_for())
    plain = submitted(run, images, lookup, tmp_path / "s.csv")
    command = ["predict", "--run-dir", run, "--images", images, "--lookup", lookup]
    summary = done(*command, "--submission", tmp_path / "s.zip", "--out", tmp_path / "p.csv")
    assert content(tmp_path / "s.zip") == (tmp_path / "s.csv").read_bytes()
    assert bare_table(tmp_path / "p.csv").rows == 9
    assert (summary["locations"], summary["images asked for"]) == (len(plain), 3)
    assert summary["rows per source"]["2"] == 1
    refused = labelfill(*command, "--submission", tmp_path / "s.csv")
    assert refused.code == 2
    assert "already exists" in refused.sentence
    both = labelfill(*command, "--submission", tmp_path / "x.csv", "--out", tmp_path / "x.csv")
    assert "choose two different files" in both.sentence


def test_locations_lie_on_the_image(run: Path, tmp_path: Path) -> None:
    """Whatever the network answers, here for images of noise, is moved onto the image."""
    size = draw_two_sources().schema.image_size
    pixels = np.random.default_rng(3).integers(0, 256, (4, size.pixels))
    rows = [f"{i + 1},{' '.join(map(str, image))}" for i, image in enumerate(pixels)]
    (tmp_path / "t.csv").write_text("\n".join(["ImageId,Image", *rows, ""]))
    lookup = write_lookup(tmp_path / "l.csv", [(str(i), c) for i in (4, 2, 1, 3) for c in COLUMNS])
    lines = submitted(run, tmp_path / "t.csv", lookup, tmp_path / "s.csv")
    values = np.array([float(location) for _, location in lines])
    assert len(values) == 4 * len(COLUMNS)
    assert ((values >= 0) & (values <= size.width - 1)).all()


@pytest.mark.skipif(not REAL_LOOKUP.is_file(), reason=f"no look-up table of Kaggle's at {REAL_LOOKUP}")
def test_kaggles_look_up_table_is_read() -> None:
    """27,124 coordinates of 1,783 images, in order."""
    lookup = read_lookup(REAL_LOOKUP)
    assert lookup.row_ids == [str(number) for number in range(1, 27_125)]
    assert set(lookup.image_ids) == {str(number) for number in range(1, 1784)}
    assert len(set(lookup.features)) == 30


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("RowId,ImageId,FeatureName\n1,10,nose_tip_x\n", "line 2, column 'ImageId': found '10', but"),
        (
            "RowId,ImageId,FeatureName\n1,11,nose_tip_z\n",
            "line 2, column 'FeatureName': found 'nose_tip_z', but",
        ),
        ("RowId,ImageId,FeatureName\n1,11,nose_tip_z\n", "did you mean 'nose_tip_"),
        ("RowId,ImageId\n1,11\n", "needs a column 'FeatureName'"),
        ("RowId,ImageID,FeatureName\n1,11,nose_tip_x\n", "did you mean 'ImageID'?"),
        ("RowId,ImageId,FeatureName\n1,11\n", "line 2: found 2 fields, expected 3"),
        ("RowId,ImageId,FeatureName\n1,11,\n", "line 2, column 'FeatureName': the field is blank"),
        ("RowId,ImageId,FeatureName\n", "has a header but no rows"),
        (
            "RowId,ImageId,FeatureName\n1,11,nose_tip_x\n1,11,nose_tip_y\n",
            "line 3, column 'RowId': '1' is already used in line 2",
        ),
    ],
)
def test_a_look_up_table_that_does_not_fit_is_refused(
    text: str, sentence: str, run: Path, images: Path, tmp_path: Path
) -> None:
    """Exit code 3, and the sentence names the line."""
    (tmp_path / "l.csv").write_text(text)
    refused = labelfill(
        "predict", "--run-dir", run, "--images", images, "--lookup", tmp_path / "l.csv",
        "--submission", tmp_path / "s.csv",
    )  # fmt: skip
    assert refused.code == 3
    assert sentence in refused.sentence
    assert not (tmp_path / "s.csv").exists()


def test_what_is_asked_for_must_be_whole(run: Path, images: Path, tmp_path: Path) -> None:
    """--lookup needs --submission and the other way round, and something has to be written."""
    command = ["predict", "--run-dir", run, "--images", images]
    assert "nothing to write" in labelfill(*command).sentence
    for half in (["--lookup", tmp_path / "l.csv"], ["--submission", tmp_path / "s.csv"]):
        refused = labelfill(*command, *half)
        assert (refused.code, "must be used together" in refused.sentence) == (2, True)


def test_a_folder_of_images_is_answered_like_their_table(
    run: Path, images: Path, new: DrawnTable, tmp_path: Path
) -> None:
    """In the order in which people count, other files passed over, by their names in a look-up table."""
    folder = tmp_path / "faces"
    (folder / "more").mkdir(parents=True)
    for row, image in enumerate(new.images):
        io.imsave(folder / ("more" if row == 8 else "") / f"{11 + row}.png", image, check_contrast=False)
    for name in range(11):
        if not (folder / f"{name}.png").exists():
            io.imsave(folder / f"{name}.png", new.images[0], check_contrast=False)
    (folder / "readme.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    done("predict", "--run-dir", run, "--images", images, "--out", tmp_path / "t.csv")
    done("predict", "--run-dir", run, "--images", folder, "--out", tmp_path / "f.csv", "--batch-size", 4)
    table, found = bare_table(tmp_path / "t.csv"), bare_table(tmp_path / "f.csv")
    names = [f"{number}.png" for number in range(19)] + ["more/19.png"]
    assert found.extra["image_path"] == names
    np.testing.assert_allclose(found.labels[11:], table.labels, atol=2e-3)
    lookup = write_lookup(tmp_path / "l.csv", asked_for())
    by_table = submitted(run, images, lookup, tmp_path / "st.csv")
    by_folder = submitted(run, folder, lookup, tmp_path / "sf.csv")
    for one, other in zip(by_table, by_folder, strict=True):
        assert float(one[1]) == pytest.approx(float(other[1]), abs=2e-3)


def test_a_folder_without_images_is_refused(run: Path, tmp_path: Path) -> None:
    """Exit code 3; a folder is no table to train on either."""
    (tmp_path / "empty").mkdir()
    out = ["--out", tmp_path / "p.csv"]
    refused = labelfill("predict", "--run-dir", run, "--images", tmp_path / "empty", *out)
    assert (refused.code, "holds no image" in refused.sentence) == (3, True)
    training = labelfill("train-keypoint-models", "--data", tmp_path / "empty", "--run-dir", tmp_path / "r")
    assert (training.code, "is a folder" in training.sentence) == (3, True)


def radii(path: Path) -> np.ndarray:
    with open(path, newline="") as file:
        lines = list(csv.DictReader(file))
    names = [name for name in lines[0] if name.endswith("_radius")]
    return np.array([[float(line[name]) for name in names] for line in lines])


def test_radii_are_of_each_point_and_grow_with_the_coverage(run: Path, images: Path, tmp_path: Path) -> None:
    """Every point has a positive radius; more coverage never makes one smaller."""
    shares = {}
    for share in (0.5, 0.9, 0.99):
        out = tmp_path / f"{share}.csv"
        done("predict", "--run-dir", run, "--images", images, "--out", out, "--coverage", share)
        shares[share] = radii(out)
    assert (shares[0.5] > 0).all()
    assert (shares[0.5] <= shares[0.9]).all()
    assert (shares[0.9] <= shares[0.99]).all()
    assert (shares[0.5] < shares[0.99]).any()


def test_radii_hold_on_validation_rows(run: Path) -> None:
    """On the rows by which they are made, the stated share of points lies within them, at the least."""
    results = done("train-final", "--run-dir", run, *TWO_SOURCES_FINAL)
    assert results["validation coverage"] >= 0.9
    assert 0 <= results["evaluation coverage"] <= 1
