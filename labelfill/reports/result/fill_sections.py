"""Sections of the report on a filled table: counts before and after, and the fills themselves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from labelfill.arrays import Integers
from labelfill.errors import counted
from labelfill.filling.quality import median_share, quality_sentence
from labelfill.reports.faces import Points, box_around, face, key
from labelfill.reports.pages import (
    Child,
    Markup,
    and_more,
    element,
    figure,
    joined,
    note,
    paragraph,
    section,
    table,
)
from labelfill.reports.result.filled_rows import FilledRows, doubt_of_points, flags_of_row, worst_rows
from labelfill.runs.randomness import random_key

_PAIRS = 6  # rows shown before and after
_SHEET = 16  # faces of each contact sheet
_CROPS = 300  # pictures of single fills, over all keypoints
_MOST_CROPS, _FEWEST_CROPS = 8, 2  # of each kind and keypoint
_CROP_SIDE = 0.36  # of the longer side
_SOURCE_ROWS = 15
_LEGEND = key([("label", "label in the table"), ("filled", "filled, in the circle of its error radius")])
_HOLDS = {
    "source-shift": "this source never labels it, so the radius cannot be verified",
    "low-data": "fewer than 50 labels to learn from",
    "unknown-source": "from a source that the models were not trained on",
}
_RADII_SHOWN = 2.6  # half of a crop, in radii, if these are larger


def before_and_after(filled: FilledRows) -> Markup | None:
    """A few rows as the table had them and as they are now, from the surest to the most doubtful."""
    order = worst_rows(np.where(filled.filled, doubt_of_points(filled), -np.inf))[::-1]
    if not len(order):
        return None
    shown, size = filled.in_frame(), filled.schema.image_size
    count = min(_PAIRS, len(order))
    cards = []
    for row in order[(np.arange(count) * 2 + 1) * len(order) // (2 * count)].tolist():
        labels, fills = _layers(shown, row)
        place, new = filled.place(row), int(filled.filled[row].sum())
        pictures = [
            face(filled.images[row], size, layers, f"{place}, {when}")
            for when, layers in (("before", [labels]), ("after", [fills, labels]))
        ]
        known = counted(int(np.isfinite(labels.xy).all(axis=1).sum()), "label")
        pair = element("div", *pictures, class_="pair")
        cards.append(figure(pair, element("strong", place), f": {known}, {counted(new, 'fill')}"))
    about = "From the most certain to the most doubtful row: the table on the left, the fills on the right."
    return section("Before and after", note(about), _LEGEND, element("div", *cards, class_="pairs"))


def counts_section(filled: FilledRows) -> Markup:
    """Labels before, fills by method, and what stayed blank."""
    there = filled.filled
    blank: NDArray[np.bool_] = np.any(np.isnan(filled.places), axis=2)
    methods = sorted({str(word) for word in filled.method[there]})
    header = ["keypoint", "labelled", *(f"filled: {word}" for word in methods), "left blank", "median radius"]
    rows: list[list[Child]] = []
    for k, name in enumerate(filled.schema.keypoints):
        radii = filled.radius[there[:, k], k]
        rows.append([
            name, f"{int(np.isfinite(filled.labels[:, k]).all(axis=1).sum()):,}",
            *(f"{int((filled.method[:, k] == word).sum()):,}" for word in methods),
            f"{int(blank[:, k].sum()):,}", f"{np.median(radii):.2f} px" if len(radii) else "",
        ])  # fmt: skip
    flags = [word for words in filled.flags[there] for word in str(words).split()]
    flagged = ", ".join(f"{flags.count(word):,} {word}" for word in sorted(set(flags)))
    return section(
        "Counts by keypoint",
        table(header, rows, numbers=tuple(range(1, len(header)))),
        paragraph(f"Flags of filled points: {flagged}.") if flags else None,
        _by_source(filled),
    )


def quality_of(filled: FilledRows) -> str:
    """A sentence on how good the fill is."""
    share = median_share(filled.radius, filled.dataset)
    if share is None:
        return "Nothing was filled."
    size = str(filled.schema.image_size) if filled.dataset.placements is None else None
    return f"The fill is {quality_sentence(float(np.nanmedian(filled.radius)), share, size)}."


def _by_source(filled: FilledRows) -> Markup | None:
    """Where errors are expected to cost most, and what holds for all fills of a source and keypoint."""
    if not filled.by_source:
        return None
    header = [
        "source",
        "keypoint",
        "fills",
        "flagged",
        "median radius",
        "share of error",
        "for all of them",
    ]
    rows = [
        [
            entry["source"], entry["keypoint"], f"{entry['points']:,}", f"{entry['flagged']:,}",
            f"{entry['median_radius']:.2f} px", f"{entry['error_share']:.1%}",
            "; ".join(_HOLDS[word] for word in entry["flags"].split()),
        ]
        for entry in filled.by_source[:_SOURCE_ROWS]
    ]  # fmt: skip
    about = "Sorted by their share of the total expected squared error, largest first."
    return joined([
        element("h3", "Sources and keypoints"), note(about), table(header, rows, numbers=(2, 3, 4, 5)),
        and_more(len(filled.by_source) - _SOURCE_ROWS, "line"),
    ])  # fmt: skip


def contact_sheets(filled: FilledRows, seed: int) -> Iterator[Markup]:
    """Random rows with fills, and the worst ones."""
    order = worst_rows(np.where(filled.filled, doubt_of_points(filled), -np.inf))
    if not len(order):
        return
    shown = filled.in_frame()
    random = np.random.default_rng(random_key(seed, "report", "contact sheet"))
    chosen = np.sort(random.choice(order, min(_SHEET, len(order)), replace=False))
    yield section("Fills: a random sample", _LEGEND, _sheet(shown, chosen))
    about = "Worst first, in the order of labelfill review, where you can accept, move or reject each fill."
    yield section("Fills: the most doubtful rows", note(about), _sheet(shown, order[:_SHEET]))


def _sheet(filled: FilledRows, rows: Integers) -> Markup:
    return element("div", *(_card(filled, row) for row in rows.tolist()), class_="faces large")


def _card(filled: FilledRows, row: int) -> Markup:
    radii, place = filled.radius[row, filled.filled[row]], filled.place(row)
    labels, fills = _layers(filled, row)
    flags = ", ".join(flags_of_row(filled, row))
    about = f", {counted(len(radii), 'fill')}, largest radius {radii.max():.1f} px" + (
        f"; {flags}" if flags else ""
    )
    picture = face(filled.images[row], filled.schema.image_size, [fills, labels], f"{place}{about}")
    return figure(picture, element("strong", place), about)


def _layers(filled: FilledRows, row: int) -> tuple[Points, Points]:
    """A row's labels, and its fills with their radii."""
    new, names = filled.filled[row][:, None], filled.schema.keypoints
    return (
        Points(np.where(new, np.nan, filled.labels[row]), names, "label"),
        Points(np.where(new, filled.places[row], np.nan), names, "filled", filled.radius[row]),
    )


