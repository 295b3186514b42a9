"""The embedded sample: drawn faces in Kaggle's schema whose every keypoint is known, and other drawn tables.

`draw_faces` gives pictures with landmarks, `draw_table` has them labelled by sources with missing patterns
and conventions of their own, `write_table` and `write_sample` write them down.
"""

from labelfill.data.synthetic.heads import KAGGLE_KEYPOINTS as KAGGLE_KEYPOINTS
from labelfill.data.synthetic.heads import LANDMARKS as LANDMARKS
from labelfill.data.synthetic.tables import KAGGLE_SOURCES as KAGGLE_SOURCES
from labelfill.data.synthetic.tables import LABEL_NOISE as LABEL_NOISE
from labelfill.data.synthetic.tables import SQUARE as SQUARE
from labelfill.data.synthetic.tables import DrawnFaces as DrawnFaces
from labelfill.data.synthetic.tables import DrawnTable as DrawnTable
from labelfill.data.synthetic.tables import Source as Source
from labelfill.data.synthetic.tables import draw_faces as draw_faces
from labelfill.data.synthetic.tables import draw_table as draw_table
from labelfill.data.synthetic.tables import source_of_rows as source_of_rows
from labelfill.data.synthetic.writing import SAMPLE_FILES as SAMPLE_FILES
from labelfill.data.synthetic.writing import SAMPLE_ROWS as SAMPLE_ROWS
from labelfill.data.synthetic.writing import write_sample as write_sample
from labelfill.data.synthetic.writing import write_table as write_table
