"""The second stage: every blank coordinate filled, every other byte as it was, and where fills come from."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from labelfill.anchors import Anchors, guessed_anchors, refined_anchors
from labelfill.coarse import needs_coarse
from labelfill.dataset import Dataset
from labelfill.ensemble import Ensemble, Regressor, answer_in_blocks
from labelfill.errors import ModelError, UsageError
from labelfill.images import exact_ids
from labelfill.model_files import STAGE as TRAINING_STAGE
from labelfill.model_files import Sources, load_ensemble, load_schema, model_id
from labelfill.patches import Pyramid
from labelfill.place import listed
from labelfill.preparation import LOW_DATA, declared_sources
from labelfill.runs import RunDirectory, json_value
from labelfill.settings import ImputeSettings
from labelfill.sources import UNKNOWN, ConventionOffset, least_offset
from labelfill.table import check_suffix, compressed_writer, coordinate_text, write_filled
from labelfill.training import choose_device

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_log = logging.getLogger("labelfill")

PROVENANCE_COLUMNS = (
    "row", "line", "keypoint", "x", "y", "filled", "method", "convention", "sigma", "radius", "model",
    "flags",
)  # fmt: skip
# A copied label is as exact as the annotator was.
_COPY_SIGMA = 0.5
# Rows of a source that the models have not met get radii this much wider: nothing measured them.
_UNKNOWN_SOURCE = 1.5
_IMPLAUSIBLE = 4.0


@dataclass(frozen=True)
class Fills:
    """What was found for the blank keypoints of a table.

    Attributes
    ----------
    xy
        (n, K, 2), px: finite where a blank coordinate is filled.
    sigma, radius
        (n, K), px: per coordinate; of the circle that holds the true position in 90% of cases.
    method
        (n, K): 0 not filled, else an index into `METHODS`.
    conventions
        (n, K): number of the group in whose convention it is filled.
    flags
        (n, K) lists of words, joined by spaces.
    """

    xy: Array
    sigma: Array
    radius: Array
    method: NDArray[np.int8]
    conventions: NDArray[np.int64]
    flags: NDArray[np.object_]


METHODS = ("", "regressor", "copy", "prior", "convention")


@dataclass(frozen=True)
class ImputeSummary:
    """What `impute` did, in numbers."""

    out: str
    provenance: str
    rows: int
    observed: int
    filled: int
    left_blank: int
    left_blank_keypoints: dict[str, int] = field(default_factory=dict)
    methods: dict[str, int] = field(default_factory=dict)
    unknown_source_rows: int = 0
    median_radius: float | None = None
    seconds: float = 0.0
    rows_per_second: float = 0.0
    state: str = "fresh"


def provenance_path(table: Path) -> Path:
    """The sidecar of a filled table: ``filled.csv`` -> ``filled.provenance.csv``."""
    name = table.name
    for suffix in (".csv.gz", ".csv", ".zip"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return table.with_name(f"{name}.provenance.csv")


def impute(
    run: RunDirectory,
    dataset: Dataset,
    out: Path,
    settings: ImputeSettings,
    *,
    device: str,
    force: bool = False,
    progress: bool = False,
) -> ImputeSummary:
    """Fill the blank coordinates of a table; write it and its sidecar.

    Raises
    ------
    ModelError
        If the models are missing, unfinished, or for other keypoints or images.
    UsageError
        If the output exists and is not this stage's, or would overwrite the input.
    """
    begun = time.perf_counter()
    run.require_stage(TRAINING_STAGE)
    chosen = choose_device(device)
    check_suffix(out.name)
    sidecar = provenance_path(out)
    for path in (out, sidecar):
        if path.resolve() == dataset.table.path.resolve():
            raise UsageError(
                f"--out {out} would write to {path}, the table that is read; give another file, "
                "the original is never changed"
            )
    dataset = _of_the_models_kind(run, dataset)
    stage = f"impute {run.recorded_path(out)}"
    inputs = {
        "table": dataset.table.content_sha256,
        "models": run.stage_fingerprint(TRAINING_STAGE),
        "settings": json_value(settings),
        "out": str(run.recorded_path(out)),
        "device": chosen.type,
    }
    # Refuse before hours of work, not after them, and before a stage is begun that cannot go on.
    run.check_outputs(stage, [sidecar, out], overwrite=force)
    state = run.begin_stage(stage, inputs, force)
    if state == "done":
        before = run.stages[stage]["results"]
        told = {one.name: before[one.name] for one in fields(ImputeSummary)}
        return ImputeSummary(**{**told, "out": str(out), "provenance": str(sidecar), "state": "done before"})
    ensemble, sources, audit = load_ensemble(run, chosen)
    fills, groups = fill(dataset, ensemble, sources, audit, settings, chosen, progress=progress)
    with run.outputs(stage, [sidecar, out], overwrite=force) as (provenance, table):
        write_provenance(provenance, dataset, fills, sources, model_id(run))
        with compressed_writer(table, out.name) as plain:
            written = write_filled(dataset.table, fills.xy, plain)
    seconds = time.perf_counter() - begun
    blank = np.isnan(dataset.table.labels)
    left = blank & ~np.isfinite(fills.xy)
    names = dataset.schema.keypoints
    summary = ImputeSummary(
        out=str(out),
        provenance=str(sidecar),
        rows=dataset.table.rows,
        observed=int((~blank).sum()),
        filled=written.cells_filled,
        left_blank=int(left.sum()),
        left_blank_keypoints={names[k]: int(left[:, k].sum()) for k in range(len(names)) if left[:, k].any()},
        methods=_method_counts(fills),
        unknown_source_rows=int(((groups == UNKNOWN) & blank.any(axis=(1, 2))).sum()),
        median_radius=_median_radius(fills),
        seconds=round(seconds, 2),
        rows_per_second=round(dataset.table.rows / max(seconds, 1e-9), 1),
        state=state,
    )  # fmt: skip
    results = {
        **vars(summary),
        "original": str(dataset.table.path.resolve()),
        "table": written.content_sha256,
    }
    run.finish_stage(stage, results=results)
    return summary


def _of_the_models_kind(run: RunDirectory, dataset: Dataset) -> Dataset:
    """The table with its keypoints in the models' order; refused if it has others, or other images."""
    schema = load_schema(run)
    path, own = dataset.table.path, dataset.schema
    if set(own.keypoints) != set(schema.keypoints):
        lacking, further = (
            listed([name for name in one if name not in other]) or "none"
            for one, other in ((schema.keypoints, own.keypoints), (own.keypoints, schema.keypoints))
        )
        raise ModelError(
            f"{path} has other keypoints than the models in {run.path} (it lacks {lacking}; only it has "
            f"{further}); train models for it in another --run-dir"
        )
    if own.image_size != schema.image_size:
        raise ModelError(
            f"{path} has images of {own.image_size}, the models in {run.path} are for {schema.image_size}; "
            "train models for it in another --run-dir"
        )
    order = [own.index(keypoint) for keypoint in schema.keypoints]
    labels, spans = dataset.table.labels[:, order], dataset.table.field_spans[:, order]
    table = replace(dataset.table, keypoints=schema.keypoints, labels=labels, field_spans=spans)
    return replace(dataset, table=table, schema=schema)


