"""Labels that trained regressors contradict are found by `inspect --run-dir`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.driving import bare_table, done, labelfill
from tests.trained_runs import Trained


def test_a_label_far_from_what_the_models_see_is_listed(two_sources: Trained, tmp_path: Path) -> None:
    """A moved label of a rare keypoint is contradicted and can be distrusted; few other labels are."""
    table = bare_table(two_sources.table)
    k = table.keypoints.index("mouth_left_corner")
    row = int(np.flatnonzero(table.labelled[:, k])[3])
    (begin, end), _ = table.field_spans[row, k].tolist()
    data = table.path.read_bytes()
    moved = tmp_path / "moved.csv"
    moved.write_bytes(data[:begin] + b"%.2f" % (table.labels[row, k, 0] - 20) + data[end:])
    listed = tmp_path / "distrust.csv"
    told = done("inspect", moved, "--run-dir", two_sources.run, "--write-distrust", listed)
    flagged = {s["row"]: s for s in told["suspects"] if s["flagged"]}
    assert table.keypoints[k] in flagged[row]["keypoints"]
    assert len(flagged) <= 4
    assert f"{row},mouth_left_corner" in listed.read_text(encoding="utf-8")
    assert {offset["keypoint"] for offset in told["convention_offsets"]} <= set(table.keypoints)


def test_rows_that_were_learnt_from_are_judged_by_the_other_folds(two_sources: Trained) -> None:
    """On the run's own table, too, few of its clean labels are contradicted; the audit's offsets are told."""
    told = labelfill("inspect", two_sources.table, "--run-dir", two_sources.run)
    assert told.code == 0, told.err
    assert "conventions" in told.out
    assert told.out.count("not where the trained regressors") <= 3


def test_other_tables_are_refused(small_prior: Trained, two_sources: Trained) -> None:
    """Models of other keypoints judge nothing."""
    told = labelfill("inspect", small_prior.table, "--run-dir", two_sources.run)
    assert told.code == 3
    assert "cannot be checked with" in told.sentence
