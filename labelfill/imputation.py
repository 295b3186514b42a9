"""The second stage: every blank coordinate filled, every other byte as it was, and where fills come from."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfill.corrections import Corrections
from labelfill.dataset import Dataset
from labelfill.distrust import distrust_bytes, named_labels
from labelfill.errors import ModelError, UsageError
from labelfill.filling import Found, fill
from labelfill.fills import METHODS, Fills, too_uncertain, withhold
from labelfill.formats import FORMATS, TABLE, FoundPoints, check_out, write_found
from labelfill.model_files import STAGE as TRAINING_STAGE
from labelfill.model_files import Sources, load_distrusted, load_ensemble, load_schema, model_id
from labelfill.place import listed
from labelfill.preparation import distrust_inputs
from labelfill.provenance import (
    beside,
    distrust_path,
    harmonised_path,
    provenance_path,
    require_parquet,
    write_parquet,
    write_provenance,
    write_review,
)
from labelfill.reviewing import review_order
from labelfill.runs import RunDirectory, json_value
from labelfill.settings import ImputeSettings
from labelfill.sources import UNKNOWN
from labelfill.table import WrittenTable, compressed_writer, write_filled
from labelfill.training import choose_device, keep_threads

Mask = NDArray[np.bool_]

_log = logging.getLogger("labelfill")


@dataclass(frozen=True)
class ImputeSummary:
    """What `impute` did, in numbers.

    Attributes
    ----------
    left_blank, left_blank_keypoints
        Cells, over all and by keypoint, that nothing was found for, or that are withheld.
    kept_occluded
        Points left blank because the table declares them hidden.
    rejected, too_uncertain
        Cells withheld because a person rejected the fill, or because its radius is larger than asked for.
    to_review
        Points that the review list names.
    further
        What else was written beside the table: what it is by its path.
    """

    out: str
    provenance: str
    rows: int
    observed: int
    filled: int
    left_blank: int
    kept_occluded: int = 0
    left_blank_keypoints: dict[str, int] = field(default_factory=dict)
    rejected: int = 0
    too_uncertain: int = 0
    methods: dict[str, int] = field(default_factory=dict)
    unknown_source_rows: int = 0
    median_radius: float | None = None
    to_review: int = 0
    further: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    rows_per_second: float = 0.0
    state: str = "fresh"


@dataclass(frozen=True)
class _Job:
    """A table to fill, what a person said of it, and where the results go."""

    dataset: Dataset
    rejected: Mask
    out: Path
    settings: ImputeSettings

    @property
    def outputs(self) -> dict[str, Path]:
        """Every file that is written, by what it holds, in the order in which they appear."""
        out, dataset = self.out, self.dataset
        harmonised = harmonised_path(out)
        paths = {
            "distrusted labels": distrust_path(out),
            "provenance of the harmonised table": provenance_path(harmonised),
            "every keypoint in one convention": harmonised,
            "provenance as Parquet": beside(out, "provenance.parquet"),
            "what to look at first": beside(out, "review.csv"),
            "provenance": provenance_path(out),
            "table": out,
        }
        if dataset.distrusted is None or not dataset.distrusted.any():
            del paths["distrusted labels"]
        if not self.settings.harmonise:
            del paths["every keypoint in one convention"], paths["provenance of the harmonised table"]
        if not self.settings.parquet:
            del paths["provenance as Parquet"]
        return paths


def impute(
    run: RunDirectory,
    dataset: Dataset,
    out: Path,
    settings: ImputeSettings,
    *,
    corrections: Corrections | None = None,
    device: str,
    force: bool = False,
    progress: bool = False,
) -> ImputeSummary:
    """Fill the blank coordinates of a table; write it and its sidecars.

    Parameters
    ----------
    corrections
        A person's verdicts on an earlier filling of this table.

    Raises
    ------
    ModelError
        If the models are missing, unfinished, or for other keypoints or images.
    UsageError
        If an output exists and is not this stage's, or would overwrite the input.
    """
    begun = time.perf_counter()
    run.require_stage(TRAINING_STAGE)
    chosen = choose_device(device)
    check_out(dataset.table, out)
    if settings.harmonise and dataset.table.format != TABLE:
        raise UsageError(
            f"--harmonise works on tables; {dataset.table.path} is {FORMATS[dataset.table.format]}"
        )
    if settings.parquet:
        require_parquet()
    job = _job(run, dataset, out, settings, corrections)
    for path in job.outputs.values():
        if path.resolve() == dataset.table.path.resolve():
            raise UsageError(
                f"--out {out} would write to {path}, the table that is read; give another file, "
                "the original is never changed"
            )
    stage = f"impute {run.recorded_path(out)}"
    # Refuse before hours of work, not after them, and before a stage is begun that cannot go on.
    run.check_outputs(stage, list(job.outputs.values()), overwrite=force)
    state = run.begin_stage(stage, _inputs(run, job, chosen.type), force)
    if state == "done":
        before = run.stages[stage]["results"]
        told = {one.name: before[one.name] for one in fields(ImputeSummary) if one.name in before}
        now = {"out": str(out), "provenance": str(provenance_path(out)), "state": "done before"}
        return ImputeSummary(**{**told, "further": _further(job), **now})
    keep_threads(run, stage)
    ensemble, sources, audit = load_ensemble(run, chosen)
    found = fill(job.dataset, ensemble, sources, audit, settings, chosen, progress=progress)
    own = None if found.harmonised is None else found.harmonised.in_own_px(job.dataset)
    found = replace(found, fills=found.fills.in_own_px(job.dataset), harmonised=own)
    summary = _withheld(job, found)
    written = _write(run, stage, job, found, sources, force=force)
    seconds = time.perf_counter() - begun
    summary = replace(
        summary,
        state=state,
        seconds=round(seconds, 2),
        rows_per_second=round(dataset.table.rows / max(seconds, 1e-9), 1),
    )
    results = {
        **vars(summary),
        "original": str(dataset.table.path.resolve()),
        "images_beside": str((dataset.images_beside or dataset.table.path).resolve()),
        "table": written.content_sha256,
    }
    run.finish_stage(stage, results=results)
    return summary


def _job(
    run: RunDirectory, dataset: Dataset, out: Path, settings: ImputeSettings, corrections: Corrections | None
) -> _Job:
    """The table in the models' order of keypoints, with what is not to be trusted and what is confirmed."""
    distrusted = dataset.distrusted if dataset.distrusted is not None else load_distrusted(run, dataset)
    rejected = np.zeros(dataset.table.labels.shape[:2], bool)
    if corrections is not None:
        distrusted = corrections.wrong if distrusted is None else distrusted | corrections.wrong
        dataset = replace(dataset, confirmed=corrections.confirmed)
        rejected = corrections.rejected
    ordered = _of_the_models_kind(run, replace(dataset, distrusted=distrusted))
    order = [dataset.schema.index(keypoint) for keypoint in ordered.schema.keypoints]
    return _Job(ordered, rejected[:, order], out, settings)


