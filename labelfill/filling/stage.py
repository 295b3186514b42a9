"""The second stage: every blank coordinate filled, every other byte as it was, and where fills come from."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from labelfill.data.distrust import distrust_bytes, named_labels
from labelfill.data.formats import write_found
from labelfill.data.table import FoundPoints, WrittenTable, compressed_writer, write_filled
from labelfill.filling.fill import Found, expected_fills, fill, hidden_points
from labelfill.filling.fills import FillMethod, Fills, too_uncertain, withhold
from labelfill.filling.job import FillingJob
from labelfill.filling.provenance import (
    provenance_path,
    review_order,
    write_parquet,
    write_provenance,
    write_review,
)
from labelfill.networks.devices import keep_threads
from labelfill.regressors.files import load_ensemble, model_id
from labelfill.runs import RunDirectory
from labelfill.runs.engines import LOCAL, Engine
from labelfill.sources.conventions import Sources
from labelfill.sources.groups import UNKNOWN

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
    inference_seconds
        The part of `seconds` in which fills were found; the rest is mostly writing them.
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
    inference_seconds: float = 0.0
    rows_per_second: float = 0.0
    state: str = "fresh"


def impute(
    run: RunDirectory,
    job: FillingJob,
    *,
    progress: bool = False,
    engine: Engine = LOCAL,
) -> ImputeSummary:
    """Fill the blank coordinates of a table; write it and its sidecars.

    Parameters
    ----------
    engine
        What answers for blocks of rows; it has no say in the answers.

    Raises
    ------
    UsageError
        If the output was filled from something else, and the job is not to start over.
    """
    begun = time.perf_counter()
    dataset, stage = job.dataset, job.stage
    state = run.begin_stage(stage, job.inputs, job.force)
    if state == "done":
        before = run.stages[stage]["results"]
        told = {one.name: before[one.name] for one in fields(ImputeSummary) if one.name in before}
        now = {"out": str(job.out), "provenance": str(provenance_path(job.out)), "state": "done before"}
        return ImputeSummary(**{**told, "further": _further(job), **now})
    keep_threads(run, stage)
    ensemble, sources, audit = load_ensemble(run, job.device)
    inferring = time.perf_counter()
    found = fill(
        dataset, ensemble, sources, audit, job.settings, job.device, progress=progress, engine=engine
    )
    inferred = time.perf_counter() - inferring
    own = None if found.harmonised is None else found.harmonised.in_own_px(dataset)
    found = replace(found, fills=found.fills.in_own_px(dataset), harmonised=own)
    summary = count_fills(job, found)
    written = _write(run, job, found, sources)
    seconds = time.perf_counter() - begun
    summary = replace(
        summary,
        state=state,
        seconds=round(seconds, 2),
        inference_seconds=round(inferred, 2),
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


def describe_filling(run: RunDirectory, job: FillingJob) -> Mapping[str, Any]:
    """Which cells `impute` would fill and which would stay blank, and the files it would write.

    Raises
    ------
    UsageError
        As `impute` would.
    """
    standing = run.standing(job.stage, job.inputs, job.force)
    ensemble, sources, _ = load_ensemble(run, job.device)
    counts = count_fills(job, expected_fills(job.dataset, ensemble, sources, job.settings))
    blank = np.isnan(job.dataset.table.labels).sum(axis=(0, 2))
    left = counts.left_blank_keypoints
    return {
        "state": standing.state,
        "starts over": standing.starts_over,
        "table": str(job.dataset.table.path),
        "rows": counts.rows,
        "observed": counts.observed,
        "filled": counts.filled,
        "keypoints": {
            name: int(blank[k]) - left.get(name, 0)
            for k, name in enumerate(job.dataset.schema.keypoints)
            if blank[k]
        },
        "left_blank": counts.left_blank,
        "left_blank_keypoints": left,
        "kept_occluded": counts.kept_occluded,
        "rejected": counts.rejected,
        "max_radius": job.settings.max_radius,
        "copies": counts.methods.get("copy", 0),
        "unknown_source_rows": counts.unknown_source_rows,
        "device": str(job.device),
        "writes": {what: str(path) for what, path in job.outputs.items()},
    }


def count_fills(job: FillingJob, found: Found) -> ImputeSummary:
    """Take back what was rejected or is too uncertain, and count what then remains.

    Points are in px of their own images.
    """
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
    hidden = hidden_points(dataset, job.settings)
    if hidden is not None:
        kept = hidden & left.any(axis=2)
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


def _further(job: FillingJob) -> dict[str, str]:
    return {str(path): what for what, path in job.outputs.items() if what not in ("table", "provenance")}


def _write(run: RunDirectory, job: FillingJob, found: Found, sources: Sources) -> WrittenTable:
    """Write every output; they appear together, the table last."""
    dataset, outputs, model = job.dataset, job.outputs, model_id(run)
    with run.outputs(job.stage, list(outputs.values()), overwrite=job.force) as opened:
        files = dict(zip(outputs, opened, strict=True))
        if "distrusted labels" in files:
            assert dataset.distrusted is not None
            labels = named_labels(dataset.distrusted, dataset.table)
            files["distrusted labels"].write(distrust_bytes(labels))
        if found.harmonised is not None:
            one = found.harmonised
            moved = one.method == FillMethod.HARMONISED
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


def _method_counts(fills: Fills) -> dict[str, int]:
    counts = {method.word: int((fills.method == method).sum()) for method in FillMethod}
    return {word: count for word, count in counts.items() if word and count}


def _median_radius(fills: Fills) -> float | None:
    there = fills.filled
    return float(np.median(fills.radius[there]).round(2)) if there.any() else None
