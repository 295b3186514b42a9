"""Which table the final network learns from, and what it learns of that table's blank cells."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from labelfill.arrays import Array, Mask
from labelfill.data.dataset import ImageDataset
from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.distrust import read_distrust
from labelfill.data.formats import KINDS, read_keypoints
from labelfill.data.formats.blanks import unsure_points
from labelfill.data.label_checks import in_px
from labelfill.data.run_tables import reading_of
from labelfill.data.table import IMAGE_COLUMN, IMAGE_PATH_COLUMN
from labelfill.errors import DataError, ModelError, differing_column, reading_csv
from labelfill.filling.provenance import PROVENANCE_COLUMNS, distrust_path, provenance_path
from labelfill.filling.simple_ways import SIMPLE_METHODS, fill_simply
from labelfill.regressors.files import load_about
from labelfill.regressors.unit_names import STAGE as MODELS_STAGE
from labelfill.runs import RunDirectory, sha256_file
from labelfill.settings import FinalModelSettings
from labelfill.sources.preparation import split_inputs


@dataclass(frozen=True)
class FilledRequest:
    """Which table to learn from; what is None is found out.

    Attributes
    ----------
    filled
        The filled table; None takes the one that `impute` wrote last, or the table as it was where nothing is
        learnt from fills.
    original
        The table before it was filled, if there is no sidecar.
    distrust
        A list of labels that are neither learnt from nor scored; None takes those that were not trusted when
        the table was filled.
    images_beside
        The file whose folder the images are named from; None: as when the table was filled.
    allow_outside
        Whether ``image_path`` may lead out of the table's folder.
    progress
        Whether bars are drawn.
    """

    filled: Path | None = None
    original: Path | None = None
    distrust: Path | None = None
    images_beside: Path | None = None
    allow_outside: bool = False
    progress: bool = False


def read_training_table(
    models: RunDirectory, run: RunDirectory, asked: FilledRequest, settings: FinalModelSettings
) -> tuple[Filled, Path]:
    """The table to learn from, and the file that tells its observed cells from filled ones.

    Parameters
    ----------
    models
        The run whose keypoint models and split are used.
    run
        The run in which the final network is trained, often the same.

    Raises
    ------
    ModelError
        If there is no filled table.
    DataError
        If the table is not the run's own, filled, or has no images.
    """
    models.require_stage(MODELS_STAGE)
    begun_with = models.input
    if models.without_images:
        raise DataError(
            f"the final network learns from images, and {begun_with.path}, which the run in {models.path} "
            f"was begun with, has none: add a column {IMAGE_COLUMN} or {IMAGE_PATH_COLUMN}, and run all "
            "stages in another --run-dir"
        )
    original, beside = asked.original, asked.images_beside
    if asked.filled is None and settings.labels != "filled":
        path = original = original or Path(begun_with.path)
    else:
        path = asked.filled or last_filled(run)
        beside = beside or filled_from(run, path)
    request = TableRequest(
        begun_with.size, models.framed, images_beside=beside,
        allow_outside=asked.allow_outside, filled=True, reading=reading_of(models),
    )  # fmt: skip
    table = read_filled(path, original, request, models.cache, progress=asked.progress)
    keypoints = load_about(models).keypoints
    if set(table.dataset.schema.keypoints) == set(keypoints):  # formats list them in orders of their own
        table = table.in_order_of(keypoints)
    told_by = provenance_path(path) if original is None else original
    _check_same_table(models, run, table, told_by)
    return _with_distrusted(run, table, asked.distrust), told_by


def with_labels(filled: Filled, settings: FinalModelSettings, training: Mask) -> Filled:
    """The table with its blank cells as `settings.labels` says; simple ways learn from training rows (n,)."""
    if settings.labels == "filled":
        return filled
    labels = filled.labels
    for method in SIMPLE_METHODS:
        if method == settings.labels:
            labels = fill_simply(labels, method, learn_from=training)
    return replace(filled, dataset=relabelled(filled.dataset, labels), sigma=np.zeros(filled.sigma.shape))


def relabelled(dataset: ImageDataset, labels: Array) -> ImageDataset:
    """The table with other labels (n, K, 2), in px of the frame."""
    return replace(dataset, table=replace(dataset.table, labels=dataset.in_own_px(labels)))


def last_filled(run: RunDirectory) -> Path:
    """The table that `impute` wrote last; raises `ModelError` if the run has filled none."""
    stage = run.last_finished("impute")
    if stage is None:
        raise ModelError(
            f"{run.path} has not filled a table yet: run `labelfill impute` first, or pass --filled TABLE"
        )
    return run.path / str(run.stages[stage]["inputs"]["out"])


def filled_from(run: RunDirectory, path: Path) -> Path | None:
    """The file whose folder the images of this table are named from, if `impute` wrote it."""
    results = run.stages.get(f"impute {run.recorded_path(path)}", {}).get("results", {})
    beside = results.get("images_beside", results.get("original"))
    return None if beside is None else Path(beside)


def _with_distrusted(run: RunDirectory, filled: Filled, distrust: Path | None) -> Filled:
    """The filled table with the labels that are not to be trusted: by the list given, else the filling's."""
    table = filled.dataset.table
    if distrust is None:
        distrust = distrust_path(table.path)
        outputs = run.stages.get(f"impute {run.recorded_path(table.path)}", {}).get("outputs", {})
        # One that another filling of this name left behind does not count.
        if not distrust.is_file() or sha256_file(distrust) not in outputs.values():
            return filled
    distrusted = read_distrust(distrust, table) & filled.observed.any(axis=2)
    return replace(filled, dataset=replace(filled.dataset, distrusted=distrusted))


