"""What a format is to the rest of labelfill: how it is told, read and filled, and what it can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelfill.arrays import Array
from labelfill.data.images.frames import Frames
from labelfill.data.reading_options import USUAL, ReadingOptions
from labelfill.data.table import FoundPoints, ImageSink, KeypointTable


@dataclass(frozen=True)
class Asked:
    """What is asked of a reader; see `labelfill.data.formats.read_keypoints`."""

    beside: Path | None = None
    filled: bool = False
    image_sink: ImageSink | None = None
    require_keypoints: bool = True
    require_images: bool = True
    reading: ReadingOptions = USUAL
    show_progress: bool = False


Held = Callable[[int, Array], Array]
"""From a row and a point (2,), px, to the point as a file holds it."""


def _as_found(table: KeypointTable) -> Held:
    return lambda row, xy: xy


def _itself(path: Path) -> Sequence[Path]:
    return (path,)


@dataclass(frozen=True)
class Kind:
    """A format.

    Attributes
    ----------
    title
        What sentences call it.
    suffix
        Of a filled copy; None: a table's, which may be packed.
    read
        Gives the table.
    begins
        Whether a file or folder is of this format, by its path and its first bytes (none of a folder).
    fill
        Gives the bytes of a filled copy; None: text is put in the place of blank fields.
    states_scores
        Whether a filled copy states the score of each fill by itself.
    lacks
        What a filled copy cannot state, as the answer to ``--likelihood``; empty if it can.
    in_px
        Whether it states px, so that no other unit can be asked for.
    lines_stay
        Whether a filled copy's rows begin in the lines in which the original's did.
    held
        How a filled copy holds points, where that is with less than four decimals.
    files
        Every file that is read of it, besides images.
    frames
        What reads images that are no files of their own, by the table and the file beside which others lie.
    """

    title: str
    suffix: str | None
    read: Callable[[Path, Asked], KeypointTable]
    begins: Callable[[Path, bytes], bool]
    fill: Callable[[KeypointTable, FoundPoints], Iterable[bytes]] | None = None
    states_scores: bool = False
    lacks: str = ""
    in_px: bool = False
    lines_stay: bool = True
    held: Callable[[KeypointTable], Held] = _as_found
    files: Callable[[Path], Sequence[Path]] = _itself
    frames: Callable[[KeypointTable, Path | None], Frames | None] | None = None
