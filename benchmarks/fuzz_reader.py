"""Coverage-guided fuzzing of the table reader (atheris): whatever the bytes, a sentence or an intact table.

Needs ``pip install atheris``. A finding is kept as ``crash-...`` in the folder of inputs; put it into
``tests/data/fuzz_findings/`` as a regression case once it is mended.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["labelfill.data.table", "labelfill.data.images", "labelfill.errors"]
):
    from labelfill.data import (
        images,  # noqa: F401 - their modules are to be instrumented
        table,  # noqa: F401 - their modules are to be instrumented
    )

from labelfill.data.synthetic import draw_table, write_table
from tests.drawn_tables import check_refused_or_intact

PLAIN = (
    b"a_x,a_y,Image\n1,2,0 1 2 3\n,nan,255 255 0 0\n",
    b'\xef\xbb\xbf"a_x";"a_y";note;Image\r\n"1";"";"x ""y""\r\n";"0"\r\n\r\n;2;;1\r\n',
    b"a_x\ta_y\tb_x\tb_y\timage_path\r\r\n1\t2\t\t\t../x.png\r\r\n",
    b"id,a_x,a_y\r1,6.5e1,-3.\r2,NA,null\r",
)


def seeds(folder: Path) -> None:
    """Small tables in every dress, for the fuzzer to begin with."""
    from labelfill.schema import ImageSize

    drawn = draw_table(3, 1, keypoints=("nose_tip", "left_eye_center"), image_size=ImageSize(4, 4), gaps=0.4)
    write_table(folder / "drawn", drawn)
    for number, text in enumerate((*PLAIN, (folder / "drawn").read_bytes())):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("t.csv", text)
        for kind, data in (("csv", text), ("gz", gzip.compress(text, mtime=0)), ("zip", packed.getvalue())):
            (folder / f"seed-{number}-{kind}").write_bytes(data)


def main(arguments: list[str]) -> None:
    folder = Path(arguments[1])
    folder.mkdir(parents=True, exist_ok=True)
    seeds(folder)
    beside = Path("/dev/shm") if os.path.isdir("/dev/shm") else None  # many small files: memory is quicker
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-", dir=beside))

    def one_input(data: bytes) -> None:
        (scratch / "t.csv").write_bytes(data)
        check_refused_or_intact(scratch / "t.csv")

    options = [f"-artifact_prefix={folder}/", "-max_len=4096", "-timeout=20", "-rss_limit_mb=2000"]
    atheris.Setup([arguments[0], *options, *arguments[2:], str(folder)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
