"""The embedded sample: drawn faces in Kaggle's schema whose every keypoint is known, and other drawn tables.

`draw_faces` gives pictures with landmarks, `draw_table` has them labelled by sources with missing patterns
and conventions of their own, `write_table` and `write_sample` write them down.
"""

from labelfill.data.synthetic.heads import KAGGLE_KEYPOINTS, LANDMARKS
from labelfill.data.synthetic.tables import (
    KAGGLE_SOURCES,
    LABEL_NOISE,
    SQUARE,
    DrawnFaces,
    DrawnTable,
    Source,
    draw_faces,
    draw_table,
    source_of_rows,
)
from labelfill.data.synthetic.writing import SAMPLE_FILES, SAMPLE_ROWS, write_sample, write_table

__all__ = [
    "KAGGLE_KEYPOINTS",
    "KAGGLE_SOURCES",
    "LABEL_NOISE",
    "LANDMARKS",
    "SAMPLE_FILES",
    "SAMPLE_ROWS",
    "SQUARE",
    "DrawnFaces",
    "DrawnTable",
    "Source",
    "draw_faces",
    "draw_table",
    "source_of_rows",
    "write_sample",
    "write_table",
]
