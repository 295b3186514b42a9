"""The second stage: every blank coordinate filled, every other byte as it was, and where fills come from."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from labelfill.arrays import Mask
from labelfill.data.distrust import distrust_bytes, named_labels
from labelfill.data.formats import in_unit_of, write_found
from labelfill.data.table import FoundPoints, compressed_writer, write_filled
from labelfill.errors import real_path
from labelfill.filling.fill import expected_fills, fill
from labelfill.filling.fills import Filling, FillMethod, OwnFills, in_own_px
from labelfill.filling.job import FillingJob
from labelfill.filling.provenance import (
    provenance_path,
    review_order,
    write_parquet,
    write_provenance,
    write_review,
)
from labelfill.filling.quality import by_source, median_share, quality_word, write_sources
from labelfill.filling.request import FillRequest
from labelfill.networks.devices import Computing, keep_threads
from labelfill.regressors.files import load_models, model_id
from labelfill.runs import RunDirectory
from labelfill.runs.engines import LOCAL, Engine
from labelfill.sources.conventions import Sources
from labelfill.sources.groups import UNKNOWN


@dataclass(frozen=True)
class ImputeSummary:
    """What `impute` did, in numbers.

    Attributes
    ----------
    left_blank, left_blank_keypoints
        Cells, over all and by keypoint, that nothing was found for, or that are withheld.
    kept_occluded
        Points left blank because the table declares them hidden.
    distrusted
        Labels that were marked as wrong: they stay in the table, and nothing was concluded from them.
    rejected, too_uncertain
        Cells withheld because a person rejected the fill, or because its radius is larger than asked for.
    median_radius_share
        The median radius as a share of the longer side of each row's image.
    quality
        What that is called: ``good``, ``fair`` or ``rough``.
    image_size
        Of all images; empty if they differ, or if there are none.
    to_review
        Points that the review list names.
    by_source
        What holds for all fills of a source and keypoint, as in ``<out>.sources.csv``.
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
    distrusted: int = 0
    left_blank_keypoints: dict[str, int] = field(default_factory=dict)
    rejected: int = 0
    too_uncertain: int = 0
    methods: dict[str, int] = field(default_factory=dict)
    unknown_source_rows: int = 0
    median_radius: float | None = None
    median_radius_share: float | None = None
    quality: str = ""
    image_size: str = ""
    to_review: int = 0
    by_source: list[dict[str, Any]] = field(default_factory=list, repr=False)
    further: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    inference_seconds: float = 0.0
    rows_per_second: float = 0.0
    state: str = "fresh"


