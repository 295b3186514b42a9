"""Reading and byte-exact writing of keypoint tables.

The format, as Kaggle's facial keypoints data ships it and as people's own tables vary it:

* one header record, then one record per image; ``.csv``, ``.csv.gz``, or a ``.zip`` with one csv;
* delimiter ``,``, ``;`` or tab, whichever splits the header into most ``_x``/``_y`` names; RFC 4180
  quotes; LF, CRLF, CR, CR CR LF and mixtures of them; a byte order mark; blank lines are no rows;
* ``<keypoint>_x`` and ``<keypoint>_y``: any finite number that `float` reads, in px; missing = empty,
  blanks, ``nan``, ``NA``, ``N/A`` or ``null`` in any case, quoted or not;
* ``Image``: grey values 0..255 separated by spaces, row by row; or ``image_path``: a file's name,
  relative to the table's folder;
* any other columns, carried through as they are; their bytes need not be UTF-8;
* one record is at most 64 MB.

`read_table` remembers where every coordinate field stood, and `write_filled` puts numbers into the
blank ones; no other byte changes.
"""

from __future__ import annotations

from labelfill.data.table.container import check_suffix as check_suffix
from labelfill.data.table.container import compressed_writer as compressed_writer
from labelfill.data.table.container import open_decompressed as open_decompressed
from labelfill.data.table.contents import KeypointTable as KeypointTable
from labelfill.data.table.contents import lacks_images as lacks_images
from labelfill.data.table.header import BOM as BOM
from labelfill.data.table.header import DELIMITERS as DELIMITERS
from labelfill.data.table.header import IMAGE_COLUMN as IMAGE_COLUMN
from labelfill.data.table.header import IMAGE_PATH_COLUMN as IMAGE_PATH_COLUMN
from labelfill.data.table.header import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from labelfill.data.table.header import Header as Header
from labelfill.data.table.header import NoImagesError as NoImagesError
from labelfill.data.table.header import image_question as image_question
from labelfill.data.table.header import is_grey_text as is_grey_text
from labelfill.data.table.header import named_image_column as named_image_column
from labelfill.data.table.header import read_header as read_header
from labelfill.data.table.header import without_images as without_images
from labelfill.data.table.likelihoods import LIKELIHOOD as LIKELIHOOD
from labelfill.data.table.likelihoods import PLAIN as PLAIN
from labelfill.data.table.likelihoods import HeaderKind as HeaderKind
from labelfill.data.table.likelihoods import fields_behind as fields_behind
from labelfill.data.table.likelihoods import likelihood_column as likelihood_column
from labelfill.data.table.likelihoods import likelihood_splices as likelihood_splices
from labelfill.data.table.reading import ImageSink as ImageSink
from labelfill.data.table.reading import ImageTexts as ImageTexts
from labelfill.data.table.reading import read_table as read_table
from labelfill.data.table.reading import refuse_blank_image_paths as refuse_blank_image_paths
from labelfill.data.table.tokenizer import Cursor as Cursor
from labelfill.data.table.writing import FoundPoints as FoundPoints
from labelfill.data.table.writing import Splices as Splices
from labelfill.data.table.writing import coordinate_text as coordinate_text
from labelfill.data.table.writing import coordinate_texts as coordinate_texts
from labelfill.data.table.writing import refuse_changed as refuse_changed
from labelfill.data.table.writing import send as send
from labelfill.data.table.writing import write_filled as write_filled
