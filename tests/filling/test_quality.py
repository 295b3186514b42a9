"""How good fills are: in words, for each source and keypoint, and which of them a flag sends a person to."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from labelfill.data.synthetic import write_table
from labelfill.filling.quality import SOURCE_COLUMNS, quality_sentence
from tests.driving import PRIOR, done, read_provenance
from tests.trained_runs import draw_two_sources

OF_SOURCES = {"source-shift", "low-data", "unknown-source"}


@pytest.mark.parametrize(
    ("px", "share", "size", "sentence"),
    [
        (1.2, 0.0125, "96x96", "good: the median error radius is 1.2 px on images of 96x96"),
        (2.4, 0.025, "96x96", "fair: the median error radius is 2.4 px on images of 96x96"),
        (4.3, 0.045, "96x96", "rough: the median error radius is 4.3 px on images of 96x96"),
        (9.0, 0.05, "", "rough: the median error radius is 9.0 px, 5.0% of the longer side"),
    ],
)
def test_a_sentence_says_how_good_a_fill_is(px: float, share: float, size: str, sentence: str) -> None:
    """By the median radius as a share of the image's longer side."""
    assert quality_sentence(px, share, size) == sentence


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A table of two sources, filled by the prior."""
    folder = tmp_path_factory.mktemp("quality")
    write_table(folder / "t.csv", draw_two_sources())
    done("train-keypoint-models", "--data", folder / "t.csv", "--run-dir", folder / "run", *PRIOR)
    summary = done("impute", "--run-dir", folder / "run", "--out", folder / "filled.csv")
    return folder / "filled.csv", summary


def test_what_holds_for_a_source_is_said_once(filled: tuple[Path, dict]) -> None:
    """In a file of its own with a line per source and keypoint, not of each point."""
    path, summary = filled
    lines = read_provenance(path)
    assert not OF_SOURCES & {word for line in lines for word in line["flags"].split()}
    with open(path.with_name("filled.sources.csv"), newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        entries = list(reader)
    assert tuple(reader.fieldnames or ()) == SOURCE_COLUMNS
    assert sum(int(entry["points"]) for entry in entries) == len(lines)
    shares = [float(entry["error_share"]) for entry in entries]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=0.01)
    shifted = {entry["keypoint"] for entry in entries if "source-shift" in entry["flags"]}
    assert shifted == {"mouth_left_corner", "mouth_right_corner", "mouth_center_top_lip"}
    assert {entry["source"] for entry in entries if "source-shift" in entry["flags"]} == {"2"}
    assert [entry["keypoint"] for entry in entries] == [entry["keypoint"] for entry in summary["by_source"]]


def test_a_flag_marks_few_points(filled: tuple[Path, dict]) -> None:
    """At most an eighth of the fills have a large radius, and it is one of the largest."""
    lines = read_provenance(filled[0])
    radii = np.array([float(line["radius"]) for line in lines])
    large = np.array(["large-radius" in line["flags"].split() for line in lines])
    assert large.mean() <= 1 / 8
    assert (radii[large] >= np.quantile(radii, 7 / 8)).all()
    assert (radii[large] > 48 / 32).all()
    assert np.mean([line["flags"] != "" for line in lines]) <= 0.15