def impute(
    run: RunDirectory, job: FillingJob, *, progress: bool = False, engine: Engine = LOCAL
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
    state = run.begin_stage(job.stage, job.inputs, job.force)
    if state == "done":
        return _done_before(run, job)
    keep_threads(run, job.stage)
    request = FillRequest.of(job.dataset, load_models(run, job.device), job.settings)
    inferring = time.perf_counter()
    found = fill(request, Computing(job.device, progress, engine))
    inferred = time.perf_counter() - inferring
    found_in_own_px = in_own_px(found, job.dataset)
    kept = _kept(job, found_in_own_px)
    models = request.models
    entries = by_source(job.dataset, kept.fills, kept.groups, models.sources.groups, models.ensemble.radii)
    written = _write(run, job, kept, models.sources, entries)
    seconds = time.perf_counter() - begun
    summary = replace(
        count_fills(job, found_in_own_px, kept, request.hidden),
        by_source=entries,
        state=state,
        seconds=round(seconds, 2),
        inference_seconds=round(inferred, 2),
        rows_per_second=round(job.dataset.table.rows / max(seconds, 1e-9), 1),
    )
    run.finish_stage(job.stage, results={**vars(summary), **_written_from(job, written)})
    return summary


def _done_before(run: RunDirectory, job: FillingJob) -> ImputeSummary:
    """What an earlier filling told, with the places where its files are now."""
    before = run.stages[job.stage]["results"]
    known = {field.name: before[field.name] for field in fields(ImputeSummary) if field.name in before}
    return replace(
        ImputeSummary(**known),
        out=str(job.out),
        provenance=str(provenance_path(job.out)),
        # What an earlier version did not write is not there.
        further={path: what for path, what in _further(job).items() if Path(path).exists()},
        state="done before",
    )


def _written_from(job: FillingJob, sha256: str) -> dict[str, str]:
    """What later stages need to know of the table that was filled."""
    dataset = job.dataset
    return {
        "original": str(real_path(dataset.table.path)),
        "images_beside": str(real_path(dataset.images_beside or dataset.table.path)),
        "table": sha256,
    }


def describe_filling(run: RunDirectory, job: FillingJob) -> Mapping[str, Any]:
    """Which cells `impute` would fill and which would stay blank, and the files it would write.

    Raises
    ------
    UsageError
        As `impute` would.
    """
    standing = run.standing(job.stage, job.inputs, job.force)
    request = FillRequest.of(job.dataset, load_models(run, job.device), job.settings)
    expected = in_own_px(expected_fills(request), job.dataset)
    counts = count_fills(job, expected, _kept(job, expected), request.hidden)
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


def _kept(job: FillingJob, found: Filling[OwnFills]) -> Filling[OwnFills]:
    """The fills less those that a person rejected or that are too uncertain."""
    most, blank = job.settings.max_radius, ~job.dataset.table.labelled
    fills = found.fills.without(job.rejected | found.fills.too_uncertain(most))
    harmonised = found.harmonised
    if harmonised is not None:
        harmonised = harmonised.without((job.rejected | harmonised.too_uncertain(most)) & blank)
    return Filling(fills, found.groups, harmonised)


def count_fills(
    job: FillingJob, found: Filling[OwnFills], kept: Filling[OwnFills], hidden: Mask
) -> ImputeSummary:
    """Figures of what was found, of what is kept of it, and of points (n, K) that are declared hidden."""
    fills, dataset, names = kept.fills, job.dataset, job.dataset.schema.keypoints
    blank = np.isnan(dataset.table.labels)
    taken_back = np.isfinite(found.fills.xy) & ~np.isfinite(fills.xy)
    left = blank & ~np.isfinite(fills.xy)
    occluded = hidden & left.any(axis=2)
    left &= ~occluded[..., None]
    share = median_share(fills.radius, dataset)
    uniform = dataset.images is not None and dataset.placements is None
    return ImputeSummary(
        out=str(job.out),
        provenance=str(provenance_path(job.out)),
        rows=dataset.table.rows,
        observed=int((~blank).sum()),
        filled=int(np.isfinite(fills.xy).sum()),
        left_blank=int(left.sum()),
        kept_occluded=int(occluded.sum()),
        distrusted=0 if dataset.distrusted is None else int(dataset.distrusted.sum()),
        left_blank_keypoints={names[k]: int(left[:, k].sum()) for k in range(len(names)) if left[:, k].any()},
        rejected=int((taken_back & job.rejected[..., None]).sum()),
        too_uncertain=int((taken_back & ~job.rejected[..., None]).sum()),
        methods=_method_counts(fills),
        unknown_source_rows=int(((kept.groups == UNKNOWN) & blank.any(axis=(1, 2))).sum()),
        median_radius=_median_radius(fills),
        median_radius_share=share,
        quality="" if share is None else quality_word(share),
        image_size=str(dataset.schema.image_size) if uniform else "",
        to_review=len(review_order(fills.radius, fills.flags).points),
        further=_further(job),
    )


def _further(job: FillingJob) -> dict[str, str]:
    return {str(path): what for what, path in job.outputs.items() if what not in ("table", "provenance")}


def _write(
    run: RunDirectory,
    job: FillingJob,
    kept: Filling[OwnFills],
    sources: Sources,
    entries: Sequence[Mapping[str, Any]],
) -> str:
    """Write every output; they appear together, the table last, whose SHA-256 this is."""
    dataset, outputs, model = job.dataset, job.outputs, model_id(run)
    fills, harmonised = kept.fills, kept.harmonised
    with run.outputs(job.stage, list(outputs.values()), overwrite=job.force) as opened:
        files = dict(zip(outputs, opened, strict=True))
        if "distrusted labels" in files:
            assert dataset.distrusted is not None
            files["distrusted labels"].write(distrust_bytes(named_labels(dataset.distrusted, dataset.table)))
        if harmonised is not None:
            moved = harmonised.method == FillMethod.HARMONISED
            write_provenance(files["provenance of the harmonised table"], dataset, harmonised, sources, model)
            places = in_unit_of(
                dataset.table,
                FoundPoints(harmonised.xy, harmonised.score(dataset), dataset.own_sizes, model),
            )
            with compressed_writer(files["every keypoint in one convention"], job.out.name) as plain:
                write_filled(dataset.table, places.xy, plain, moved=moved, decimals=places.decimals)
        if "provenance as Parquet" in files:
            write_parquet(files["provenance as Parquet"], dataset, fills, sources, model)
        write_sources(files["every source and keypoint"], entries)
        write_review(files["what to look at first"], dataset, fills)
        write_provenance(files["provenance"], dataset, fills, sources, model)
        points = FoundPoints(fills.xy, fills.score(dataset), dataset.own_sizes, model)
        return write_found(
            dataset.table, points, files["table"], job.out.name, likelihood=job.settings.likelihood
        )


def _method_counts(fills: OwnFills) -> dict[str, int]:
    counts = {method.word: int((fills.method == method).sum()) for method in FillMethod}
    return {word: count for word, count in counts.items() if word and count}


def _median_radius(fills: OwnFills) -> float | None:
    radii = fills.radius[fills.filled]
    return float(np.median(radii).round(2)) if len(radii) else None