def _method_counts(fills: Fills) -> dict[str, int]:
    counts = {name: int((fills.method == number).sum()) for number, name in enumerate(METHODS) if number}
    return {name: count for name, count in counts.items() if count}


def _median_radius(fills: Fills) -> float | None:
    there = fills.method > 0
    return float(np.median(fills.radius[there]).round(2)) if there.any() else None


def fill(
    dataset: Dataset,
    ensemble: Ensemble,
    sources: Sources,
    audit: dict[int, Regressor],
    settings: ImputeSettings,
    device: torch.device,
    *,
    progress: bool = False,
) -> tuple[Fills, NDArray[np.int64]]:
    """Find every blank coordinate of a table; also (n,) the source group of each row."""
    table = dataset.table
    assert dataset.images is not None, "impute reads tables with images only"
    groups = sources.groups.assign(table.labelled, declared_sources(dataset, sources.groups))
    anchors = row_anchors(dataset, ensemble, sources, audit, groups, device, progress=progress)
    blank = ~table.labelled
    fillable = blank.copy()
    fillable[:, sources.skipped] = False
    if ensemble.calibration is None:
        fillable[:] = False
    rows = np.flatnonzero(fillable.any(axis=1))
    own = anchors.take(rows)
    # A half-labelled point is found as if it were not labelled, then conditioned on its known half.
    half = np.isfinite(table.labels[rows]).any(axis=2) & blank[rows]
    own = Anchors(own.xy, np.where(half[..., None], np.inf, own.noise))
    shape = blank.shape
    xy, sigma, radius = np.full((*shape, 2), np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    method = np.zeros(shape, np.int8)
    flags = np.full(shape, "", dtype=object)
    conventions = np.broadcast_to(sources.reference[None], shape).copy()
    if len(rows):
        assert ensemble.calibration is not None
        members = answer_in_blocks(
            ensemble, rows, own, fillable[rows], dataset.images, device, desc="fill", progress=progress
        )
        found, stated = ensemble.calibration.blend(members.xy, members.sigma)
        found, stated = (
            np.where(fillable[rows][..., None], found, np.nan),
            np.where(fillable[rows], stated, np.nan),
        )
        _condition_on_half(found, dataset.labels[rows], ensemble.calibration.correlation)
        wide = (
            np.where(groups[rows] == UNKNOWN, _UNKNOWN_SOURCE, 1.0)[:, None]
            if len(sources.groups.names) > 1
            else 1.0
        )
        factor = ensemble.calibration.radius_factor(settings.coverage)
        xy[rows], sigma[rows] = found, stated * wide
        radius[rows] = stated * wide * factor[None]
        method[rows] = np.where(fillable[rows], 1 if ensemble.patch else METHODS.index("prior"), 0)
    fills = Fills(xy, sigma, radius, method, conventions, flags)
    _into_own_convention(fills, sources.offsets, dataset.labels, groups)
    _copy_from_identical(fills, dataset, groups, sources)
    fills.xy[~np.isnan(table.labels)] = np.nan  # observed cells are sacred
    _flag(fills, dataset, ensemble, sources, groups, anchors)
    return fills, groups


def row_anchors(
    dataset: Dataset,
    ensemble: Ensemble,
    sources: Sources,
    audit: dict[int, Regressor],
    groups: NDArray[np.int64],
    device: torch.device,
    *,
    progress: bool = False,
) -> Anchors:
    """What every row knows of itself, in the reference convention; needy rows looked at as a whole."""
    labels = dataset.labels
    assert dataset.images is not None
    anchors = guessed_anchors(
        labels, groups, sources.offsets, sources.untested, least_offset(ensemble.prior.extent) ** 2
    )
    if audit:
        lookers = Ensemble(ensemble.schema, ensemble.prior, ensemble.partners, audit)
        wanted = np.zeros(labels.shape[:2], bool)
        for offset in sources.offsets:
            wanted[:, offset.keypoint] |= (groups == offset.group) & anchors.known[:, offset.keypoint]
        rows = np.flatnonzero(wanted.any(axis=1))
        members = answer_in_blocks(
            lookers, rows, anchors.take(rows), wanted[rows], dataset.images, device,
            desc="disputed anchors", progress=progress,
        )  # fmt: skip
        answers = {k: np.full((len(labels), 2), np.nan) for k in audit}
        for k in audit:
            answers[k][rows] = members.xy[2, :, k]
        anchors = refined_anchors(anchors, groups, sources.offsets, answers)
    if ensemble.coarse is None:
        return anchors
    needy = np.flatnonzero(needs_coarse(ensemble.prior, anchors, ~dataset.table.labelled, dataset.schema))
    for begin in range(0, len(needy), 1024):
        part = needy[begin : begin + 1024]
        completed = ensemble.coarse_anchors(
            np.arange(len(part)), anchors.take(part), Pyramid(dataset.images[part], device)
        )
        anchors.xy[part], anchors.noise[part] = completed.xy, completed.noise
    return anchors


def _condition_on_half(found: Array, labels: Array, correlation: Array) -> None:
    """Where one of x and y is known, move the other by what the known one's error tells of it."""
    for known, other in ((0, 1), (1, 0)):
        half = np.isfinite(labels[..., known]) & np.isnan(labels[..., other]) & np.isfinite(found[..., other])
        error = np.where(half, labels[..., known] - found[..., known], 0.0)
        found[..., other] += error * correlation[None]


def _into_own_convention(
    fills: Fills, offsets: list[ConventionOffset], labels: Array, groups: NDArray[np.int64]
) -> None:
    """A blank disputed cell is filled as its own row's source would label it."""
    for offset in offsets:
        k = offset.keypoint
        rows = np.flatnonzero((groups == offset.group) & (fills.method[:, k] > 0))
        if len(rows):
            fills.xy[rows, k] = offset.in_group(labels[rows], fills.xy[rows, k])
            # The way into the other convention is as uncertain as the offset varies.
            extra = float(offset.guess_variance.mean())
            grown = np.sqrt(fills.sigma[rows, k] ** 2 + extra)
            fills.radius[rows, k] *= grown / fills.sigma[rows, k]
            fills.sigma[rows, k] = grown
            fills.method[rows, k] = METHODS.index("convention")
            fills.conventions[rows, k] = offset.group


def _copy_from_identical(fills: Fills, dataset: Dataset, groups: NDArray[np.int64], sources: Sources) -> None:
    """An identical image that labels the keypoint in the same convention is the best fill there is."""
    assert dataset.images is not None
    labels, ids, observed = dataset.labels, exact_ids(dataset.images), dataset.table.observed
    _, which, counts = np.unique(ids, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[which.reshape(-1)] > 1)
    disputing = {(offset.group, offset.keypoint) for offset in sources.offsets}
    by_image: dict[int, list[int]] = {}
    for row in repeated.tolist():
        by_image.setdefault(int(ids[row]), []).append(row)
    for members in by_image.values():
        for k in range(labels.shape[1]):
            givers = [r for r in members if np.isfinite(labels[r, k]).all()]
            for row in members:
                if observed[row, k].all():
                    continue
                side = groups[row] if (int(groups[row]), k) in disputing else UNKNOWN
                same = [
                    r for r in givers
                    if (groups[r] if (int(groups[r]), k) in disputing else UNKNOWN) == side
                ]  # fmt: skip
                if same:
                    fills.xy[row, k] = np.median(labels[same, k], axis=0)
                    spread = float(np.sqrt(np.var(labels[same, k], axis=0).mean())) if len(same) > 1 else 0.0
                    fills.sigma[row, k] = max(_COPY_SIGMA, spread)
                    fills.radius[row, k] = 2.146 * fills.sigma[row, k]  # 90% of a round Gaussian
                    fills.method[row, k] = METHODS.index("copy")


def _flag(
    fills: Fills,
    dataset: Dataset,
    ensemble: Ensemble,
    sources: Sources,
    groups: NDArray[np.int64],
    anchors: Anchors,
) -> None:
    """Write down, for each fill, the words that send a person to look at it."""
    filled = fills.method > 0
    calibration = ensemble.calibration
    if calibration is None or not filled.any():
        return
    position = np.where(np.isnan(fills.xy), np.nan_to_num(dataset.labels), fills.xy)
    large = fills.radius > 2 * np.median(fills.radius[filled])
    off_image = ~dataset.schema.on_image(position)
    low = np.broadcast_to(calibration.rows[None] < LOW_DATA, filled.shape)
    labelled = dataset.table.labelled
    shifted = np.zeros(filled.shape, bool)
    for group in range(len(sources.groups.names)):
        members = groups == group
        never = ~labelled[members].any(axis=0) if members.any() else np.zeros(filled.shape[1], bool)
        shifted[np.ix_(members, never)] = True
    unknown = np.broadcast_to((groups == UNKNOWN)[:, None] & (len(sources.groups.names) > 1), filled.shape)
    expected = ensemble.prior.condition(anchors.xy, anchors.noise)
    away = np.linalg.norm(position - expected.xy, axis=2) / np.maximum(expected.sigma, 1e-6)
    implausible = (away > _IMPLAUSIBLE) & (fills.method == 1)
    words = (
        ("large-radius", large), ("implausible-shape", implausible), ("off-image", off_image),
        ("source-shift", shifted), ("low-data", low), ("unknown-source", unknown),
    )  # fmt: skip
    for word, where in words:
        for row, k in zip(*np.nonzero(where & filled), strict=True):
            fills.flags[row, k] = f"{fills.flags[row, k]} {word}".strip()


def write_provenance(out: BinaryIO, dataset: Dataset, fills: Fills, sources: Sources, model: str) -> None:
    """The sidecar: one line per filled keypoint, in row and keypoint order."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", errors="surrogateescape", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PROVENANCE_COLUMNS)
    for line in _provenance(dataset, fills, sources, model):
        writer.writerow(line)
    text.flush()
    text.detach()


def _provenance(dataset: Dataset, fills: Fills, sources: Sources, model: str) -> Iterator[list[str]]:
    table = dataset.table
    several = len(sources.groups.names) > 1
    for row, k in zip(*np.nonzero(np.isfinite(fills.xy).any(axis=2)), strict=True):
        new = np.isfinite(fills.xy[row, k])
        x, y = np.where(new, fills.xy[row, k], table.labels[row, k])
        yield [
            str(row), str(table.lines[row]), dataset.schema.keypoints[k],
            coordinate_text(x).decode(), coordinate_text(y).decode(),
            "xy" if new.all() else "x" if new[0] else "y",
            METHODS[fills.method[row, k]],
            sources.groups.names[fills.conventions[row, k]] if several else "",
            f"{fills.sigma[row, k]:.3f}", f"{fills.radius[row, k]:.3f}", model, fills.flags[row, k],
        ]  # fmt: skip
