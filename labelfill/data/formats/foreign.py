"""Files of keypoints that are no table of all images: told by how they begin, with what to give instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from labelfill.errors import DataError, listed

_ONE_IMAGE = "give one file of all images: a table with a row for each, or COCO keypoints"
_IMAGES = "give a table that names them in a column image_path, beside the labels"
_NUMBER = rb"[-+]?[\d.]+(?:[eE][-+]?\d+)?"
# How a file begins, what it is, and what to give instead.
_BINARY = (
    (rb"\x89HDF", "HDF5, as DeepLabCut's .h5",
     "give DeepLabCut's csv beside it; SLEAP's labels are named .slp, NWB .nwb, JABS' ..._pose_est_v5.h5"),
    (rb"MATLAB \d", "MATLAB's .mat", "write its labels as a csv table (writetable does)"),
    (rb"\x93NUMPY", "an array of numpy, a .npy", "write a csv table with a header of it"),
    (rb"\x80[\x02-\x05]", "a pickle, which is not opened, as it may run any program",
     "write a csv table of it (to_csv of pandas does)"),
    (rb"ARROW1|FEA1", "Arrow, as .feather files are", "write Parquet of it (to_parquet of pandas does)"),
    (rb"SQLite format 3\0", "a data base of SQLite", "export its table as csv"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or encrypted workbook of Excel",
     "save its sheet as CSV (UTF-8)"),
    (rb"%PDF-", "a PDF", "give the table that it shows as csv"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|BM(?s:.{4})\0{4}|II[*+]\0|MM\0[*+]|RIFF(?s:.{4})WEBP"
     rb"|\0\0(?s:..)ftyp(?:hei|mif|avif)",
     "an image", _IMAGES),
    (rb"\0\0(?s:..)ftyp|RIFF(?s:.{4})AVI |\x1a\x45\xdf\xa3", "a video",
     f"export its frames as images and {_IMAGES}"),
)  # fmt: skip
# The same of its first two lines.
_TEXT = (
    (rb"(?i:<!doctype html|<html)", "a web page, perhaps one that asks to log in",
     "download the file itself"),
    (rb"<[?!A-Za-z]", "XML, as CVAT and Pascal VOC write it", "export COCO keypoints, a .json"),
    (rb"[\[{]\s*[\[{\"]", "JSON",
     "name it .json, unpacked, if it holds COCO keypoints or Label Studio's tasks"),
    (rb"version: ?\d+\nn_points:", "a .pts file of one image", "give the folder of all such files"),
    (rb"---(\s|$)|[A-Za-z_]\w*:( ?\[[^\n]*\]| [^,;\t\n]*)?(\n|$)", "YAML, which describes a data set",
     "give its labels"),
    (rb"\d+\n[A-Za-z_]\w*([ \t][A-Za-z_]\w*)+$", "a list whose first line is a count, as CelebA's",
     "take that line out, begin the next with image_path, and put commas in place of blanks"),
    (rb"%s( ?[ ,;\t] ?%s)+(\n|$)" % (_NUMBER, _NUMBER),
     "numbers without a header, as YOLO's label file of one image",
     "name the columns in a first line; " + _ONE_IMAGE),
)  # fmt: skip
# The same of JSON: fields of the file's object, or of its first entry.
_JSON = (
    ({"shapes", "imagePath"}, "LabelMe's JSON of one image", _ONE_IMAGE),
    ({"people"}, "OpenPose's JSON of one image, a network's answers", "give labels"),
    ({"_via_img_metadata"}, "a project of VGG Image Annotator", "export COCO from it"),
    ({"filename", "regions"}, "VGG Image Annotator's JSON", "export COCO from it"),
    ({"joints"}, "MPII's JSON", "write a table of it, with columns <joint>_x, <joint>_y and image_path"),
    ({"image_id", "keypoints"}, "COCO's results, a network's answers",
     "give the file of annotations, with images and categories"),
    ({"annotation_id", "annotator"}, "Label Studio's JSON-MIN", "export JSON from it"),
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
    for patterns, text in ((_BINARY, begin), (_TEXT, b"\n".join(lines))):
        for pattern, what, remedy in patterns:
            if re.match(pattern, text):
                raise _no_table(path, what, remedy)


def refuse_foreign_json(path: Path, content: Any) -> None:
    """Refuse JSON that another program is known to write; errors as of `refuse_foreign`."""
    entries = list(content.values()) if isinstance(content, dict) else content
    for value in (content, *entries[:1]):
        for fields, what, remedy in _JSON:
            if isinstance(value, dict) and fields <= value.keys():
                raise _no_table(path, what, remedy)
    if isinstance(content, dict) and content.keys().isdisjoint(("images", "annotations", "categories")):
        what = f"JSON of another kind, with {listed([*content], 3)}" if content else "JSON that holds nothing"
        raise _no_table(path, what, "export COCO keypoints, or Label Studio's JSON")


def _no_table(path: Path, what: str, remedy: str) -> DataError:
    return DataError(f"{path} is no table but {what}: {remedy}")
