"""What is decided about a table before anything is trained: sources, split, folds, mirror partners."""

from __future__ import annotations

import csv
import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Integers, Mask
from labelfill.data.dataset import Dataset, row_ids, rows_fingerprint
from labelfill.errors import DataError, UsageError, did_you_mean, listed, place, refuse_endless
from labelfill.runs import EVALUATION, TRAINING, VALIDATION, RunDirectory, make_split, rows_together
from labelfill.runs.randomness import random_key
from labelfill.schema import declared_mirror_partners, mirror_partners
from labelfill.settings import TableSettings
from labelfill.shape.mirror_axis import middle_shift
from labelfill.shape.prior import mirror_fits
from labelfill.sources.groups import SourceGroups, find_groups, reference_groups, single_group

_log = logging.getLogger("labelfill")

# With fewer labels of a keypoint than this, more folds lose less to each model; radii are "low data".
LOW_DATA = 50
# With fewer labels than this a keypoint is left blank.
LEAST_LABELS = 10
_FOLDS, _FOLDS_LOW_DATA = 3, 5
# The more folds, the nearer is what is fitted without one to what is fitted on all rows.
_JOINT_FOLDS = 5


@dataclass(frozen=True)
class Preparation:
    """Decisions about a table that all stages share.

    Attributes
    ----------
    groups, group_of
        Label sources, and (n,) the number of each row's.
    reference
        (K,): the group in whose convention each keypoint is answered.
    parts
        (n,): training, validation or evaluation.
    folds, fold_count
        (n,): fold of each training row, -1 elsewhere.
    joint_folds
        (n,): the same for what is fitted on answers of all folds' networks: each holds rows of all `folds`.
    """

    groups: SourceGroups
    group_of: Integers
    reference: Integers
    parts: NDArray[np.int8]
    folds: Integers
    fold_count: int
    joint_folds: Integers

    @property
    def training(self) -> Mask:
        rows: Mask = self.parts == TRAINING
        return rows

    @property
    def validation(self) -> Mask:
        rows: Mask = self.parts == VALIDATION
        return rows

    @property
    def evaluation(self) -> Mask:
        rows: Mask = self.parts == EVALUATION
        return rows


def prepare(run: RunDirectory, dataset: Dataset, table: TableSettings, seed: int) -> Preparation:
    """Group, split and fold the rows; the split is made once and kept in the run directory."""
    labelled = dataset.table.labelled
    _warn_of_labels_astray(dataset)
    groups = _groups(dataset, table, labelled)
    group_of = groups_of_rows(dataset, groups)
    ids = row_ids(dataset)
    together = _column_ids(dataset, table.group_column)
    patterns = np.unique(dataset.table.observed.reshape(len(labelled), -1), axis=0, return_inverse=True)[1]
    parts = run.split(
        dataset.table.rows,
        lambda: make_split(ids, patterns.reshape(-1).astype(np.int64), seed, together),
        of={
            **split_inputs(dataset, dataset.table.observed),
            "group column": table.group_column,
            "seed": seed,
        },
    )
    trusted: Mask = labelled if dataset.distrusted is None else labelled & ~dataset.distrusted
    folds, count, joint_folds = _folds(parts, rows_together(ids, together), trusted, seed)
    reference = reference_groups(labelled, group_of, len(groups.names))
    return Preparation(groups, group_of, reference, parts, folds, count, joint_folds)


def _warn_of_labels_astray(dataset: Dataset) -> None:
    astray = np.argwhere(dataset.astray)
    if len(astray):
        row, k, axis = astray[0]
        column = dataset.schema.columns[2 * k + axis]
        where = place(dataset.table.path, row=int(row), line=int(dataset.table.lines[row]), column=column)
        _log.warning(
            "%s: %g lies far outside the %s; correct it if it is wrong (such labels are not used for "
            "training; there are %d)",
            where, dataset.table.labels[row, k, axis],
            "image" if dataset.images is not None else "other labels",
            len(np.unique(astray[:, :2], axis=0)),
        )  # fmt: skip


