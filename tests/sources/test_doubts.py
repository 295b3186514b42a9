"""Wrong labels are found by their rows' others, trusted less, and do little harm."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from labelfill.arrays import Array
from labelfill.data.synthetic import draw_table, write_table
from labelfill.shape.prior import fit_shape_prior
from labelfill.sources.anchors import Anchors, labels_as_anchors
from labelfill.sources.doubtful_labels import weigh_down
from tests.driving import bare_table, done, read_provenance
from tests.trained_runs import SEVEN_KEYPOINTS, Trained


@pytest.mark.slow
def test_shifted_labels_are_found_and_clean_ones_left_alone() -> None:
    """Of labels shifted by a seventh of the face nine in ten are found; of clean ones under one in 100."""
    drawn = draw_table(300, 3)
    anchors = labels_as_anchors(drawn.truth)
    prior = fit_shape_prior(anchors.xy[:200], anchors.noise[:200])
    rng = np.random.default_rng(0)
    rows = np.arange(200, 300)
    keypoints = rng.integers(0, drawn.truth.shape[1], len(rows))
    angle = rng.uniform(0, 2 * np.pi, len(rows))
    xy = anchors.xy.copy()
    xy[rows, keypoints] += prior.extent / 7 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    weighed, doubtful = weigh_down(prior, Anchors(xy, anchors.noise))
    assert doubtful[rows, keypoints].mean() >= 0.9
    planted = np.zeros_like(doubtful)
    planted[rows, keypoints] = True
    assert doubtful[~planted].mean() < 0.01
    assert (weighed.noise[doubtful] > 1).all()
    assert np.array_equal(weighed.noise[~doubtful], anchors.noise[~doubtful])
    _, sure = weigh_down(prior, Anchors(xy, anchors.noise), planted)
    assert not sure[planted].any(), "what a person confirmed is beyond doubt"


def test_of_two_labels_nobody_knows_which_is_wrong() -> None:
    """Rows that label two points or fewer are taken at their word."""
    drawn = draw_table(60, 3)
    prior = fit_shape_prior(*vars(labels_as_anchors(drawn.truth)).values())
    labels = np.full(drawn.truth.shape, np.nan)
    labels[:, :2] = drawn.truth[:, :2] + 20 * np.arange(2)[None, :, None]
    assert not weigh_down(prior, labels_as_anchors(labels))[1].any()


def test_a_wrong_anchor_is_flagged(small_prior: Trained, tmp_path: Path) -> None:
    """The row's fills carry a flag, and the label stands in the review list, worst first."""
    table = bare_table(small_prior.table)
    row = int(np.flatnonzero(table.labelled[:, 0] & (table.labelled.sum(axis=1) == 3))[0])
    data = table.path.read_bytes()
    (begin, end), _ = table.field_spans[row, 0].tolist()
    wrong = tmp_path / "wrong.csv"
    wrong.write_bytes(data[:begin] + b"%.2f" % ((table.labels[row, 0, 0] + 12) % 24) + data[end:])
    done("impute", "--run-dir", small_prior.run, "--data", wrong, "--out", tmp_path / "filled.csv")
    flags = {line["flags"] for line in read_provenance(tmp_path / "filled.csv") if line["row"] == str(row)}
    assert all("doubtful-anchor" in words.split() for words in flags)
    assert flags
    with open(tmp_path / "filled.review.csv", newline="", encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    assert (str(row), table.keypoints[0], "doubtful-label") in {
        (line["row"], line["keypoint"], line["reasons"]) for line in listed
    }
    severity = [float(line["severity"]) for line in listed]
    assert severity == sorted(severity, reverse=True)


def with_wrong_labels(labels: Array, share: float, rng: np.random.Generator) -> Array:
    """Labels (n, K, 2) of which a share is wrong: half of it swapped within a row, half shifted by 8 px."""
    faulty, known = labels.copy(), np.isfinite(labels).all(axis=2)
    wrong = np.zeros_like(known)
    for row, k in rng.permutation(np.argwhere(known)).tolist():
        if wrong.sum() >= share * known.sum():
            break
        others = np.flatnonzero(known[row] & ~wrong[row] & (np.arange(known.shape[1]) != k))
        if wrong[row, k] or not len(others):
            continue
        if rng.random() < 1 / 3:
            pair = [k, int(rng.choice(others))]
            faulty[row, pair] = faulty[row, pair[::-1]]
            wrong[row, pair] = True
        else:
            angle = rng.uniform(0, 2 * np.pi)
            faulty[row, k] += 8 * np.array([np.cos(angle), np.sin(angle)])
            wrong[row, k] = True
    return faulty


@pytest.mark.slow
def test_five_percent_wrong_labels_cost_under_ten_percent(tmp_path: Path) -> None:
    """With a twentieth of a drawn table's labels swapped or shifted the fill RMSE rises by under a tenth."""
    drawn = draw_table(200, 9, keypoints=SEVEN_KEYPOINTS, gaps=0.3)
    faulty = with_wrong_labels(drawn.labels, 0.05, np.random.default_rng(1))
    rmse = {}
    for name, labels in (("clean", drawn.labels), ("faulty", faulty)):
        drawn.labels[:] = labels
        write_table(tmp_path / f"{name}.csv", drawn)
        run = tmp_path / name
        done(
            "train-keypoint-models", "--data", tmp_path / f"{name}.csv", "--run-dir", run, "--method", "prior"
        )
        done("impute", "--run-dir", run, "--out", tmp_path / f"{name}_filled.csv")
        filled = bare_table(tmp_path / f"{name}_filled.csv").labels
        error = (filled - drawn.truth)[np.isnan(labels)]
        rmse[name] = float(np.sqrt(np.nanmean(error**2)))
    assert rmse["faulty"] < 1.1 * rmse["clean"], rmse
