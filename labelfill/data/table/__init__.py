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

from labelfill.data.table.container import (
    DecompressedReader,
    check_suffix,
    compressed_writer,
    open_decompressed,
)
from labelfill.data.table.header import (
    DELIMITERS,
    IMAGE_COLUMN,
    IMAGE_PATH_COLUMN,
    Header,
    NoImagesError,
    read_header,
    without_images,
)
from labelfill.data.table.reading import ImageSink, KeypointTable, read_table
from labelfill.data.table.tokenizer import MAX_RECORD_BYTES, Cursor
from labelfill.data.table.writing import WrittenTable, coordinate_text, write_filled

__all__ = [
    "DELIMITERS",
    "IMAGE_COLUMN",
    "IMAGE_PATH_COLUMN",
    "MAX_RECORD_BYTES",
    "Cursor",
    "DecompressedReader",
    "Header",
    "ImageSink",
    "KeypointTable",
    "NoImagesError",
    "WrittenTable",
    "check_suffix",
    "compressed_writer",
    "coordinate_text",
    "open_decompressed",
    "read_header",
    "read_table",
    "without_images",
    "write_filled",
]