def reading_inputs(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """What a stage's inputs say of how the table's values are understood, where that is unusual."""
    unusual = dataset.reading.unusual
    return {"reading": unusual} if unusual else {}


def distrust_inputs(dataset: Dataset) -> dict[str, str]:
    """What a stage's inputs say of distrusted labels and a person's verdicts, where there are any."""
    inputs = {}
    if dataset.distrusted is not None and dataset.distrusted.any():
        sha256 = hashlib.sha256(np.packbits(dataset.distrusted).tobytes()).hexdigest()
        inputs["distrusted labels"] = f"{int(dataset.distrusted.sum())} by list {sha256[:12]}"
    if dataset.confirmed is not None and np.isfinite(dataset.confirmed).any():
        inputs["confirmed points"] = hashlib.sha256(dataset.confirmed.tobytes()).hexdigest()
    return inputs


def split_inputs(dataset: Dataset, observed: Mask) -> dict[str, str]:
    """What tells whether a run's split is of these images and observed coordinates (n, K, 2)."""
    cells = hashlib.sha256(np.packbits(observed).tobytes()).hexdigest()
    return {"images": rows_fingerprint(dataset), "observed": cells}


def _groups(dataset: Dataset, table: TableSettings, labelled: Mask) -> SourceGroups:
    column = table.source_column
    if column is not None and column.lower() == "none":
        return single_group(labelled.shape[1])
    if column is None:
        return find_groups(labelled)
    return find_groups(labelled, _column(dataset, column, "--source-column"), column)


def groups_of_rows(dataset: Dataset, groups: SourceGroups, labelled: Mask | None = None) -> Integers:
    """(n,): the label source of each row, by the column that names them, or by what the row labels (n, K).

    Parameters
    ----------
    labelled
        None: as the table does.
    """
    declared = None if groups.column is None else dataset.table.extra.get(groups.column)
    return groups.assign(dataset.table.labelled if labelled is None else labelled, declared)


def _column(dataset: Dataset, name: str, option: str) -> list[str]:
    if name not in dataset.table.extra:
        have = listed(sorted(dataset.table.extra)) or "none"
        raise DataError(
            f"{dataset.table.path} has no column {name!r} for {option}; its other columns: {have}"
            f"{did_you_mean(name, dataset.table.extra)}"
        )
    return dataset.table.extra[name]


def _column_ids(dataset: Dataset, name: str | None) -> Integers | None:
    if name is None:
        return None
    values = np.array([value.strip() for value in _column(dataset, name, "--group-column")])
    ids: Integers = np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64)
    # A row that names no group belongs together with no other.
    return np.where(values == "", len(ids) + np.arange(len(ids)), ids)


def _folds(
    parts: NDArray[np.int8], ids: Integers, labelled: Mask, seed: int
) -> tuple[Integers, int, Integers]:
    """(n,) fold of each training row, their number, and (n,) joint folds: rows with the same id share one."""
    training = parts == TRAINING
    incomplete = ~labelled.all(axis=0)
    labels = labelled[training].sum(axis=0)[incomplete]
    trainable = labels[labels >= LEAST_LABELS]
    count = _FOLDS_LOW_DATA if len(trainable) and trainable.min() < LOW_DATA else _FOLDS
    # Training rows alone, in their order: what other rows hold has no say in the folds.
    _, first, which = np.unique(ids[training], return_index=True, return_inverse=True)
    cluster = np.argsort(np.argsort(first))[which.reshape(-1)]
    generator = np.random.default_rng(random_key(seed, "folds"))
    # Rows with many labels are rare in some tables: they are spread evenly over the folds.
    richness = np.zeros(len(first))
    np.maximum.at(richness, cluster, labelled[training].sum(axis=1))
    order = np.lexsort((generator.random(len(first)), -richness))
    place_of = np.empty(len(first), np.int64)
    place_of[order] = np.arange(len(first))
    folds, joint = np.full(len(parts), -1, np.int64), np.full(len(parts), -1, np.int64)
    folds[training] = place_of[cluster] % count
    joint[training] = place_of[cluster] // count % _JOINT_FOLDS
    return folds, count, joint


def choose_partners(dataset: Dataset, setting: str, parts: NDArray[np.int8]) -> tuple[int, ...] | None:
    """Mirror partners by name or from a file; None if there are none, or mirroring does not fit the rows.

    Raises
    ------
    DataError
        If the file cannot be used.
    """
    if setting == "none":
        return None
    schema, labels = dataset.schema, dataset.labels
    if setting == "auto":
        partners = mirror_partners(schema.keypoints)
        if all(partner in (k, -1) for k, partner in enumerate(partners)) and schema.count > 1:
            _log.info("no mirror pairs: no two keypoint names differ in left and right")
            return None
        if schema.count == 1 and partners[0] != 0:
            return None
    else:
        partners = declared_mirror_partners(schema.keypoints, read_mirror_pairs(Path(setting)))
    if dataset.images is None:
        schema = replace(schema, mirror_shift=middle_shift(labels[parts == TRAINING], partners, schema))
    usable = parts != EVALUATION
    labels, held_out = labels[usable], (parts == VALIDATION)[usable]
    noise = np.where(np.isfinite(labels), 0.0, np.inf)
    if not mirror_fits(labels, noise, held_out, schema, partners):
        _log.info("mirrored rows are not used: mirrored shapes do not look like those of the table")
        return None
    return partners


def read_mirror_pairs(path: Path) -> list[tuple[str, str]]:
    """Lines ``LEFT,RIGHT``."""
    try:
        refuse_endless(path)
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"--mirror-pairs {path} cannot be read ({error}); use auto, none or a file"
        ) from error
    pairs = []
    for number, line in enumerate(lines, 1):
        names = [name.strip() for name in line if name.strip()]
        if not names:
            continue
        if len(names) != 2:
            raise DataError(
                f"{path}, line {number}: found {','.join(line)!r}, expected two keypoints LEFT,RIGHT"
            )
        pairs.append((names[0], names[1]))
    return pairs
