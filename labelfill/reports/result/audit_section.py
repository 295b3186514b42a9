"""The section of the report on label sources: who labels what, and which points mean different things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelfill.regressors.held_out import DisputedLabels
from labelfill.reports.faces import Points, box_around, face, key
from labelfill.reports.inspection.inspection import count_sources
from labelfill.reports.pages import Markup, element, figure, paragraph, section, table
from labelfill.reports.result.held_out import RunTable
from labelfill.runs.randomness import random_key
from labelfill.schema import AXES
from labelfill.sources.conventions import ConventionOffset

_SHOWN = 6
_SIDE = 0.5  # of a picture, in longer sides of the image


def audit_section(
    run_table: RunTable, claimed: Sequence[Mapping[str, Any]], disputed: Sequence[DisputedLabels]
) -> Markup:
    """Sources with their rows, convention offsets with intervals, and pictures of both conventions.

    Parameters
    ----------
    claimed
        The offsets as the first stage told them.
    disputed
        Of each offset, what labels of its group mean in the reference convention.
    """
    sources = count_sources(run_table.sources.groups, run_table.groups, run_table.dataset.table.labelled)
    if len(sources) < 2:
        return section(
            "Label sources", paragraph("One: all rows are assumed to follow the same labelling convention.")
        )
    rows = [
        (source.name, f"{source.rows:,}", source.usual_keypoints(run_table.schema.keypoints))
        for source in sources
    ]
    parts = [table(("source", "rows", "keypoints labelled in most of its rows"), rows, numbers=(1,))]
    unknown = int((run_table.groups < 0).sum())
    if unknown:
        parts.append(paragraph(f"{unknown:,} rows match no known source."))
    parts.append(_offsets(claimed) if claimed else paragraph("The sources agree on all tested keypoints."))
    for offset, labels in zip(
        run_table.sources.offsets, disputed, strict=False
    ):  # earlier versions kept none
        parts += _both_conventions(run_table, offset, labels)
    return section("Label sources and conventions", *parts)


def _offsets(claimed: Sequence[Mapping[str, Any]]) -> Markup:
    header = (
        "disputed keypoint",
        "source",
        "reference source",
        "offset x, y (px)",
        "99% interval x",
        "99% interval y",
        "rows",
    )
    rows = []
    for offset in claimed:
        x, y = offset["offset"]
        spans = [f"{low:+.1f} to {high:+.1f}" for low, high in map(offset["interval"].get, AXES)]
        names = (offset["keypoint"], offset["source"], offset["reference"])
        rows.append((*names, f"{x:+.1f}, {y:+.1f}", *spans, f"{offset['rows']:,}"))
    return table(header, rows, numbers=(3, 4, 5, 6))


def _both_conventions(
    run_table: RunTable, offset: ConventionOffset, disputed: DisputedLabels
) -> list[Markup]:
    """The same faces with the point where this source marks it, and where the reference would."""
    size, name = run_table.schema.image_size, run_table.schema.keypoints[offset.keypoint]
    group, reference = (run_table.sources.groups.names[g] for g in (offset.group, offset.reference))
    random = np.random.default_rng(
        random_key(run_table.seed, "report", "audit", offset.keypoint, offset.group)
    )
    cards = []
    count = len(disputed.row)
    for i in np.sort(random.choice(count, min(_SHOWN, count), replace=False)).tolist():
        row = int(disputed.row[i])
        label, found = run_table.dataset.labels[row, [offset.keypoint]], disputed.reference[[i]]
        box = box_around((label + found)[0] / 2, _SIDE * max(size.height, size.width), size)
        layers = [
            Points(label, [f"{name}, source {group}"], "label"),
            Points(found, [f"{name}, source {reference}"], "filled"),
        ]
        about = f"row {row}: {name} in both conventions"
        cards.append(figure(face(run_table.dataset.images[row], size, layers, about, box=box), f"row {row}"))
    markers = key([
        ("label", f"as source {group} labels it"),
        ("filled", f"where source {reference} would label it, as predicted by labelfill"),
    ])  # fmt: skip
    return [element("h3", f"{name}, in both conventions"), markers, element("div", *cards, class_="crops")]
