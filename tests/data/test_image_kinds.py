"""Image files as people and cameras write them: the right grey, or a sentence; none that does harm."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from labelfill.data.images.decoding import UnusableError
from labelfill.data.images.pixels import bits_of, decoded
from tests.driving import labelfill

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 9), np.uint8)
COLOUR = RANDOM.integers(0, 256, (6, 9, 3), np.uint8)
WEIGHTS = np.array([0.2125, 0.7154, 0.0721])


def read_grey(path: Path) -> np.ndarray:
    """A file as a table of it alone would be read."""
    image = decoded(path)
    return image.grey(2.0 ** bits_of(image.largest) - 1)


def luminance(image: Image.Image) -> np.ndarray:
    """What Pillow makes of an image, as grey."""
    return np.asarray(image.convert("RGB")) @ WEIGHTS


def by_pillow(name: str, mode: str, **how: object) -> Callable[[Path], np.ndarray]:
    """Writes an image of a mode; gives what Pillow reads of it."""

    def write(path: Path) -> np.ndarray:
        image = Image.fromarray(COLOUR).convert(mode)
        image.save(path, **how)
        with Image.open(path) as read:
            return luminance(read)

    return pytest.param(name, write, id=f"{name}-{mode}-{how.get('compression', '')}")


def by_tifffile(name: str, array: np.ndarray, wanted: np.ndarray, **how: object) -> object:
    def write(path: Path) -> np.ndarray:
        tifffile.imwrite(path, array, **how)
        return wanted

    return pytest.param(name, write, id=name)


def few_bits(bits: int) -> Callable[[Path], np.ndarray]:
    def write(path: Path) -> np.ndarray:
        level = RANDOM.integers(0, 2**bits, (6, 8), np.uint8)
        Image.fromarray((level * (255 // (2**bits - 1))).astype(np.uint8)).save(path, bits=bits)
        with Image.open(path) as read:
            return luminance(read)

    return write


DEEP = RANDOM.integers(0, 4096, (6, 9), np.uint16)
READ = [
    *(by_pillow("a.png", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "LA")),
    *(by_pillow("a.jpg", mode) for mode in ("L", "RGB", "CMYK", "YCbCr")),
    *(by_pillow("a.tif", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr")),
    *(by_pillow("a.tif", "RGB", compression=packed) for packed in ("tiff_lzw", "jpeg", "packbits")),
    *(by_pillow("a.gif", mode) for mode in ("L", "P")),
    *(by_pillow(name, "RGB") for name in ("a.bmp", "a.webp", "a.ppm", "a.tga")),
    by_tifffile("white-is-zero.tif", GREY, 255.0 - GREY, photometric="miniswhite"),
    by_tifffile(
        "planes.tif", np.moveaxis(COLOUR, 2, 0), COLOUR @ WEIGHTS, photometric="rgb", planarconfig="separate"
    ),
    by_tifffile("deep.tif", DEEP * 16, DEEP * 16 / 257.0),
    by_tifffile("double.tif", GREY / 255.0, GREY * 1.0),
    by_tifffile("big.tif", GREY, GREY * 1.0, bigtiff=True),
    by_tifffile("called.png", GREY, GREY * 1.0),
    by_tifffile(
        "fifth.tif", np.dstack([COLOUR, GREY]), COLOUR @ WEIGHTS, photometric="rgb",
        extrasamples=["unspecified"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "write"), READ)
def test_every_kind_gives_the_right_grey(
    name: str, write: Callable[[Path], np.ndarray], tmp_path: Path
) -> None:
    """Colour by mode or photometric tag, never by the number of channels."""
    wanted = write(tmp_path / name)
    grey = read_grey(tmp_path / name)
    assert grey.dtype == np.uint8
    assert grey.shape == wanted.shape
    assert np.abs(grey - wanted).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 65_000), (65_000, 1)])
def test_odd_shapes_are_read(shape: tuple[int, int], tmp_path: Path) -> None:
    """A single pixel, and lines of them."""
    for name in ("a.png", "a.tif"):
        Image.fromarray(np.full(shape, 77, np.uint8)).save(tmp_path / name)
        assert (read_grey(tmp_path / name) == 77).all()


def test_a_transparent_palette_lies_on_white(tmp_path: Path) -> None:
    """What the file says is seen through is white, and the rest what it was."""
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 10, 10, 200, 200, 200])
    image.save(tmp_path / "a.png", transparency=0)
    assert read_grey(tmp_path / "a.png").tolist() == [[255, 200]]


def film(kind: str) -> bytes:
    frames = [Image.fromarray(np.full((4, 4), level, np.uint8)) for level in (10, 200)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    return file.getvalue()


def packed(kind: str, mode: str = "L", side: int = 12_000) -> bytes:
    """A small file that unpacks to a large image."""
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    return file.getvalue()


def cut(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.tile(COLOUR, (20, 20, 1))).save(file, kind)
    return file.getvalue()[: len(file.getvalue()) // 2]


def deep_page() -> bytes:
    """A page that claims a third dimension: its height and width alone are small."""
    file = io.BytesIO()
    tifffile.imwrite(
        file, np.zeros((500, 600, 700), np.uint8), volumetric=True, compression="zlib", tile=(64, 64, 64)
    )
    return file.getvalue()


REFUSED = {
    "film.gif": (lambda: film("GIF"), "holds several images"),
    "film.webp": (lambda: film("WEBP"), "holds several images"),
    "film.tif": (lambda: film("TIFF"), "holds several images"),
    "film.png": (lambda: film("PNG"), "holds several images"),
    "large.png": (lambda: packed("PNG"), "more than 64 megapixels"),
    "large.tif": (lambda: packed("TIFF"), "more than 64 megapixels"),
    "large.gif": (lambda: packed("GIF"), "more than 64 megapixels"),
    "large.webp": (lambda: packed("WEBP", "RGB", 8_001), "more than 64 megapixels"),
    "wide.png": (lambda: packed("PNG", "RGBA", 7_900), "more than 200 MB unpacked"),
    "deep.tif": (deep_page, "more than"),
    "cut.png": (lambda: cut("PNG"), "is no image that can be read"),
    "cut.jpg": (lambda: cut("JPEG"), "is no image that can be read"),
    "cut.tif": (lambda: cut("TIFF"), "is no image that can be read"),
    "empty.png": (lambda: b"", "is no image that can be read"),
    "text.tif": (lambda: b"II*\0 no", "is no image that can be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_or_too_much_is_refused(name: str, tmp_path: Path) -> None:
    """Films, bombs and damaged files: a sentence each."""
    make, sentence = REFUSED[name]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(UnusableError, match=sentence):
        read_grey(tmp_path / name)


def test_an_image_names_no_other_file(tmp_path: Path) -> None:
    """Of an OME-TIFF whose metadata names another file the page that lies in it is read."""
    tifffile.imwrite(tmp_path / "other.ome.tif", np.full((6, 9), 200, np.uint8), ome=True)
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint8" SizeX="9" SizeY="6" SizeZ="1" SizeC="1" SizeT="1">'
        '<TiffData IFD="0"><UUID FileName="other.ome.tif">urn:uuid:1</UUID></TiffData></Pixels></Image></OME>'
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", GREY, description=xml, metadata=None)
    np.testing.assert_array_equal(read_grey(tmp_path / "a.ome.tif"), GREY)


PROBE = """
import resource, sys, time
from pathlib import Path
from tests.data.test_image_kinds import read_grey
from tests.driving import labelfill
from labelfill.data.images.decoding import UnusableError
good, bad = map(Path, sys.argv[1:])
read_grey(good)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_grey(bad)
except UnusableError:
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["large.png", "large.tif", "large.gif", "wide.png", "deep.tif"])
def test_a_bomb_takes_little_memory(name: str, tmp_path: Path) -> None:
    """What a refused file takes, above what one good image does, in MB."""
    Image.fromarray(GREY).save(tmp_path / "good.png")
    (tmp_path / name).write_bytes(REFUSED[name][0]())
    ended = subprocess.run(
        [sys.executable, "-c", PROBE, str(tmp_path / "good.png"), str(tmp_path / name)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert int(ended.stdout) < 300


def test_links_in_a_circle_are_told(tmp_path: Path) -> None:
    """As a table, as a folder to write to and as an image: a sentence, no mistake of the program."""
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).symlink_to(other)
    circle = tmp_path / "a"
    (tmp_path / "t.csv").write_text("x_x,x_y,image_path\n1,1,a\n,,a\n")
    for command in (
        ("train-keypoint-models", "--data", circle, "--run-dir", tmp_path / "run", "--method", "prior"),
        ("train-keypoint-models", "--data", tmp_path / "t.csv", "--run-dir", circle),
        ("convert", circle, tmp_path / "out.csv"),
        ("convert", tmp_path / "t.csv", circle),
        ("inspect", tmp_path / "t.csv"),
    ):
        refused = labelfill(*command)
        assert refused.code in (2, 3, 5), refused.err
        assert "bug in labelfill" not in refused.err