def keypoint_fills_section(filled: FilledRows, seed: int) -> Markup | None:
    """For each keypoint fills of random rows and those with the largest radii, close up."""
    keypoints = np.flatnonzero(filled.filled.any(axis=0)).tolist()
    if not keypoints:
        return None
    shown = filled.in_frame()
    doubt = doubt_of_points(filled)
    each = int(np.clip(_CROPS // (2 * len(keypoints)), _FEWEST_CROPS, _MOST_CROPS))
    parts: list[Markup] = []
    for k in keypoints:
        rows = np.flatnonzero(filled.filled[:, k])
        random = np.random.default_rng(random_key(seed, "report", "fills", k))
        worst = rows[np.argsort(-doubt[rows, k], kind="stable")][:each]
        others = np.setdiff1d(rows, worst)
        drawn = np.sort(random.choice(others, min(each, len(others)), replace=False))
        crops = [_crop(shown, row, k, "doubtful") for row in worst.tolist()]
        crops += [_crop(shown, row, k, "random") for row in drawn.tolist()]
        name = filled.schema.keypoints[k]
        title = f"{name}: {len(rows):,} filled, median radius {np.median(filled.radius[rows, k]):.1f} px"
        parts += [element("h3", title), element("div", *crops, class_="crops")]
    about = (
        f"Close-ups for each keypoint: the {each} most doubtful fills (bold), then up to {each} random ones."
    )
    return section("Every keypoint's fills", note(about), *parts)


def _crop(filled: FilledRows, row: int, k: int, kind: str) -> Markup:
    size = filled.schema.image_size
    side = max(_CROP_SIDE * max(size.height, size.width), 2 * _RADII_SHOWN * filled.radius[row, k])
    box = box_around(filled.places[row, k], float(side), size)
    name = [filled.schema.keypoints[k]]
    layers = [Points(filled.places[row, [k]], name, "filled", filled.radius[row, [k]])]
    caption = f"row {row}, {filled.radius[row, k]:.1f} px"
    picture = face(filled.images[row], size, layers, f"{name[0]} of {caption} ({kind})", box=box)
    return figure(picture, element("strong", caption) if kind == "doubtful" else caption)
