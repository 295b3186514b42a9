"""The final network: what it is trained from, and its use on new images."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from labelfill.data.synthetic import draw_table, write_table
from labelfill.filling.provenance import provenance_path
from tests.driving import bare_table, content, done, labelfill
from tests.trained_runs import TWO_SOURCES_FINAL, Trained, draw_two_sources


@pytest.fixture(scope="module")
def trained(two_sources_final: Trained) -> Trained:
    return two_sources_final


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """New images without keypoint columns, with an id and a note."""
    path = tmp_path_factory.mktemp("images") / "new.csv"
    drawn = draw_table(9, 8, keypoints=("nose_tip",), image_size=draw_two_sources().schema.image_size)
    ids, notes = [f"face {row}" for row in range(9)], ['"a, b"', *map(str, range(8))]
    write_table(path, drawn.labelled(None), before={"ImageId": ids, "note": notes})
    return path


def predicted(trained: Trained, images: Path, out: Path, *options: object) -> np.ndarray:
    done("predict", "--run-dir", trained.run, "--images", images, "--out", out, *options)
    return bare_table(out).labels


# -- what it is trained from ------------------------------------------------------------------------


def filled_elsewhere(trained: Trained, folder: Path) -> Path:
    """The filled table in another folder, without its sidecar."""
    return Path(shutil.copy(trained.run / "filled.csv", folder / "filled.csv"))


def test_a_missing_sidecar_is_refused(trained: Trained, tmp_path: Path) -> None:
    """Without it filled and observed cells look alike: exit code 3, and --data ORIGINAL is named."""
    filled = filled_elsewhere(trained, tmp_path)
    refused = labelfill("train-final", "--run-dir", trained.run, "--filled", filled, "--force")
    assert refused.code == 3
    assert refused.sentence == (
        f"{filled} has no sidecar filled.provenance.csv that distinguishes filled from observed "
        "cells; put it next to "
        "the table, or pass the table before filling with --data ORIGINAL"
    )


def changed_value(text: str) -> str:
    lines = text.splitlines(keepends=True)
    fields = lines[3].split(",")
    fields[3] = f"{float(fields[3]) + 0.5:.4f}"
    return "".join([*lines[:3], ",".join(fields), *lines[4:]])


@pytest.mark.parametrize(
    "change",
    [
        changed_value,
        lambda text: text.replace("\n60,", "\n61,", 1),
        lambda text: text.replace("\n", "\n109,111,mouth_left_corner,1,1,xy,regressor,1,1,1,x,\n", 1),
        lambda text: "".join(text.splitlines(keepends=True)[:40]),
        lambda text: text.splitlines()[0] + "\n",
        lambda text: text.replace("keypoint,", "point,", 1),
    ],
    ids=["another value", "another row", "one more line", "lines missing", "no line", "another header"],
)
def test_a_sidecar_of_another_file_is_refused(trained: Trained, tmp_path: Path, change: object) -> None:
    """A sidecar that does not match its table line by line and cell by cell: exit code 3."""
    filled = filled_elsewhere(trained, tmp_path)
    sidecar = (trained.run / "filled.provenance.csv").read_text()
    (tmp_path / "filled.provenance.csv").write_text(change(sidecar))  # type: ignore[operator]  # a lambda
    refused = labelfill("train-final", "--run-dir", trained.run, "--filled", filled, "--force")
    assert refused.code == 3
    assert str(provenance_path(filled)) in refused.sentence
    assert "labelfill impute" in refused.sentence


@pytest.mark.slow
def test_the_original_tells_filled_from_observed(trained: Trained, tmp_path: Path) -> None:
    """--data ORIGINAL stands in for the sidecar; another table than the one before is refused."""
    filled = filled_elsewhere(trained, tmp_path)
    by_sidecar = done("train-final", "--run-dir", trained.run, *TWO_SOURCES_FINAL)
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    command = ["train-final", "--run-dir", run, "--filled", filled, "--force"]
    by_original = done(*command, "--data", trained.table)
    for figure in ("evaluation rows", "validation rows"):
        assert by_original[figure] == by_sidecar[figure]
    assert {name: one["labels"] for name, one in by_original["evaluation keypoints"].items()} == {
        name: one["labels"] for name, one in by_sidecar["evaluation keypoints"].items()
    }
    drawn = draw_two_sources()
    drawn.labels[7, 1, 0] += 1
    write_table(tmp_path / "other.csv", drawn)
    refused = labelfill(*command, "--data", tmp_path / "other.csv")
    assert refused.code == 3
    assert (
        f"{tmp_path / 'other.csv'} is not {filled} before it was filled: row 7 (line 9)" in refused.sentence
    )
    write_table(tmp_path / "shorter.csv", draw_table(3, keypoints=drawn.schema.keypoints))
    assert "has 3 rows" in labelfill(*command, "--data", tmp_path / "shorter.csv").sentence


@pytest.mark.slow
def test_a_table_of_other_rows_is_refused(trained: Trained, tmp_path: Path) -> None:
    """The split is of the run's own rows: another table, filled by its models, would mix held-out rows in."""
    drawn = draw_two_sources()
    lines = trained.table.read_bytes().splitlines(keepends=True)
    (tmp_path / "t.csv").write_bytes(b"".join([lines[0], *reversed(lines[1:])]))
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    done("impute", "--run-dir", run, "--data", tmp_path / "t.csv", "--out", tmp_path / "filled.csv")
    refused = labelfill("train-final", "--run-dir", run, "--force")
    assert refused.code == 3
    assert f"{tmp_path / 'filled.csv'} has other images than {trained.table}" in refused.sentence
    assert drawn.rows == len(lines) - 1


