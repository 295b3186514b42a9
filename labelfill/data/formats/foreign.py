"""Files of keypoints that are no table of all images: told by their first bytes or lines, with what to do."""

from __future__ import annotations

import re
from pathlib import Path

from labelfill.errors import DataError

_ONE_IMAGE = "give one file of all images: a table with a row for each, or COCO keypoints"
_NUMBER = rb"[-+]?[\d.]+(?:[eE][-+]?\d+)?"
# How the first two lines of a file begin, what it is, and what to give instead.
_FOREIGN = (
    (rb"\x89HDF", "HDF5, as DeepLabCut's .h5 and SLEAP's .slp",
     "give DeepLabCut's csv beside it, or export a csv or COCO from SLEAP"),
    (rb"<[?!A-Za-z]", "XML, as CVAT and Pascal VOC write it", "export COCO keypoints, a .json"),
    (rb"version: ?\d+\nn_points:", "a .pts file of one image", _ONE_IMAGE),
    (rb"---(\s|$)|[A-Za-z_]\w*:( ?\[[^\n]*\]| [^,;\t\n]*)?(\n|$)", "YAML, which describes a data set",
     "give its labels"),
    (rb"\d+\n[A-Za-z_]\w*([ \t][A-Za-z_]\w*)+$", "a list whose first line is a count, as CelebA's",
     "take that line out, begin the next with image_path, and put commas in place of blanks"),
    (rb"%s( ?[ ,;\t] ?%s)+(\n|$)" % (_NUMBER, _NUMBER),
     "numbers without a header, as YOLO's label file of one image",
     "name the columns in a first line; " + _ONE_IMAGE),
)  # fmt: skip


def refuse_foreign(path: Path, begin: bytes) -> None:
    """Refuse what is known to be no table.

    Raises
    ------
    DataError
        Saying what it is, and what to give instead.
    """
    # Runs of blanks become one, so that no pattern can match them in many ways.
    lines = [re.sub(rb" +", b" ", line.strip()) for line in begin.lstrip().split(b"\n", 2)[:2]]
    for pattern, what, remedy in _FOREIGN:
        if re.match(pattern, b"\n".join(lines)):
            raise DataError(f"{path} is no table but {what}: {remedy}")
