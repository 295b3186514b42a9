"""Points that a person declares to count as blank: placeholders, and answers that are not sure enough."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from labelfill.arrays import Mask
from labelfill.data.formats.likelihoods import likelihoods
from labelfill.data.formats.visibility import NOT_LABELLED, visibility_columns
from labelfill.data.placeholders import half_placeholders
from labelfill.data.reading_options import ReadingOptions
from labelfill.data.table import KeypointTable

_log = logging.getLogger("labelfill")


def with_declared_blanks(table: KeypointTable, reading: ReadingOptions) -> KeypointTable:
    """The table with blanks where a placeholder stands, or a point of too small a likelihood.

    Only points count that have a placeholder in both coordinates.

    Raises
    ------
    DataError
        If likelihoods are asked for, and the table has none or something else in their place.
    """
    blank: Mask = np.zeros(table.labels.shape[:2], bool)
    for value in reading.missing_values:
        blank |= (table.labels == value).all(axis=2)
    if reading.min_likelihood is not None:
        blank |= unsure_points(table, reading.min_likelihood)
    half = half_placeholders(table, reading.missing_values)
    if half is not None:
        _log.warning("%s", half)
    if not blank.any():
        return table
    if table.declared_blank is not None:
        blank |= table.declared_blank
    labels = np.where(blank[..., None], np.nan, table.labels)
    return replace(table, labels=labels, declared_blank=blank, extra=_without_visibility(table, blank))


def unsure_points(table: KeypointTable, least: float) -> Mask:
    """(n, K): points of which the table states a likelihood that is less."""
    unsure: Mask = (likelihoods(table) < least) & table.observed.any(axis=2)
    return unsure


def _without_visibility(table: KeypointTable, blank: Mask) -> dict[str, list[str]]:
    """The other columns, in which no placeholder is visible or hidden."""
    extra = dict(table.extra)
    for k, column in enumerate(visibility_columns(table.keypoints)):
        if column in extra:
            extra[column] = [
                str(NOT_LABELLED) if none else text
                for text, none in zip(extra[column], blank[:, k].tolist(), strict=True)
            ]
    return extra
