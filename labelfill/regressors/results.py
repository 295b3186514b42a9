"""What the first stage tells of itself: figures for people, the manifest and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelfill.data.dataset import Dataset
from labelfill.regressors.cross_fitting import Calibrated
from labelfill.regressors.setup import Setup
from labelfill.regressors.source_audit import Audit
from labelfill.regressors.trainable import Trainable
from labelfill.runs import PART_NAMES
from labelfill.sources.conventions import ConventionOffset
from labelfill.sources.preparation import LOW_DATA


def stage_results(
    setup: Setup, audit: Audit, trainable: Trainable, calibrated: Calibrated, copied: Mapping[int, int]
) -> dict[str, Any]:
    schema, figures = setup.dataset.schema, calibrated.figures
    names, labels, filled = schema.keypoints, trainable.labels, trainable.keypoints.tolist()
    members = [figures[k] for k in filled if k in figures]
    return {
        "rows": setup.dataset.table.rows,
        **without_images_or_frame(setup.dataset),
        "rows per part": rows_per_part(setup),
        "sources": rows_per_source(setup),
        "convention offsets": [_described_offset(offset, setup) for offset in audit.offsets],
        "mirror partners": "used" if setup.partners is not None else "not used",
        "mirror shift": round(schema.mirror_shift, 2),
        "regressors": [names[k] for k in filled],
        "left blank": [names[k] for k in sorted(trainable.skipped)],
        **copies_of(names, copied),
        "low data": [names[k] for k in filled if labels[k] < LOW_DATA],
        "cross-fitted rmse": _pooled(members, "cross-fitted rmse"),
        "cross-fitted rmse of the prior": _pooled(members, "cross-fitted rmse of the prior"),
        "keypoints": {names[k]: {"labels": int(labels[k]), **figures.get(k, {})} for k in filled},
        "doubtful labels": int(trainable.doubtful.sum()),
    }


def without_images_or_frame(dataset: Dataset) -> dict[str, Any]:
    return {
        **({} if dataset.images is not None else {"without images": True}),
        **({} if dataset.placements is None else {"frame": str(dataset.schema.image_size)}),
    }


def copies_of(names: Sequence[str], copied: Mapping[int, int]) -> dict[str, dict[str, int]]:
    """Keypoints left blank of which identical images label some points; nothing if there are none."""
    return {"copied": {names[k]: points for k, points in copied.items()}} if copied else {}


def rows_per_part(setup: Setup) -> dict[str, int]:
    parts = setup.preparation.parts
    return {name: int((parts == part).sum()) for part, name in enumerate(PART_NAMES)}


def rows_per_source(setup: Setup) -> dict[str, int]:
    prep = setup.preparation
    return {name: int((prep.group_of == g).sum()) for g, name in enumerate(prep.groups.names)}


def _described_offset(offset: ConventionOffset, setup: Setup) -> dict[str, Any]:
    """A convention offset for people and reports."""
    names, low_high = setup.preparation.groups.names, offset.interval.round(3)
    return {
        "keypoint": setup.dataset.schema.keypoints[offset.keypoint],
        "source": names[offset.group],
        "reference": names[offset.reference],
        "offset": offset.mean.round(3).tolist(),
        "interval": {"x": low_high[:, 0].tolist(), "y": low_high[:, 1].tolist()},
        "rows": offset.rows,
        "remaining sigma": np.sqrt(offset.noise).round(3).tolist(),
    }


def _pooled(figures: list[dict[str, float]], name: str) -> float | None:
    """The root of the mean of squares of a figure of keypoints, by their rows."""
    usable = [keypoint for keypoint in figures if name in keypoint]
    if not usable:
        return None
    rows = "cross-fitted rows"
    total = sum(keypoint[rows] for keypoint in usable)
    return float(np.sqrt(sum(keypoint[name] ** 2 * keypoint[rows] for keypoint in usable) / total))
