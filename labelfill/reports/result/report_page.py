"""The report of a run: what became of a table, with pictures, on one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from labelfill.data.dataset import ImageDataset
from labelfill.data.showing import require_matplotlib
from labelfill.errors import counted
from labelfill.filling.simple_ways import SIMPLE_METHODS
from labelfill.final.held_out import load_final_answers
from labelfill.final.model import STAGE as FINAL_STAGE
from labelfill.regressors.held_out import COVERAGES, load_disputed
from labelfill.regressors.unit_names import STAGE as MODELS_STAGE
from labelfill.reports.pages import Markup, page, plain, tiles
from labelfill.reports.result.accuracy_sections import accuracy_section, calibration_section, ranking_section
from labelfill.reports.result.audit_section import audit_section
from labelfill.reports.result.fill_sections import (
    before_and_after,
    contact_sheets,
    counts_section,
    keypoint_fills_section,
    quality_of,
)
from labelfill.reports.result.filled_rows import FilledRows
from labelfill.reports.result.held_out import HeldOut, covered, held_out_by_every_way, see_run_table
from labelfill.reports.result.network_sections import final_section, learning, learning_section, worst_cases
from labelfill.runs import RunDirectory


def run_report(run: RunDirectory, dataset: ImageDataset, filled: FilledRows | None) -> str:
    """The page as HTML, with a section for everything that the run has done.

    Parameters
    ----------
    dataset
        The table that the run was begun with.
    filled
        A table that it filled; None leaves out what is to be said of fills.

    Raises
    ------
    ModelError
        If the first stage is not finished, or its files are not as they should be.
    UsageError
        If matplotlib is not installed.
    """
    require_matplotlib()
    seen = see_run_table(run, dataset)
    held = held_out_by_every_way(run, seen)
    results = run.stages[MODELS_STAGE]["results"]
    final = run.stages.get(FINAL_STAGE, {}).get("results")
    sections: list[Markup | None] = [] if filled is None else [before_and_after(filled)]
    sections.append(tiles(_figures(results, filled, held, final)))
    if filled is not None:
        sections.append(counts_section(filled))
    if held is not None:
        sections += [accuracy_section(held, seen.schema), calibration_section(held), ranking_section(held)]
    sections.append(audit_section(seen, results["convention offsets"], load_disputed(run)))
    if filled is not None:
        sections += [*contact_sheets(filled, seen.seed), keypoint_fills_section(filled, seen.seed)]
    found = load_final_answers(run)
    if final is not None:
        sections.append(final_section(final))
    if found is not None:
        sections.append(worst_cases(found, seen))
    sections.append(learning_section(learning(run)))
    return page(f"Report of {plain(dataset.table.path.name)}", _sentences(filled, held, final), *sections)


def _sentences(filled: FilledRows | None, held: HeldOut | None, final: Mapping[str, Any] | None) -> str:
    """The most important figures in a few sentences."""
    sentences = []
    if filled is not None:
        new, left = int(filled.new.sum()), int(np.isnan(filled.places).sum())
        sentences.append(
            f"Of {filled.places.size:,} coordinates in {counted(len(filled.places), 'row')}, "
            f"{filled.places.size - new - left:,} were labelled, {new:,} were filled and {left:,} are still "
            "blank."
        )
        sentences.append(quality_of(filled))
    if held is not None:
        simple = {way: held.rmse(way) for way in held.answers if way in SIMPLE_METHODS}
        best = min(simple, key=lambda way: simple[way])
        sentences.append(
            f"On held-out rows the fills are off by {held.rmse():.2f} px (RMSE per coordinate; the best "
            f"simple method, {best}: {simple[best]:.2f} px), and {covered(held)[COVERAGES.index(0.9)]:.0%} "
            "of them lie within their 90% radius."
        )
    rmse = None if final is None else final.get("evaluation rmse", final.get("validation rmse"))
    if rmse is not None:
        sentences.append(f"The final network is off by {rmse:.2f} px on labels that it has not seen.")
    return " ".join(sentences) or "The keypoint models are trained; no table has been filled yet."


def _figures(
    results: Mapping[str, Any],
    filled: FilledRows | None,
    held: HeldOut | None,
    final: Mapping[str, Any] | None,
) -> Iterator[tuple[str, str]]:
    yield f"{results['rows']:,}", "rows"
    yield f"{len(results['sources']):,}", "label sources"
    yield f"{len(results['convention offsets']):,}", "convention offsets"
    if filled is not None:
        there = filled.filled
        yield f"{int(filled.new.sum()):,}", "coordinates filled"
        yield f"{int(np.isnan(filled.places).sum()):,}", "coordinates left blank"
        if there.any():
            yield f"{np.median(filled.radius[there]):.2f} px", f"median radius ({filled.coverage:.0%})"
    if held is not None:
        yield f"{held.rmse():.2f} px", "RMSE of fills, held out"
    if final is not None and "evaluation rmse" in final:
        yield f"{final['evaluation rmse']:.2f} px", "RMSE of the final network"
