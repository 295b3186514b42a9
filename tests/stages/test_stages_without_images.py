"""A table of coordinates alone is filled by the shape prior in every command; what needs images says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelfill.data.synthetic import DrawnTable, draw_table, write_table
from labelfill.data.table import read_table
from labelfill.schema import ImageSize
from tests.driving import DATA, PRIOR, bare_table, check_filled, content, done, labelfill, read_provenance
from tests.trained_runs import SMALL_KEYPOINTS, Trained, draw_small_table, draw_two_sources

YTF = DATA / "ytf"
WHAT_IMAGES_WOULD_ADD = (
    "filled from labels alone; with images, in a column Image or image_path, networks also"
)


def written(
    path: Path,
    drawn: DrawnTable,
    labels: np.ndarray | None = None,
    before: dict[str, list[str]] | None = None,
) -> Path:
    write_table(path, drawn if labels is None else drawn.labelled(labels), images="none", before=before)
    return path


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The small table without its images, with its shape prior."""
    folder = tmp_path_factory.mktemp("bare")
    trained = Trained(written(folder / "t.csv", draw_small_table()), folder / "run")
    done("train-keypoint-models", "--data", trained.table, "--run-dir", trained.run, *PRIOR)
    return trained


def rmse(filled: Path, truth: np.ndarray, table: Path) -> float:
    blank = np.isnan(bare_table(table).labels)
    errors = (bare_table(filled).labels - truth)[blank]
    return float(np.sqrt(np.mean(errors**2)))


# -- what is filled ---------------------------------------------------------------------------------


def test_run_fills_it_and_says_that_it_ends_there(tmp_path: Path) -> None:
    """Filled with provenance and radii in one command; nothing of the final network, no report."""
    table, run, filled = tmp_path / "t.csv", tmp_path / "run", tmp_path / "filled.csv"
    written(table, draw_small_table())
    command = ("run", "--data", table, "--run-dir", run, "--out", filled, *PRIOR)
    planned = labelfill(*command, "--dry-run")
    assert planned.code == 0
    assert not run.exists()
    told = labelfill(*command)
    assert told.code == 0
    for outcome in (planned, told):
        assert "none: it needs images, and the table has none" in outcome.out
    assert WHAT_IMAGES_WOULD_ADD in told.out
    assert "next:" not in told.out
    assert told.err.count("t.csv has no images: an image size of ") == 1
    result = labelfill(*command, "--json").result
    assert list(result) == ["train-keypoint-models", "impute", "train-final", "report"]
    assert result["train-final"] == {"state": "needs images"}
    assert result["report"] == {"out": None}
    assert result["train-keypoint-models"]["without images"] is True
    assert result["impute"]["without_images"] is True
    assert not (run / "final").exists()
    assert not (run / "report.html").exists()
    lines = check_filled(table, filled, result["impute"])
    assert bare_table(filled).observed.all()
    assert {line["method"] for line in lines} == {"prior"}