def _inputs(run: RunDirectory, job: _Job, device: str) -> dict[str, Any]:
    """What decides the outputs; of the corrections only what they say, not where they stand."""
    inputs = {
        "table": job.dataset.table.content_sha256,
        "models": run.stage_fingerprint(TRAINING_STAGE),
        "settings": json_value(replace(job.settings, corrections=None)),
        "out": str(run.recorded_path(job.out)),
        "device": device,
        **distrust_inputs(job.dataset),
    }
    if job.rejected.any():
        inputs["rejected points"] = hashlib.sha256(np.packbits(job.rejected).tobytes()).hexdigest()
    return inputs


def _withheld(job: _Job, found: Found) -> ImputeSummary:
    """Take back what was rejected or is too uncertain, and count what then remains."""
    fills, dataset = found.fills, job.dataset
    blank = np.isnan(dataset.table.labels)
    uncertain = too_uncertain(fills, job.settings.max_radius) & ~job.rejected
    cells = [int((np.isfinite(fills.xy) & points[..., None]).sum()) for points in (job.rejected, uncertain)]
    withhold(fills, job.rejected | uncertain)
    if found.harmonised is not None:
        one = found.harmonised
        withhold(one, (job.rejected | too_uncertain(one, job.settings.max_radius)) & blank.any(axis=2))
    left = blank & ~np.isfinite(fills.xy)
    kept = np.zeros(left.shape[:2], bool)
    if dataset.occluded is not None and not job.settings.fill_occluded:
        kept = dataset.occluded & left.any(axis=2)
        left &= ~kept[..., None]
    names = dataset.schema.keypoints
    return ImputeSummary(
        out=str(job.out),
        provenance=str(provenance_path(job.out)),
        rows=dataset.table.rows,
        observed=int((~blank).sum()),
        filled=int(np.isfinite(fills.xy).sum()),
        left_blank=int(left.sum()),
        kept_occluded=int(kept.sum()),
        left_blank_keypoints={names[k]: int(left[:, k].sum()) for k in range(len(names)) if left[:, k].any()},
        rejected=cells[0],
        too_uncertain=cells[1],
        methods=_method_counts(fills),
        unknown_source_rows=int(((found.groups == UNKNOWN) & blank.any(axis=(1, 2))).sum()),
        median_radius=_median_radius(fills),
        to_review=len(review_order(fills.radius, fills.flags).points),
        further=_further(job),
    )


def _further(job: _Job) -> dict[str, str]:
    return {str(path): what for what, path in job.outputs.items() if what not in ("table", "provenance")}


def _write(
    run: RunDirectory, stage: str, job: _Job, found: Found, sources: Sources, *, force: bool
) -> WrittenTable:
    """Write every output; they appear together, the table last."""
    dataset, outputs, model = job.dataset, job.outputs, model_id(run)
    with run.outputs(stage, list(outputs.values()), overwrite=force) as opened:
        files = dict(zip(outputs, opened, strict=True))
        if "distrusted labels" in files:
            assert dataset.distrusted is not None
            labels = named_labels(dataset.distrusted, dataset.table)
            files["distrusted labels"].write(distrust_bytes(labels))
        if found.harmonised is not None:
            one = found.harmonised
            moved = one.method == METHODS.index("harmonised")
            harmonised = files["every keypoint in one convention"]
            write_provenance(files["provenance of the harmonised table"], dataset, one, sources, model)
            with compressed_writer(harmonised, job.out.name) as plain:
                write_filled(dataset.table, one.xy, plain, moved=moved)
        if "provenance as Parquet" in files:
            write_parquet(files["provenance as Parquet"], dataset, found.fills, sources, model)
        write_review(files["what to look at first"], dataset, found.fills)
        write_provenance(files["provenance"], dataset, found.fills, sources, model)
        points = FoundPoints(found.fills.xy, found.fills.score(dataset), dataset.own_sizes, model)
        return write_found(dataset.table, points, files["table"], job.out.name)


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
    return dataset.in_order_of(schema.keypoints)


def _method_counts(fills: Fills) -> dict[str, int]:
    counts = {name: int((fills.method == number).sum()) for number, name in enumerate(METHODS) if number}
    return {name: count for name, count in counts.items() if count}


def _median_radius(fills: Fills) -> float | None:
    there = fills.method > 0
    return float(np.median(fills.radius[there]).round(2)) if there.any() else None
