"""CelebA's list of landmarks, and lists like it: a count, names, then a line for each image.

``list_landmarks_align_celeba.txt``: the number of images; ``lefteye_x lefteye_y ...``; ``000001.jpg 69 109
...``, separated by blanks. Coordinates are whole px. The list has no word for a blank: ``nan`` stands for
one, and so does a placeholder that is declared by --missing-value. Images lie in ``img_align_celeba``:
--image-folder names it.

The format: https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from labelfill.data.formats.instances import PoseRow, table_of_rows
from labelfill.data.formats.kinds import Asked, Held, Kind
from labelfill.data.formats.pose_library import content_of
from labelfill.data.formats.text_sets import number, spliced
from labelfill.data.table import FoundPoints, KeypointTable, refuse_changed
from labelfill.errors import DataError, place
from labelfill.schema import AXES, coordinate_columns, keypoints_in_header

CELEBA = "celeba"
_BEGIN = re.compile(rb"\s*\d+[ \t]*\r?\n[ \t]*\w+_[xy](?:[ \t]+\w+_[xy])+[ \t]*\r?(?:\n|$)")
_WORD = re.compile(rb"[^ \t\r]+")

_log = logging.getLogger("labelfill")


def read_celeba(path: Path, asked: Asked) -> KeypointTable:
    """Read a list of landmarks.

    Raises
    ------
    DataError
        If a line has too few or too many words, or one is no number; names the line.
    """
    content, sha256 = content_of(path)
    lines = [line for line in _lines(content) if line.text.strip()]
    columns = tuple(word.decode("utf-8", "replace") for word in lines[1].text.split())
    try:
        keypoints = keypoints_in_header(columns)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    order = [columns.index(column) for column in coordinate_columns(keypoints)]
    rows, spans = [], np.zeros((max(len(lines) - 2, 0), len(keypoints), len(AXES), 2), np.int64)
    for row, line in enumerate(lines[2:]):
        where = place(path, row=row, line=line.number)
        words = [(line.begin + m.start(), line.begin + m.end()) for m in _WORD.finditer(line.text)]
        if len(words) != len(columns) + 1:
            raise DataError(
                f"{where}: found {len(words)} words, expected an image's name and {len(columns)} numbers"
            )
        values = [number(content[slice(*words[c + 1])], where, columns[c]) for c in order]
        name = content[slice(*words[0])].decode("utf-8", "surrogateescape")
        spans[row] = np.array([words[c + 1] for c in order]).reshape(-1, len(AXES), 2)
        rows.append(PoseRow(name, np.array(values).reshape(-1, len(AXES)), line=line.number))
    table = table_of_rows(path, CELEBA, sha256, keypoints, rows, length=len(content))
    return replace(table, field_spans=spans, columns=columns)


@dataclass(frozen=True)
class _Line:
    number: int
    begin: int
    text: bytes


def _lines(content: bytes) -> Iterator[_Line]:
    begin = 0
    for number_of_line, text in enumerate(content.split(b"\n"), 1):
        yield _Line(number_of_line, begin, text)
        begin += len(text) + 1


def _whole(table: KeypointTable) -> bool:
    """Whether the list holds whole px alone."""
    known = table.labels[table.observed]
    return bool((known == np.rint(known)).all())


def _held(table: KeypointTable) -> Held:
    whole = _whole(table)
    return lambda row, xy: np.rint(xy) + 0.0 if whole else xy


def filled_celeba(table: KeypointTable, found: FoundPoints) -> list[bytes]:
    """The list with fills in the place of blanks, whole px where all others are."""
    content, sha256 = content_of(table.path)
    refuse_changed(table, sha256)
    new, xy = found.new(table), found.xy
    if _whole(table) and new.any():
        found, xy = replace(found, decimals=0), np.rint(xy) + 0.0
        _log.warning(
            "%s: its coordinates are whole px, so fills are written as whole px, too; the sidecar holds "
            "every digit", table.path,
        )  # fmt: skip
    order = np.argsort(table.field_spans[new][:, 0], kind="stable")
    places = [(int(begin), int(end)) for begin, end in table.field_spans[new][order]]
    return [spliced(content, places, [found.text(value) for value in xy[new][order].tolist()])]


CELEBA_KIND = Kind(
    title="CelebA's list of landmarks",
    suffix=".txt",
    read=read_celeba,
    begins=lambda path, begin: _BEGIN.match(begin) is not None,
    fill=filled_celeba,
    lacks="has no place for scores",
    in_px=True,
    held=_held,
)