def test_fills_are_about_as_with_images(bare: Trained, small_prior: Trained, tmp_path: Path) -> None:
    """The prior learns the same of labels alone: its errors are those that it makes beside images."""
    drawn = draw_small_table()
    errors = []
    for number, trained in enumerate((bare, small_prior)):
        filled = tmp_path / f"{number}.csv"
        done("impute", "--run-dir", trained.run, "--out", filled)
        errors.append(rmse(filled, drawn.truth, trained.table))
    assert errors[0] == pytest.approx(errors[1], rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("by", [(-60.0, 7.0), (500.0, -400.0)])
def test_where_the_origin_lies_does_not_matter(
    bare: Trained, tmp_path: Path, by: tuple[float, float]
) -> None:
    """A table moved as a whole is filled by the same values, moved: mirrored rows too have its middle."""
    drawn = draw_small_table()
    moved = written(tmp_path / "t.csv", drawn, labels=np.round(drawn.labels, 4) + by)
    summary = done("run", "--data", moved, "--run-dir", tmp_path / "run", "--out", tmp_path / "m.csv", *PRIOR)
    assert summary["impute"]["left_blank"] == 0
    done("impute", "--run-dir", bare.run, "--out", tmp_path / "f.csv")
    found, expected = (bare_table(tmp_path / name).labels for name in ("m.csv", "f.csv"))
    np.testing.assert_allclose(found, expected + by, atol=3e-4)


def test_no_fill_is_off_an_image_that_nobody_knows(tmp_path: Path) -> None:
    """The assumed frame only just holds the labels; a size that is stated tells which fills lie beyond it."""
    drawn = draw_small_table()
    table = written(tmp_path / "t.csv", drawn)
    flagged = []
    for name, options in {"assumed": (), "stated": ("--image-size", "12x12")}.items():
        run, filled = tmp_path / name, tmp_path / f"{name}.csv"
        done("train-keypoint-models", "--data", table, "--run-dir", run, *PRIOR, *options)
        done("impute", "--run-dir", run, "--out", filled)
        lines = read_provenance(filled)
        assert len(lines) > 10
        flagged.append(sum("off-image" in line["flags"] for line in lines))
    assert flagged[0] == 0
    assert flagged[1] > 0


def test_a_lost_decimal_point_is_not_learnt_from(tmp_path: Path) -> None:
    """A coordinate far beyond all others makes no frame, is named, and does no harm."""
    drawn = draw_small_table()
    drawn.labels[7, 0, 0] = 1e4 * drawn.truth[7, 0, 0]
    table, run, filled = written(tmp_path / "t.csv", drawn), tmp_path / "run", tmp_path / "filled.csv"
    trained = labelfill("train-keypoint-models", "--data", table, "--run-dir", run, *PRIOR)
    assert trained.code == 0
    assert "row 7 (line 9), column 'left_eye_center_x'" in trained.err
    assert "lies far outside the other labels; correct it if it is wrong" in trained.err
    done("impute", "--run-dir", run, "--out", filled)
    assert rmse(filled, drawn.truth, table) < 3


def test_label_sources_are_found_and_their_conventions_kept(tmp_path: Path) -> None:
    """What labels alone tell of sources they tell without images, too."""
    table, run, filled = tmp_path / "t.csv", tmp_path / "run", tmp_path / "filled.csv"
    written(table, draw_two_sources())
    result = done("run", "--data", table, "--run-dir", run, "--out", filled, *PRIOR)
    assert len(result["train-keypoint-models"]["sources"]) == 2
    check_filled(table, filled, result["impute"])


def test_rows_of_a_group_and_repeated_rows_stay_together(tmp_path: Path) -> None:
    """On one side of the split: rows of one group, and rows whose labels are the same to the last digit."""
    drawn = draw_table(120, 4, keypoints=SMALL_KEYPOINTS, image_size=ImageSize(24, 24), gaps=0.1)
    full = np.flatnonzero(np.isfinite(drawn.labels).all(axis=(1, 2)))[:60]
    drawn.labels[full[30:]] = drawn.labels[full[:30]]
    subjects = [str(row // 4) for row in range(drawn.rows)]
    table = written(tmp_path / "t.csv", drawn, before={"subject": subjects})
    options = ("--data", table, *PRIOR)
    done("train-keypoint-models", "--run-dir", tmp_path / "run", *options)
    part = parts(tmp_path / "run")
    assert len(set(part)) == 3
    assert [part[row] for row in full[:30]] == [part[row] for row in full[30:]]
    done("train-keypoint-models", "--run-dir", tmp_path / "grouped", *options, "--group-column", "subject")
    part = parts(tmp_path / "grouped")
    assert all(len({part[row] for row in range(first, first + 4)}) == 1 for first in range(0, 120, 4))


def parts(run: Path) -> list[str]:
    return [line.split(",")[1] for line in (run / "split.csv").read_text().splitlines()[1:]]


# -- runs and tables of different kinds -------------------------------------------------------------


def test_models_of_labels_alone_fill_other_tables(bare: Trained, tmp_path: Path) -> None:
    """Tables with images are filled as if they had none, in the frame of the run."""
    drawn = draw_table(30, 8, keypoints=SMALL_KEYPOINTS, image_size=ImageSize(30, 40), gaps=0.2)
    plain, pictured = written(tmp_path / "plain.csv", drawn), tmp_path / "pictured.csv"
    write_table(pictured, drawn)
    for table in (plain, pictured):
        filled = tmp_path / f"{table.stem}-filled.csv"
        outcome = labelfill("impute", "--run-dir", bare.run, "--data", table, "--out", filled, "--json")
        assert outcome.code == 0
        check_filled(table, filled, outcome.result)
        assert ("images are not looked at" in outcome.err) == (table == pictured)
    found, expected = (bare_table(tmp_path / f"{name}-filled.csv").labels for name in ("pictured", "plain"))
    np.testing.assert_array_equal(found, expected)


def test_many_tables_of_a_pattern(bare: Trained, tmp_path: Path) -> None:
    """They are filled one by one, and what images would add is said once."""
    for seed in (1, 2):
        drawn = draw_table(20, seed, keypoints=SMALL_KEYPOINTS, image_size=ImageSize(24, 24), gaps=0.2)
        written(tmp_path / f"part{seed}.csv", drawn)
    outcome = labelfill(
        "impute", "--run-dir", bare.run, "--data", tmp_path / "part*.csv", "--out", tmp_path / "out"
    )
    assert outcome.code == 0
    assert outcome.out.count(WHAT_IMAGES_WOULD_ADD) == 1


def test_a_prior_learnt_beside_images_fills_a_table_without(small_prior: Trained, tmp_path: Path) -> None:
    """It looks at none, so none are missed, but for identical ones; regressors that look at them refuse."""
    table, filled = written(tmp_path / "t.csv", draw_small_table()), tmp_path / "filled.csv"
    summary = done("impute", "--run-dir", small_prior.run, "--data", table, "--out", filled)
    check_filled(table, filled, summary)
    assert bare_table(filled).observed.all()


def test_regressors_refuse_a_table_without_images(small: Trained, tmp_path: Path) -> None:
    """One sentence: what is missing, and the two remedies."""
    table = written(tmp_path / "t.csv", draw_small_table())
    refused = labelfill("impute", "--run-dir", small.run, "--data", table, "--out", tmp_path / "filled.csv")
    assert refused.code == 3
    assert "no column 'Image'" in refused.sentence
    assert "with --method prior: the models in " in refused.sentence
    assert not (tmp_path / "filled.csv").exists()


def test_parquet_without_images(tmp_path: Path) -> None:
    """The same table as Parquet is filled as well."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    drawn = draw_small_table()
    table = tmp_path / "t.parquet"
    done("convert", written(tmp_path / "t.csv", drawn), table)
    done("run", "--data", table, "--run-dir", tmp_path / "run", "--out", tmp_path / "filled.parquet", *PRIOR)
    done("convert", tmp_path / "filled.parquet", tmp_path / "filled.csv")
    assert rmse(tmp_path / "filled.csv", drawn.truth, tmp_path / "t.csv") < 3


# -- inspect and compare ----------------------------------------------------------------------------


def test_inspect_judges_labels_by_the_run(bare: Trained) -> None:
    """With --run-dir, too: the shape prior contradicts labels where regressors would."""
    found = done("inspect", bare.table, "--run-dir", bare.run)
    assert found["images"] is None
    assert found["convention_offsets"] == []


@pytest.mark.parametrize("known", [True, False])
def test_compare_takes_the_ways_that_need_no_image(tmp_path: Path, known: bool) -> None:
    """By default simple ways and the prior, against a truth and on held-out rows alike."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    drawn = draw_small_table()
    table = written(tmp_path / "t.csv", drawn)
    truth = ("--truth", written(tmp_path / "truth.csv", drawn, labels=drawn.truth)) if known else ()
    result = done("compare", table, "--run-dir", tmp_path / "run", *truth)
    assert list(result["ways"]) == ["mean", "forward-fill", "knn", "iterative", "prior"]
    assert result["ways"]["prior"]["rmse"] < result["ways"]["mean"]["rmse"]
    assert result["held_out"] is not known


# -- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [("train-keypoint-models", "--data"), ("run", "--data"), ("compare", "--ways", "anchored")],
    ids=lambda command: command[0],
)
def test_what_looks_at_images_names_the_remedy(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Exit code 3: add a column, or --method prior."""
    table = written(tmp_path / "t.csv", draw_small_table())
    refused = labelfill(*command, table, "--run-dir", tmp_path / "run")
    assert refused.code == 3
    assert "t.csv: no column 'Image' (grey values) or 'image_path' (file names)" in refused.sentence
    assert refused.sentence.endswith("add one of the two, or fill without by --method prior")


def test_the_final_network_says_that_it_needs_images(bare: Trained, tmp_path: Path) -> None:
    """So do train-final and compare --final; pages with pictures say which column they miss."""
    done("impute", "--run-dir", bare.run)
    for command in (("train-final",), ("train-final", "--dry-run")):
        refused = labelfill(*command, "--run-dir", bare.run)
        assert refused.code == 3
        assert refused.sentence.startswith("the final network learns from images, and ")
        assert "add a column Image or image_path" in refused.sentence
    for page in ("report", "review"):
        refused = labelfill(page, "--run-dir", bare.run)
        assert refused.code == 3
        assert "no column 'Image'" in refused.sentence
    compared = labelfill("compare", bare.table, "--ways", "prior", "--final", "--run-dir", tmp_path / "run")
    assert compared.code == 3
    assert compared.sentence.startswith("the final network learns from images, and ")


def test_shares_of_an_image_are_no_px(tmp_path: Path) -> None:
    """Coordinates within a few px are refused: they are likely shares of an image's size."""
    drawn = draw_small_table()
    table = written(tmp_path / "t.csv", drawn, labels=drawn.labels / 24)
    refused = labelfill("train-keypoint-models", "--data", table, "--run-dir", tmp_path / "run", *PRIOR)
    assert refused.code == 3
    assert "coordinates lie within 1 px, expected px of images" in refused.sentence


@pytest.mark.slow
def test_adding_images_later_is_another_run(bare: Trained, tmp_path: Path) -> None:
    """The run keeps to what it was begun with: a table that got images asks for --force or another run."""
    table, run = tmp_path / "t.csv", tmp_path / "run"
    table.write_bytes(content(bare.table))
    done("train-keypoint-models", "--data", table, "--run-dir", run, *PRIOR)
    write_table(table, draw_small_table())
    refused = labelfill("train-keypoint-models", "--data", table, "--run-dir", run, *PRIOR)
    assert refused.code == 2
    assert "--force" in refused.sentence
    trained = done("train-keypoint-models", "--data", table, "--run-dir", run, *PRIOR, "--force")
    assert "without images" not in trained
    assert done("impute", "--run-dir", run)["left_blank"] == 0


# -- real faces -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not YTF.is_dir(), reason=f"no real faces at {YTF} (LABELFILL_DATA)")
def test_figures_on_real_faces(tmp_path: Path) -> None:
    """Rare points: as near as with images (1.65 px), and well below the iterative imputer (2.35)."""
    original = read_table(YTF / "training.zip", require_images=False)
    labels, truth = original.labels, read_table(YTF / "training_truth.csv", require_images=False).labels
    table, filled = tmp_path / "t.csv", tmp_path / "filled.csv"
    with open(table, "w") as file:
        file.write(",".join(f"{k}_{axis}" for k in original.keypoints for axis in "xy") + "\n")
        for row in labels.reshape(len(labels), -1).tolist():
            file.write(",".join("" if value != value else repr(value) for value in row) + "\n")
    done("run", "--data", table, "--run-dir", tmp_path / "run", "--out", filled, *PRIOR)
    blank = np.isnan(labels)
    blank &= (blank.mean(axis=(0, 2)) > 0.5)[:, None]
    errors = (bare_table(filled).labels - truth)[blank]
    assert np.sqrt((errors**2).mean()) == pytest.approx(1.65, abs=0.03)