def _check_same_table(models: RunDirectory, run: RunDirectory, filled: Filled, told_by: Path) -> None:
    """Refuse a table that is not the run's own, filled, or of which `told_by` does not name every fill.

    The run's split would not fit its rows, or fills would be scored as labels.
    """
    dataset = filled.dataset
    path, schema = dataset.table.path, load_about(models).schema
    if dataset.schema != replace(schema, mirror_shift=dataset.schema.mirror_shift):
        raise DataError(
            f"{path} has different keypoints or images than the run in {models.path}; "
            "use the --run-dir in which it was filled"
        )
    found = split_inputs(dataset, filled.observed)
    split_of = models.split_of or found
    if found["images"] != split_of.get("images"):
        raise DataError(
            f"{path} has other images than {models.input.path}, whose rows the run in "
            f"{models.path} divides into training and held-out ones: fill that table, or train "
            "keypoint models on this one's original in another --run-dir"
        )
    wrote_both = any(
        {sha256_file(path), sha256_file(told_by)} <= set(stage["outputs"].values())
        for name, stage in run.stages.items()
        if name.startswith("impute ")
    )
    if found["observed"] != split_of.get("observed") and not wrote_both:
        raise DataError(
            f"{told_by} and {path} do not belong together: their observed cells are not those of "
            f"{models.input.path}, the table of the run in {models.path}; run "
            "`labelfill impute` again, or pass the table before filling with --data ORIGINAL"
        )


@dataclass(frozen=True)
class Filled:
    """A filled table that knows which of its coordinates were observed.

    Attributes
    ----------
    observed
        (n, K, 2): which coordinates a person made.
    sigma
        (n, K), px of the frame: stated for fills; 0 where a fill is to be trusted like a label.
    confirmed
        (n, K): fills that a person confirmed; None if there are none.
    harmonised
        Whether disputed keypoints stand in one convention in all rows.
    """

    dataset: ImageDataset
    observed: Mask
    sigma: Array
    confirmed: Mask | None = None
    harmonised: bool = False

    @property
    def labels(self) -> Array:
        """(n, K, 2), px: observed and confirmed coordinates only."""
        known = self.observed if self.confirmed is None else self.observed | self.confirmed[..., None]
        return np.where(known, self.dataset.labels, np.nan)

    @property
    def complete(self) -> Mask:
        """(n,): rows of which a person labelled everything."""
        complete: Mask = np.all(self.observed, axis=(1, 2))
        return complete

    def in_order_of(self, keypoints: tuple[str, ...]) -> Filled:
        """The same with its keypoints in another order."""
        order = [self.dataset.schema.keypoints.index(keypoint) for keypoint in keypoints]
        return replace(
            self,
            dataset=ImageDataset.of(self.dataset.in_order_of(keypoints)),
            observed=self.observed[:, order],
            sigma=self.sigma[:, order],
            confirmed=None if self.confirmed is None else self.confirmed[:, order],
        )


def read_filled(
    path: Path, original: Path | None, request: TableRequest, cache: Path | None, *, progress: bool = False
) -> Filled:
    """Read a filled table, and its sidecar or the table before it was filled.

    Parameters
    ----------
    request
        If it does not name what the images lie beside, they lie beside `original`.
    cache
        Keeps what was read; None: nothing is kept.

    Raises
    ------
    DataError
        If the sidecar is missing or belongs to another file, or `original` is another table.
    """
    asked = replace(request, images_beside=request.images_beside or original)
    dataset = ImageDataset.of(read_dataset(path, asked, cache_dir=cache, show_progress=progress))
    if original is not None:
        return _by_original(dataset, original)
    sidecar = provenance_path(path)
    if not sidecar.is_file():
        raise DataError(
            f"{path} has no sidecar {sidecar.name} that distinguishes filled from observed cells; "
            "put it next to the table, or pass the table before filling with --data ORIGINAL"
        )
    return _by_sidecar(dataset, sidecar)


