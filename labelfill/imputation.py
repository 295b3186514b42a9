"""The second stage: every blank coordinate filled, every other byte as it was, and where fills come from."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from labelfill.dataset import Dataset
from labelfill.distrust import distrust_bytes, named_labels
from labelfill.errors import ModelError, UsageError
from labelfill.filling import METHODS, Fills, fill
from labelfill.model_files import STAGE as TRAINING_STAGE
from labelfill.model_files import load_distrusted, load_ensemble, load_schema, model_id
from labelfill.place import listed
from labelfill.preparation import distrust_inputs
from labelfill.provenance import distrust_path, provenance_path, write_provenance
from labelfill.runs import RunDirectory, json_value
from labelfill.settings import ImputeSettings
from labelfill.sources import UNKNOWN
from labelfill.table import check_suffix, compressed_writer, write_filled
from labelfill.training import choose_device

_log = logging.getLogger("labelfill")


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
    sidecar, untrusted = provenance_path(out), distrust_path(out)
    for path in (out, sidecar, untrusted):
        if path.resolve() == dataset.table.path.resolve():
            raise UsageError(
                f"--out {out} would write to {path}, the table that is read; give another file, "
                "the original is never changed"
            )
    dataset = _of_the_models_kind(run, dataset)
    if dataset.distrusted is None:
        dataset = replace(dataset, distrusted=load_distrusted(run, dataset))
    stage = f"impute {run.recorded_path(out)}"
    inputs = {
        "table": dataset.table.content_sha256,
        "models": run.stage_fingerprint(TRAINING_STAGE),
        "settings": json_value(settings),
        "out": str(run.recorded_path(out)),
        "device": chosen.type,
        **distrust_inputs(dataset),
    }
    # Refuse before hours of work, not after them, and before a stage is begun that cannot go on.
    distrusted = [] if dataset.distrusted is None else named_labels(dataset.distrusted, dataset.table)
    outputs = [*([untrusted] if distrusted else []), sidecar, out]
    run.check_outputs(stage, outputs, overwrite=force)
    state = run.begin_stage(stage, inputs, force)
    if state == "done":
        before = run.stages[stage]["results"]
        told = {one.name: before[one.name] for one in fields(ImputeSummary)}
        return ImputeSummary(**{**told, "out": str(out), "provenance": str(sidecar), "state": "done before"})
    ensemble, sources, audit = load_ensemble(run, chosen)
    fills, groups = fill(dataset, ensemble, sources, audit, settings, chosen, progress=progress)
    fills = fills.in_own_px(dataset)
    with run.outputs(stage, outputs, overwrite=force) as (*listed_labels, provenance, table):
        for file in listed_labels:
            file.write(distrust_bytes(distrusted))
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
    return dataset.in_order_of(schema.keypoints)


def _method_counts(fills: Fills) -> dict[str, int]:
    counts = {name: int((fills.method == number).sum()) for number, name in enumerate(METHODS) if number}
    return {name: count for name, count in counts.items() if count}


def _median_radius(fills: Fills) -> float | None:
    there = fills.method > 0
    return float(np.median(fills.radius[there]).round(2)) if there.any() else None
