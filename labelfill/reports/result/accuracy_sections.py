"""Sections of the report on held-out rows: errors beside the simple ways, calibration, what radii find."""

from __future__ import annotations

import numpy as np

from labelfill.errors import counted
from labelfill.regressors.held_out import COVERAGES
from labelfill.reports.pages import Child, Markup, element, note, paragraph, section, table
from labelfill.reports.plots import Line, share_curves
from labelfill.reports.result.held_out import HeldOut, binomial_interval, covered, found_by_radius
from labelfill.schema import KeypointSchema


def accuracy_section(held: HeldOut, schema: KeypointSchema) -> Markup:
    """RMSE of every way per keypoint, the best of each line marked."""
    ways = list(held.answers)
    inside = held.errors() <= held.radius[:, COVERAGES.index(0.9)]
    rows: list[list[Child]] = []
    for k in np.unique(held.keypoint).tolist():
        points = held.keypoint == k
        errors = _marked([held.rmse(way, k) for way in ways])
        rows.append([schema.keypoints[k], f"{int(points.sum()):,}", *errors, f"{inside[points].mean():.0%}"])
    errors = _marked([held.rmse(way) for way in ways])
    rows.append(["all", f"{len(held):,}", *errors, f"{inside.mean():.0%}"])
    about = (
        f"RMSE per coordinate in px, on {counted(len(np.unique(held.row)), 'row')} held out of training "
        "(validation and evaluation rows). Their labels were hidden in the same patterns as in the rows to "
        "be filled. All methods fill the same points; the simple ones use labels only, not the images. The "
        "best of each row is bold; the last column is the share of fills within their 90% radius."
    )
    missing = "KNN and iterative imputation were left out: they need scikit-learn and few columns."
    left_out = None if {"knn", "iterative"} <= set(ways) else note(missing)
    numbers = tuple(range(1, len(ways) + 3))
    return section(
        "Errors of the fills, compared with simple methods",
        note(about),
        table(("keypoint", "points", *ways, "within radius"), rows, numbers=numbers),
        left_out,
    )


def _marked(values: list[float]) -> list[Child]:
    best = min(value for value in values if value == value)
    return [
        element("span", f"{value:.2f}", class_="best" if value == best else None) if value == value else ""
        for value in values
    ]


def calibration_section(held: HeldOut) -> Markup:
    """How often error radii hold, against how often they should."""
    share = covered(held)
    low, high = binomial_interval(share, len(held))
    rows = [
        (f"{wanted:.0%}", f"{found:.1%}", f"{a:.1%} to {b:.1%}")
        for wanted, found, a, b in zip(COVERAGES, share, low, high, strict=True)
    ]
    nine = COVERAGES.index(0.9)
    plot = share_curves(
        [Line(COVERAGES, share, low=low, high=high)],
        "nominal coverage of the radius",
        "observed coverage",
        "Calibration: " + ", ".join(f"{wanted} nominal, {found} observed" for wanted, found, _ in rows),
        diagonal=True,
    )
    about = (
        f"Of {counted(len(held), 'held-out point')}, {share[nine]:.1%} lie within their 90% radius. Bars are "
        "95% confidence intervals; on the dotted line, observed and nominal coverage agree."
    )
    figures = table(("nominal", "observed", "95% interval"), rows, numbers=(0, 1, 2))
    beside = element("div", plot, figures, class_="beside")
    return section("Do the error radii hold?", paragraph(about), beside)


def ranking_section(held: HeldOut) -> Markup:
    """How many of the large errors are among the points with the largest radii."""
    title = "Do large radii find large errors?"
    looked, found = found_by_radius(held)
    count = int((held.errors() > held.large).sum())
    if not count:
        return section(title, paragraph(f"No held-out fill is off by more than {held.large:.1f} px."))
    tenth = float(np.interp(0.1, looked, found))
    plot = share_curves(
        [Line(looked, found, "largest radii first"), Line([0, 1], [0, 1], "random order")],
        "share of fills checked",
        f"share of errors above {held.large:.1f} px",
        f"Checking the 10% with the largest radii finds {tenth:.0%} of the large errors",
    )
    about = (
        f"{counted(count, 'held-out fill')} of {len(held):,} {'is' if count == 1 else 'are'} off by more "
        f"than {held.large:.1f} px. The 10% of fills with the largest radii contain {tenth:.0%} of them; "
        "labelfill review shows large radii first."
    )
    return section(title, paragraph(about), plot)