def _by_original(dataset: ImageDataset, original: Path) -> Filled:
    table, reading = dataset.table, dataset.reading
    # Where points of any likelihood are read, those that are not sure enough can be told from blanks.
    however_likely = reading.min_likelihood is not None
    before = read_keypoints(original, filled=however_likely, require_images=False, reading=reading)
    if before.keypoints != dataset.schema.keypoints or before.rows != table.rows:
        raise DataError(
            f"{original} is not {table.path} before it was filled: it has {before.rows} rows and "
            f"{len(before.keypoints)} keypoints, not {table.rows} and {dataset.schema.count}"
        )
    if reading.coordinates != "px":
        before = in_px(before, table.stated_sizes, reading)
    observed = before.observed
    if reading.min_likelihood is not None:  # what is not sure enough was left as it stood, not filled
        unsure = unsure_points(before, reading.min_likelihood)[..., None]
        observed = observed & ~unsure
        dataset = _without(dataset, unsure & (np.abs(before.labels - table.labels) < 1e-9))
    altered = observed & ~(np.abs(before.labels - table.labels) < 1e-9)
    if altered.any():
        row, k, axis = (int(i[0]) for i in np.nonzero(altered))
        raise DataError(
            f"{original} is not {table.path} before it was filled: row {row} (line {table.lines[row]}), "
            f"column {dataset.schema.columns[2 * k + axis]!r} was {before.labels[row, k, axis]:g} and is "
            f"{table.labels[row, k, axis]:g}"
        )
    return Filled(dataset, observed, np.zeros(observed.shape[:2]))


def _without(dataset: ImageDataset, cells: Mask) -> ImageDataset:
    """The table without some of its coordinates (n, K, 2)."""
    labels = np.where(cells, np.nan, dataset.table.labels)
    return replace(dataset, table=replace(dataset.table, labels=labels))


def _by_sidecar(dataset: ImageDataset, sidecar: Path) -> Filled:
    table, index = dataset.table, {name: k for k, name in enumerate(dataset.schema.keypoints)}
    observed = table.observed.copy()
    sigma, confirmed, harmonised = np.zeros(observed.shape[:2]), np.zeros(observed.shape[:2], bool), False
    # What is added to a JSON file may take lines of its own, and entries after it begin in other lines.
    lines_stay, held = KINDS[table.format].lines_stay, KINDS[table.format].held(table)
    with open(sidecar, newline="", encoding="utf-8", errors="surrogateescape") as file, reading_csv(sidecar):
        reader = csv.DictReader(file)
        header = tuple(reader.fieldnames or ())
        if header != PROVENANCE_COLUMNS:
            raise DataError(
                f"{sidecar}, line 1: {differing_column(header, PROVENANCE_COLUMNS)}; it is not a sidecar of "
                "labelfill, or has been changed: run `labelfill impute` again"
            )
        for number, entry in enumerate(reader, 2):
            try:
                row, k = int(entry["row"]), index[entry["keypoint"]]
                xy = np.array([float(entry["x"]), float(entry["y"])])
                sigma[row, k] = float(entry["sigma"])
                new = np.array([axis in entry["filled"] for axis in "xy"])
                matches = int(entry["line"]) == table.lines[row] or not lines_stay
                off = np.abs(table.labels[row, k] - held(row, xy))
                matches &= bool((off[new] < 6e-5).all()) and new.any()
            except (KeyError, ValueError, IndexError, TypeError):
                matches = False
            if not matches:
                raise DataError(
                    f"{sidecar}, line {number}, does not match {table.path}: it belongs to another file, or "
                    "one of the two was changed; run `labelfill impute` again, or pass the table before "
                    "filling with --data ORIGINAL"
                )
            observed[row, k] &= ~new
            harmonised |= entry["method"] == "harmonised"
            if entry["method"] == "confirmed":
                confirmed[row, k], sigma[row, k] = True, 0.0  # as good as a label
    if dataset.reading.min_likelihood is not None:  # what is not sure enough and was not filled
        blank = unsure_points(table, dataset.reading.min_likelihood)[..., None] & observed
        dataset, observed = _without(dataset, blank), observed & ~blank
    return Filled(dataset, observed, dataset.lengths_in_frame(sigma), confirmed, harmonised)
