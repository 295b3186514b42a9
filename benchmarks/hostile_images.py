"""Odd and hostile image files, each looked at by `labelfill inspect`: seconds and memory.

A file is read as the other decoder reads it, or refused in a sentence; what it takes is told beside what one
good image takes. Nothing may take 2 s or 300 MB more.
"""

from __future__ import annotations

import io
import statistics
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image

from benchmarks.measuring import Ended, labelfill, parser
from labelfill.errors import EXIT_DONE, DataError, StorageError
from tests.data.test_image_kinds import GREY, READ, REFUSED

_MOST_SECONDS, _MOST_BYTES = 2.0, 300e6
_REPEATS = 3


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(header: bytes, *chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


def _saved(kind: str, image: Image.Image, **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def _small() -> Image.Image:
    return Image.fromarray(GREY)


_HEADER = struct.pack(">IIBBBBB", 9, 6, 8, 0, 0, 0, 0)
_PIXELS = _chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in GREY)))
FURTHER: dict[str, Callable[[], bytes]] = {
    "profile.png": lambda: _png(_HEADER, _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 29))), _PIXELS),
    "text.png": lambda: _png(_HEADER, _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 29))), _PIXELS),
    "claims.png": lambda: _png(struct.pack(">IIBBBBB", 1 << 30, 1 << 30, 8, 0, 0, 0, 0), _PIXELS),
    "none.png": lambda: _png(struct.pack(">IIBBBBB", 0, 6, 8, 0, 0, 0, 0), _PIXELS),
    "more.png": lambda: _png(_HEADER, _chunk(b"IDAT", zlib.compress(bytes(1 << 29)))),
    "exif.png": lambda: _png(_HEADER, _chunk(b"eXIf", b"MM\0*" + bytes(60_000)), _PIXELS),
    "claims.jpg": lambda: _saved("JPEG", _small()).replace(b"\x00\x06\x00\x09", b"\xff\xff\xff\xff"),
    "claims.bmp": lambda: _saved("BMP", _small())[:18] + struct.pack("<ii", 1 << 30, 1 << 30)
    + _saved("BMP", _small())[26:],
    "claims.gif": lambda: b"GIF89a\xff\xff\xff\xff" + _saved("GIF", _small())[10:],
    "claims.pgm": lambda: b"P5 900000 900000 255\n" + bytes(100),
    "claims.tif": lambda: _saved("TIFF", _small()).replace(
        struct.pack("<HHII", 256, 4, 1, 9), struct.pack("<HHII", 256, 4, 1, 1 << 31)
    ),
    "circle.tif": lambda: b"II*\0\x08\0\0\0" + struct.pack("<H", 0) + struct.pack("<I", 8),
    "picture.svg.png": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>",
    "page.ps.png": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 6\n(x) run\n",
    "zeros.png": lambda: bytes(1 << 20),
}  # fmt: skip


def write_files(folder: Path) -> list[Path]:
    """Every file, each in a folder of its own under the name by which it is told."""
    written = []
    for number, parameter in enumerate(READ):
        name, write = parameter.values
        path = folder / f"{parameter.id or number}" / name
        path.parent.mkdir()
        write(path)
        written.append(path)
    for name, make in {**{name: refused[0] for name, refused in REFUSED.items()}, **FURTHER}.items():
        path = folder / f"harmful {name}" / name
        path.parent.mkdir()
        path.write_bytes(make())
        written.append(path)
    return written


def looked_at(image: Path) -> Ended:
    table = image.parent / "t.csv"
    table.write_text(f"a_x,a_y,image_path\n1,1,{image.name}\n")
    allowed = (EXIT_DONE, DataError.exit_code, StorageError.exit_code)
    return labelfill("inspect", table, "--json", allowed=allowed)


def main() -> None:
    parser(__doc__, "python -m benchmarks.hostile_images").parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "good").mkdir()
        _small().save(folder / "good" / "good.png")
        good = [looked_at(folder / "good" / "good.png") for _ in range(_REPEATS)]
        seconds = statistics.median(ended.seconds for ended in good)
        memory = max(ended.peak_memory for ended in good)
        print(f"one good image: {seconds:.1f} s, {memory / 1e6:.0f} MB")
        worst = [0.0, 0.0]
        count, harmful = 0, []
        # Making them takes more memory than reading them, and a process begins with that of its parent.
        with ProcessPoolExecutor(1) as maker:
            images = maker.submit(write_files, folder).result()
        for image in images:
            ended = looked_at(image)
            further = ended.seconds - seconds, ended.peak_memory - memory
            worst = [max(pair) for pair in zip(worst, further, strict=True)]
            count += 1
            if further[0] > _MOST_SECONDS or further[1] > _MOST_BYTES:
                harmful.append(image.parent.name)
            print(
                f"{image.parent.name:40} {further[0]:+6.1f} s {further[1] / 1e6:+7.0f} MB  exit {ended.code}"
            )
    print(f"{count} files; at most {worst[0]:+.1f} s and {worst[1] / 1e6:+.0f} MB beside the good one")
    if harmful:
        sys.exit(f"too much: {', '.join(harmful)}")


if __name__ == "__main__":
    main()