@pytest.mark.slow
def test_a_single_convention_has_the_tables_outputs_alone(
    trained: Trained, images: Path, tmp_path: Path
) -> None:
    """With --single-convention disputed keypoints have no further output per source; without it they have."""
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    several = (trained.run / "final" / "model.json").read_text()
    done("train-final", "--run-dir", run, "--single-convention", "--force")
    predict = ["predict", "--run-dir", run, "--images", images, "--out", tmp_path / "p.csv"]
    refused = labelfill(*predict, "--source", "2")
    assert refused.code == 2
    assert "was trained with --single-convention" in refused.sentence
    done(*predict)
    assert '"further": []' in (run / "final" / "model.json").read_text()
    assert '"further": []' not in several


# -- its use ----------------------------------------------------------------------------------------


def test_ids_are_carried_through(trained: Trained, images: Path, tmp_path: Path) -> None:
    """Columns other than keypoints and images stand unchanged before all keypoints and their radii."""
    predicted(trained, images, tmp_path / "p.csv")
    with open(tmp_path / "p.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    schema = draw_two_sources().schema
    radii = [f"{keypoint}_radius" for keypoint in schema.keypoints]
    assert list(lines[0]) == ["ImageId", "note", *schema.columns, *radii]
    assert [line["ImageId"] for line in lines] == [f"face {row}" for row in range(9)]
    assert [line["note"] for line in lines] == ["a, b", *map(str, range(8))]
    assert schema.on_image(bare_table(tmp_path / "p.csv").labels).all()


def test_a_source_names_the_convention(trained: Trained, images: Path, tmp_path: Path) -> None:
    """--source moves disputed keypoints only; the reference convention is that of source 1."""
    plain = predicted(trained, images, tmp_path / "p.csv")
    one = predicted(trained, images, tmp_path / "p1.csv", "--source", "1")
    two = predicted(trained, images, tmp_path / "p2.csv", "--source", "2")
    schema = draw_two_sources().schema
    disputed = [schema.keypoints.index("nose_tip"), schema.keypoints.index("mouth_center_bottom_lip")]
    np.testing.assert_array_equal(one, plain)
    assert (np.abs(two - one)[:, disputed].max(axis=(0, 2)) > 0.5).all()
    np.testing.assert_array_equal(np.delete(two, disputed, 1), np.delete(one, disputed, 1))


def test_a_table_names_each_rows_source(trained: Trained, images: Path, tmp_path: Path) -> None:
    """--source-from joins by the id column; a blank source means the reference convention."""
    names = [f"face {row},{source}" for row, source in enumerate(["2", "1"] * 4 + [""])]
    (tmp_path / "sources.csv").write_text("\n".join(["ImageId,source", *reversed(names), ""]))
    two = predicted(trained, images, tmp_path / "p2.csv", "--source", "2")
    one = predicted(trained, images, tmp_path / "p1.csv")
    each = predicted(
        trained, images, tmp_path / "p.csv", "--source-from", f"{tmp_path / 'sources.csv'}:source"
    )
    np.testing.assert_array_equal(each[0:8:2], two[0:8:2])
    np.testing.assert_array_equal(each[1:8:2], one[1:8:2])
    np.testing.assert_array_equal(each[8], one[8])


def test_a_source_that_nobody_knows_is_refused(trained: Trained, images: Path, tmp_path: Path) -> None:
    """A usage error for the flag, bad data for the table; both name the sources that there are."""
    command = ["predict", "--run-dir", trained.run, "--images", images, "--out", tmp_path / "p.csv"]
    flag = labelfill(*command, "--source", "3")
    assert (flag.code, flag.sentence) == (2, "--source 3: the network knows the sources 1, 2")
    (tmp_path / "s.csv").write_text("ImageId,source\n" + "".join(f"face {row},x\n" for row in range(9)))
    table = labelfill(*command, "--source-from", f"{tmp_path / 's.csv'}:source")
    assert table.code == 3
    assert "does not know the source 'x'; it knows 1, 2" in table.sentence
    assert (
        "no column 'origin'" in labelfill(*command, "--source-from", f"{tmp_path / 's.csv'}:origin").sentence
    )
    both = labelfill(*command, "--source", "1", "--source-from", f"{tmp_path / 's.csv'}:source")
    assert both.code == 2
    assert not (tmp_path / "p.csv").exists()


def test_predictions_overwrite_nothing(trained: Trained, images: Path, tmp_path: Path) -> None:
    """An existing file needs --force, and the table of images is never overwritten."""
    out = tmp_path / "p.csv"
    out.write_text("precious")
    command = ["predict", "--run-dir", trained.run, "--images", images, "--out"]
    refused = labelfill(*command, out)
    assert refused.code == 2
    assert "already exists: choose another file, or use --force" in refused.sentence
    assert out.read_text() == "precious"
    before = images.read_bytes()
    assert labelfill(*command, images, "--force").code == 2
    assert images.read_bytes() == before
    done(*command, out, "--force")


def test_predictions_are_packed_as_their_name_says(trained: Trained, images: Path, tmp_path: Path) -> None:
    """.csv.gz and .zip hold the same text as .csv; another suffix is refused."""
    plain = predicted(trained, images, tmp_path / "p.csv")
    for name in ("p.csv.gz", "p.zip"):
        np.testing.assert_array_equal(predicted(trained, images, tmp_path / name), plain)
        assert content(tmp_path / name) == (tmp_path / "p.csv").read_bytes()
        assert (tmp_path / name).read_bytes() != content(tmp_path / name)
    refused = labelfill("predict", "--run-dir", trained.run, "--images", images, "--out", tmp_path / "p.xlsx")
    assert refused.code == 2
    assert "choose one of these suffixes" in refused.sentence


def test_images_of_another_size_are_refused(trained: Trained, tmp_path: Path) -> None:
    """Exit code 3, both sizes named."""
    write_table(tmp_path / "t.csv", draw_table(3).labelled(None))
    refused = labelfill(
        "predict", "--run-dir", trained.run, "--images", tmp_path / "t.csv", "--out", tmp_path / "p.csv"
    )
    assert refused.code == 3
    assert "found 9216 pixels, expected 2304 (48x48, which the models in" in refused.sentence
