"""Coverage-guided fuzzing of the readers (atheris): whatever the bytes, a sentence or an intact file.

Readers: delimited (tables, packed or not), coco, label-studio and deeplabcut. Half of the mutations of JSON
are of its values, half of its bytes. Needs ``pip install atheris``. A finding is kept as ``crash-...`` in the
folder of inputs; put it into ``tests/data/fuzz_findings/`` as a regression case once it is mended.
"""

from __future__ import annotations

import gzip
import io
import logging
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["labelfill.data", "labelfill.errors"]):
    from labelfill.data import formats, images  # noqa: F401 - their modules are to be instrumented

from labelfill.data.synthetic import draw_table, write_table
from labelfill.schema import ImageSize
from tests.drawn_tables import check_refused_or_intact
from tests.hostile_files import SEEDS, check_refused_or_kept, mutated

DELIMITED = "delimited"
PLAIN = (
    b"a_x,a_y,Image\n1,2,0 1 2 3\n,nan,255 255 0 0\n",
    b'\xef\xbb\xbf"a_x";"a_y";note;Image\r\n"1";"";"x ""y""\r\n";"0"\r\n\r\n;2;;1\r\n',
    b"a_x\ta_y\tb_x\tb_y\timage_path\r\r\n1\t2\t\t\t../x.png\r\r\n",
    b"id,a_x,a_y\r1,6.5e1,-3.\r2,NA,null\r",
)


def seed_tables(folder: Path) -> None:
    """Small tables in every dress, for the fuzzer to begin with."""
    drawn = draw_table(3, 1, keypoints=("nose_tip", "left_eye_center"), image_size=ImageSize(4, 4), gaps=0.4)
    write_table(folder / "drawn", drawn)
    for number, text in enumerate((*PLAIN, (folder / "drawn").read_bytes())):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("t.csv", text)
        for kind, data in (("csv", text), ("gz", gzip.compress(text, mtime=0)), ("zip", packed.getvalue())):
            (folder / f"seed-{number}-{kind}").write_bytes(data)


def fuzz(reader: str, folder: Path, arguments: list[str]) -> None:
    """Fuzz one reader, from the inputs in a folder; does not return."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix, contents = SEEDS.get(reader, (".csv", ()))
    check: Callable[[Path], str] = check_refused_or_kept
    if reader == DELIMITED:
        seed_tables(folder)
        check = check_refused_or_intact
    for number, content in enumerate(contents):
        (folder / f"seed-{number}").write_bytes(content)
    beside = Path("/dev/shm") if os.path.isdir("/dev/shm") else None  # many small files: memory is quicker
    path = Path(tempfile.mkdtemp(prefix="fuzz-", dir=beside)) / f"t{suffix}"

    def one_input(data: bytes) -> None:
        path.write_bytes(data)
        check(path)

    mutator = {"custom_mutator": mutated_values} if suffix == ".json" else {}
    options = [f"-artifact_prefix={folder}/", "-max_len=4096", "-timeout=20", "-rss_limit_mb=2000"]
    atheris.Setup([sys.argv[0], *options, *arguments, str(folder)], one_input, **mutator)
    atheris.Fuzz()


def mutated_values(data: bytes, most: int, seed: int) -> bytes:
    """JSON with other values, or other bytes, of at most so many."""
    random = Random(seed)
    if random.random() < 0.5:
        try:
            other = mutated(data, random)
        except (ValueError, RecursionError):  # it is no JSON by now
            other = b""
        if 0 < len(other) <= most:
            return other
    changed: bytes = atheris.Mutate(data, most)
    return changed


def main(arguments: list[str]) -> None:
    logging.disable(logging.WARNING)
    reader, folder, *further = arguments
    if reader not in (DELIMITED, *SEEDS):
        sys.exit(f"{reader}: expected one of {', '.join((DELIMITED, *SEEDS))}")
    fuzz(reader, Path(folder), further)


if __name__ == "__main__":
    main(sys.argv[1:])
