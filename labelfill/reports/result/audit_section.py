"""The section of the report on label sources: who labels what, and which points mean different things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelfill.regressors.held_out import DisputedLabels
from labelfill.reports.faces import Points, box_around, face, key
from labelfill.reports.pages import Markup, element, paragraph, section, table
from labelfill.reports.result.held_out import RunTable
from labelfill.runs.randomness import random_key
from labelfill.sources.conventions import ConventionOffset

_SHOWN = 6
_SIDE = 0.5  # of a picture, in longer sides of the image


def audit_section(
    seen: RunTable, told: Sequence[Mapping[str, Any]], disputed: Sequence[DisputedLabels]
) -> Markup:
    """Sources with their rows, convention offsets with intervals, and pictures of both conventions.

    Parameters
    ----------
    told
        The claimed offsets as the first stage told them.
    disputed
        Of each offset, what labels of its group mean in the reference convention.
    """
    names = seen.sources.groups.names
    if len(names) < 2:
        return section(
            "Label sources", paragraph("One: all rows are taken to be labelled in the same sense.")
        )
    labelled = seen.dataset.table.labelled
    rows = []
    for number, name in enumerate(names):
        of = seen.groups == number
        usual = [
            k
            for k, share in zip(seen.schema.keypoints, labelled[of].mean(axis=0), strict=True)
            if share >= 0.5
        ]
        rows.append((name, f"{int(of.sum()):,}", ", ".join(usual) or "none"))
    parts: list[Markup] = [
        table(("source", "rows", "keypoints that most of its rows label"), rows, numbers=(1,))
    ]
    unknown = int((seen.groups < 0).sum())
    if unknown:
        parts.append(paragraph(f"{unknown:,} rows are of no known source."))
    if not told:
        parts.append(paragraph("No keypoint is disputed between them."))
    else:
        parts.append(_offsets(told))
    for offset, labels in zip(seen.sources.offsets, disputed, strict=False):  # earlier versions kept none
        parts += _both_conventions(seen, offset, labels)
    return section("Label sources and conventions", *parts)


def _offsets(told: Sequence[Mapping[str, Any]]) -> Markup:
    rows = []
    for one in told:
        (x, y), between = one["offset"], one["interval"]
        spans = [f"{low:+.1f} to {high:+.1f}" for low, high in (between["x"], between["y"])]
        mean, count = f"{x:+.1f}, {y:+.1f}", f"{one['rows']:,}"
        rows.append((one["keypoint"], one["source"], one["reference"], mean, *spans, count))
    header = (
        "disputed keypoint",
        "source",
        "against source",
        "offset x, y (px)",
        "99% interval x",
        "99% interval y",
        "rows",
    )
    return table(header, rows, numbers=(3, 4, 5, 6))


def _both_conventions(seen: RunTable, offset: ConventionOffset, disputed: DisputedLabels) -> list[Markup]:
    """The same faces with the point where this source marks it, and where the reference would."""
    k, size = offset.keypoint, seen.schema.image_size
    name, names = seen.schema.keypoints[k], seen.sources.groups.names
    random = np.random.default_rng(random_key(seen.seed, "report", "audit", k, offset.group))
    cards = []
    count = len(disputed.row)
    for i in np.sort(random.choice(count, min(_SHOWN, count), replace=False)).tolist():
        row = int(disputed.row[i])
        own, reference = seen.dataset.labels[row, [k]], disputed.reference[[i]]
        box = box_around((own + reference)[0] / 2, _SIDE * max(size.height, size.width), size)
        layers = [
            Points(own, [f"{name}, source {names[offset.group]}"], "label"),
            Points(reference, [f"{name}, source {names[offset.reference]}"], "filled"),
        ]
        about = f"row {row}: {name} in both conventions"
        picture = face(np.asarray(seen.dataset.images[row]), size, layers, about, box=box)
        cards.append(element("figure", picture, element("figcaption", f"row {row}")))
    return [
        element("h3", f"{name}, in both conventions"),
        key([
            ("label", f"as source {names[offset.group]} labels it"),
            ("filled", f"where source {names[offset.reference]} would, as labelfill finds it"),
        ]),
        element("div", *cards, class_="crops"),
    ]  # fmt: skip
