"""Lists of labels that are not to be trusted: ``row,keypoint``, one label per line.

``row`` is the 0-based data row. Bytes of names that are not UTF-8 are written as they were read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from labelfill.runs import atomic_write

HEADER = ("row", "keypoint")


def write_distrust(path: Path, labels: Iterable[tuple[int, str]]) -> None:
    """Write (row, keypoint) pairs.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(labels)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode("utf-8", "surrogateescape"))
