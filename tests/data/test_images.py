from __future__ import annotations

import struct
import zlib
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import io

from labelfill.data.images.decoding import Decoder, decode_one_by_one
from labelfill.data.images.equalization import equalize
from labelfill.data.images.files import ImageFiles
from labelfill.data.images.identity import content_ids, exact_ids
from labelfill.data.images.pixel_text import PixelText, likely_sizes
from labelfill.data.images.placing import load_image_files
from labelfill.data.images.storage import FileStore, MemoryStore
from labelfill.data.table import ImageTexts
from labelfill.errors import DataError, StorageError, UsageError
from labelfill.schema import ImageSize

RANDOM = np.random.default_rng(0)
TABLE = Path("t.csv")


def decoded(texts: list[bytes], size: ImageSize | None = None, cut_short: bool = False) -> np.ndarray:
    """What the decoder makes of rows."""
    sink = PixelText(TABLE, size, MemoryStore())
    buffer = b"|".join(texts)
    ends = np.cumsum([len(text) + 1 for text in texts]) - 1
    starts = ends - [len(text) for text in texts]
    sink.add(ImageTexts(buffer, starts, ends, 0, np.arange(len(texts)) + 2, cut_short))
    return sink.finish()


@settings(deadline=None)
@given(
    pixels=st.lists(st.integers(0, 255), min_size=1, max_size=40),
    between=st.sampled_from([" ", "  ", "\t", " \t ", "\r\n"]),
    around=st.sampled_from(["", " ", "\t"]),
    form=st.sampled_from(["{}", "{:03}", "{:04}", "{}.0", "+{}"]),
)
def test_pixels_are_read_in_any_dress(pixels: list[int], between: str, around: str, form: str) -> None:
    """Whole numbers between blanks give the pixels, at once or one by one."""
    text = (around + between.join(form.format(pixel) for pixel in pixels) + around).encode()
    assert decoded([text], ImageSize(1, len(pixels))).ravel().tolist() == pixels


@settings(deadline=None)
@given(texts=st.lists(st.text("0123456789  ", max_size=30).map(str.encode), min_size=1, max_size=5))
def test_decoding_at_once_agrees_with_one_by_one(texts: list[bytes]) -> None:
    """The fast decoder gives the slow one's pixels and how many each text has, or declines."""
    at_once = Decoder().decode([memoryview(text) for text in texts])
    try:
        one_by_one = [decode_one_by_one(text).tolist() for text in texts]
    except ValueError:
        one_by_one = None
    if at_once is None:
        assert one_by_one is None or max(len(word) for text in texts for word in text.split()) > 3
    else:
        assert one_by_one is not None
        assert at_once[0].tolist() == list(chain.from_iterable(one_by_one))
        assert at_once[1] == list(map(len, one_by_one))


def test_every_value_is_decoded() -> None:
    """0 to 255, and 256 to 1099 are refused; what a decoder saw before does not matter."""
    decoder = Decoder()
    for value in range(1100):
        at_once = decoder.decode([memoryview(b"%d 7" % value)])
        assert (at_once is None) == (value > 255)
        assert at_once is None or at_once[0].tolist() == [value, 7]


@pytest.mark.parametrize("byte", sorted(set(range(256)) - set(b"0123456789 ")))
def test_no_byte_but_digits_and_spaces_is_decoded_at_once(byte: int) -> None:
    """Every other byte is left to the decoder that can say what is wrong."""
    assert Decoder().decode([memoryview(b"1 2%c3" % byte)]) is None


@settings(deadline=None)
@given(
    texts=st.lists(
        st.lists(st.integers(0, 300), min_size=3, max_size=5).map(
            lambda row: " ".join(map(str, row)).encode()
        )
        | st.sampled_from([b"1\t2 3 4", b"1 2  3 04", b" 1 2 3 4 ", b"1 2 3 x", b"1.0 2 3 4"]),
        max_size=8,
    )
)
def test_rows_are_decoded_or_refused_alike(texts: list[bytes]) -> None:
    """A row of another dress, or a wrong one, between others: same images or same sentence either way."""
    try:
        expected = [decode_one_by_one(text.replace(b"\t", b" ")).tolist() for text in texts]
    except ValueError:
        expected = [[]]
    if any(len(row) != 4 for row in expected):
        with pytest.raises(DataError):
            decoded([b"9 9 9 9", *texts])
    else:
        assert decoded([b"9 9 9 9", *texts]).reshape(-1, 4).tolist() == [[9] * 4, *expected]


def test_rows_that_make_up_for_each_other_are_refused() -> None:
    """One pixel too few in a row and one too many in the next are two faults, not none."""
    with pytest.raises(DataError, match=r"row 1 .*found 3 pixels, expected 4"):
        decoded([b"1 2 3 4", b"1 2 3", b"1 2 3 4 5"])


BAD_PIXELS = {
    "too few": (
        [b"0 0 0 0", b"0 0 0"],
        None,
        "t.csv, row 1 (line 3), column 'Image': found 3 pixels, expected 4 (2x2, as in the first row); "
        "all images of a table have one size: complete the row or remove it",
    ),
    "not the size asked for": (
        [b"0 0 0 0 0 0"],
        ImageSize(2, 2),
        "t.csv, row 0 (line 2), column 'Image': found 6 pixels, expected 4 (2x2, the size asked for); "
        "if all images are 2x3 or 3x2, say so with --image-size",
    ),
    "no square": (
        [b"0 0 0 0 0 0"],
        None,
        "t.csv, row 0 (line 2), column 'Image': found 6 pixels, which make no square image; "
        "give the size with --image-size HxW, for example 2x3 or 3x2",
    ),
    "a first row that is no square, another that is": (
        [b"0 0 0 0 0 0", b"0 0 0 0"],
        None,
        "t.csv, row 1 (line 3), column 'Image': found 4 pixels, but the first row (line 2) has 6; "
        "all images of a table have one size: complete the one that is wrong, or remove it",
    ),
    "a first row of another size than asked for": (
        [b"0 0 0 0 0 0", b"0 0 0 0 0 0", b"0 0 0 0"],
        ImageSize(2, 2),
        "t.csv, row 0 (line 2), column 'Image': found 6 pixels, expected 4 (2x2, the size asked for); "
        "all images of a table have one size: complete the row or remove it",
    ),
    "two rows of two other sizes": (
        [b"0 0 0 0 0 0", b"0 0 0 0 0"],
        ImageSize(2, 2),
        "t.csv, row 1 (line 3), column 'Image': found 5 pixels, but the first row (line 2) has 6; "
        "all images of a table have one size: complete the one that is wrong, or remove it",
    ),
    "a later row of another size than asked for": (
        [b"0 0 0 0", b"0 0 0 0 0 0"],
        ImageSize(2, 2),
        "t.csv, row 1 (line 3), column 'Image': found 6 pixels, expected 4 (2x2, the size asked for); "
        "all images of a table have one size: complete the row or remove it",
    ),
    "a number that only a strip has": (
        [b"0 0 0 0 0 0 0"] * 2,
        None,
        "t.csv, row 0 (line 2), column 'Image': found 7 pixels, which make no square image and no image of "
        "usual shape; export the images again, or give the size with --image-size HxW if they are as narrow "
        "as that",
    ),
    "missing": (
        [b"0", b" "],
        None,
        "t.csv, row 1 (line 3), column 'Image': the image is missing; "
        "fill in its grey values, or remove the row",
    ),
    **{
        f"pixel {found}": (
            [b"0 0 0 0", b"0 0 " + found + b" 0"],
            None,
            f"t.csv, row 1 (line 3), column 'Image': pixel 2 is {shown}, expected a whole number in 0..255; "
            "correct it or remove the row",
        )
        for found, shown in [
            (b"256", "'256'"),
            (b"300", "'300'"),
            (b"1000", "'1000'"),
            (b"-1", "'-1'"),
            (b"1.5", "'1.5'"),
            (b"nan", "'nan'"),
            (b"1,2", "'1,2'"),
            (b"\0", r"'\x00'"),
            (b"\xff", r"'\\xff'"),
        ]
    },
}


@pytest.mark.parametrize("case", BAD_PIXELS)
def test_bad_pixels_have_their_own_sentence(case: str) -> None:
    """The message names row, line, what was found and what was expected."""
    texts, size, expected = BAD_PIXELS[case]
    with pytest.raises(DataError) as caught:
        decoded(texts, size)
    assert (str(caught.value), caught.value.exit_code) == (expected, 3)


@given(counts=st.lists(st.integers(1, 12), min_size=2, max_size=5), stated=st.booleans())
def test_a_size_is_proposed_only_where_all_rows_have_as_many_pixels(counts: list[int], stated: bool) -> None:
    """In one block or several; rows that differ are completed or removed, whatever size is stated."""
    sink, message = PixelText(TABLE, ImageSize(2, 3) if stated else None, MemoryStore()), ""
    try:
        for row, count in enumerate(counts):
            text = b" ".join([b"7"] * count)
            sink.add(ImageTexts(text, np.array([0]), np.array([len(text)]), row, np.array([row + 2])))
        assert len(sink.finish()) == len(counts)
    except DataError as error:
        message = str(error)
    alike = len(set(counts)) == 1
    fits = counts[0] == 6 if stated else counts[0] in (1, 4, 9)
    assert (message == "") == (alike and fits)
    assert ("--image-size" in message) == (alike and not fits)


def test_a_later_cell_that_excel_cut_is_told_by_its_length() -> None:
    """Also below a first row whose number of pixels is no square."""
    with pytest.raises(DataError, match=r"row 1 .*Excel has cut it"):
        decoded([b"0 0 0 0 0 0", b"0 " * 16_383 + b"0"])


def test_a_table_cut_short_within_its_last_image_is_named() -> None:
    """The hint comes only where the file ends without a line end."""
    with pytest.raises(DataError, match="the file ends there without a line end: it may be cut short"):
        decoded([b"0 0 0 0", b"0 0 0"], cut_short=True)


def test_likely_sizes_are_those_nearest_to_a_square() -> None:
    """72x128 is among the first guesses for as many pixels as 96x96; a strip is none."""
    assert str(likely_sizes(96 * 96)[0]) == "96x96"
    assert "72x128" in map(str, likely_sizes(96 * 96, most=9))
    assert likely_sizes(7) == []


@pytest.mark.parametrize("in_file", [False, True])
def test_stores_give_back_what_they_took(tmp_path: Path, in_file: bool) -> None:
    """In memory or in a file: (n, H, W), uint8, read-only."""
    store = FileStore(tmp_path / "images.npy") if in_file else MemoryStore()
    images = RANDOM.integers(0, 256, (1000, 3, 5), np.uint8)
    for image in images:
        store.append(image)
    kept = store.finish(ImageSize(3, 5))
    np.testing.assert_array_equal(kept, images)
    assert not kept.flags.writeable
    assert isinstance(kept, np.memmap) == in_file
    store.close()


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """A missing folder is a matter of storage."""
    with pytest.raises(StorageError, match=r"images\.npy cannot be written: the folder does not exist"):
        FileStore(tmp_path / "none" / "images.npy").append(np.zeros((1, 1), np.uint8))


def test_mirrored_copies_count_as_the_same_content_only() -> None:
    """`content_ids` sees through mirroring, `exact_ids` does not."""
    image, other = RANDOM.integers(0, 256, (2, 4, 6), np.uint8)
    images = np.stack([image, image[:, ::-1], image, other])
    content, exact = content_ids(images), exact_ids(images)
    assert content.dtype == exact.dtype == np.int64
    assert content[0] == content[1] == content[2] != content[3]
    assert exact[0] == exact[2]
    assert len(set(exact.tolist())) == 3


@pytest.mark.parametrize("how", ["stretch", "histogram", "adaptive"])
def test_equalisation_widens_contrast_and_leaves_flat_images(how: str) -> None:
    """Grey images spread over more of 0..255; a flat one stays as it is; shape and type are kept."""
    images = RANDOM.integers(100, 120, (2, 20, 30), np.uint8)
    images[1] = 7
    equalized = equalize(images, how)
    assert (equalized.shape, equalized.dtype) == (images.shape, np.uint8)
    assert np.ptp(equalized[0].astype(int)) > 100
    assert (equalized[1] == 7).all()


def test_no_equalisation_copies_nothing() -> None:
    """`none` gives back the array, and an unknown name is a usage error."""
    images = np.zeros((1, 2, 2), np.uint8)
    assert equalize(images, "none") is images
    with pytest.raises(UsageError, match="'bright' is not one of none, stretch, histogram, adaptive"):
        equalize(images, "bright")


def saved(folder: Path, name: str, pixels: np.ndarray) -> str:
    (folder / name).parent.mkdir(exist_ok=True)
    io.imsave(folder / name, pixels, check_contrast=False)
    return name


def loaded(folder: Path, *names: str, allow_outside: bool = False) -> np.ndarray:
    lines = range(2, len(names) + 2)
    files = ImageFiles(folder / "t.csv", names, lines, allow_outside=allow_outside, bits=16)
    return load_image_files(files, MemoryStore())


def test_image_files_of_any_kind_become_grey_bytes(tmp_path: Path) -> None:
    """8 and 16 bits, floats, colour with and without alpha, in several formats, give the same grey."""
    grey = RANDOM.integers(0, 256, (5, 7), np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=2)
    opaque = np.full_like(grey, 255)
    names = [
        saved(tmp_path, "grey.png", grey),
        saved(tmp_path, "a/deep.png", grey.astype(np.uint16) * 257),
        saved(tmp_path, "deep.tif", grey.astype(np.uint16) * 257),
        saved(tmp_path, "float.tif", (grey / 255).astype(np.float32)),
        saved(tmp_path, "colour.png", colour),
        saved(tmp_path, "opaque.png", np.dstack([colour, opaque])),
        saved(tmp_path, "grey-opaque.png", np.dstack([grey, opaque])),
        saved(tmp_path, "grey.bmp", grey),
    ]
    images = loaded(tmp_path, *names, "a\\deep.png")
    assert images.dtype == np.uint8
    for image, name in zip(images, names, strict=False):
        np.testing.assert_array_equal(image, grey, err_msg=name)


def test_colour_becomes_luminance_and_transparency_white(tmp_path: Path) -> None:
    """Green is brighter than blue; a pixel without opacity is white."""
    pixels = np.array([[[0, 255, 0, 255], [0, 0, 255, 255], [0, 0, 0, 0]]], np.uint8)
    green, blue, clear = loaded(tmp_path, saved(tmp_path, "a.png", pixels))[0, 0]
    assert green > blue
    assert clear == 255


def refused(folder: Path, *names: str, allow_outside: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        loaded(folder, *names, allow_outside=allow_outside)
    return str(caught.value).replace(str(folder), "DIR")


def test_a_refused_image_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever library tried to read it; it is called by its name alone."""
    (tmp_path / "a.png").write_text("hello")
    opened, plain_open = [], open

    def noting(*arguments: Any, **options: Any) -> Any:
        file = plain_open(*arguments, **options)
        opened.append(file)
        return file

    monkeypatch.setattr("builtins.open", noting)
    told = refused(tmp_path, "a.png")
    assert [file.name for file in opened if not file.closed] == []
    assert len(opened) > 0
    assert "<" not in told


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    """The message names both files and sizes."""
    first = saved(tmp_path, "a.png", np.zeros((4, 6), np.uint8))
    second = saved(tmp_path, "b.png", np.zeros((6, 4), np.uint8))
    assert refused(tmp_path, first, first, second) == (
        "DIR/t.csv, row 2 (line 4), column 'image_path': 'b.png' is 6x4, but 'a.png' of the first row is 4x6"
    )


def test_a_missing_image_file_is_named(tmp_path: Path) -> None:
    """With the row that asks for it, and the folder it was sought in."""
    assert refused(tmp_path, "none.png") == (
        "DIR/t.csv, row 0 (line 2), column 'image_path': no file 'none.png' in DIR; "
        "names are relative to the table's folder: put the files there, or name theirs by --image-folder"
    )
    assert "is no file name" in refused(tmp_path, "a\0b.png")
    assert "is no file name" in refused(tmp_path, "x" * 5000)


def test_missing_image_files_are_counted_before_any_is_read(tmp_path: Path) -> None:
    """The first three names; another folder is proposed only where none of the files was found."""
    (tmp_path / "a.png").write_text("no image")
    some = ["a.png", "b.png", "c.png", "b.png", "d.png", "e.png"]
    begin = "column 'image_path': no file 'b.png' in DIR, nor 'c.png', 'd.png': 4 of"
    assert refused(tmp_path, *some) == (
        f"DIR/t.csv, row 1 (line 3), {begin} 5 image files are missing; "
        "names are relative to the table's folder: put the files there, or remove their rows"
    )
    files = ImageFiles(tmp_path / "t.csv", some[1:], range(2, 7), beside=tmp_path / "in" / "t.csv")
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError) as caught:
        files.sizes()
    assert str(caught.value).replace(f"{tmp_path}/in", "DIR").replace(str(tmp_path), "DIR") == (
        f"DIR/t.csv, row 0 (line 2), {begin} 4 image files are missing; "
        "names are relative to that folder: put the files there, or name theirs by --image-folder"
    )


def test_each_image_file_is_looked_for_once(tmp_path: Path) -> None:
    """However many rows name it."""
    name = saved(tmp_path, "a.png", np.zeros((2, 2), np.uint8))
    files = ImageFiles(tmp_path / "t.csv", [name] * 5, range(2, 7))
    with mock.patch.object(Path, "is_file", autospec=True, side_effect=Path.is_file) as looked:
        assert load_image_files(files, MemoryStore()).shape == (5, 2, 2)
        assert len(files.sizes()) == 5
    assert looked.call_count == 1


def test_paths_that_leave_the_folder_need_permission(tmp_path: Path) -> None:
    """`..`, absolute paths and links are followed only if allowed; whether a file is there is not told."""
    inside = tmp_path / "in"
    inside.mkdir()
    saved(tmp_path, "out.png", np.ones((2, 2), np.uint8))
    (inside / "link.png").symlink_to(tmp_path / "out.png")
    for name in ("../out.png", str(tmp_path / "out.png"), "link.png", "..\\out.png", "../none.png"):
        assert refused(inside, name).endswith(
            "leads out of the table's folder DIR; pass --allow-outside if that is meant"
        )
    assert loaded(inside, "../out.png", "link.png", allow_outside=True).shape == (2, 2, 2)


def png_header(height: int, width: int) -> bytes:
    """The begin of a png that claims a size; there is nothing behind it to decode."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_huge_images_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    """The header alone is looked at."""
    for side in (8_001, 30_000):
        (tmp_path / "huge.png").write_bytes(png_header(side, side) + b"\0\0\0\0IDAT")
        assert refused(tmp_path, "huge.png").endswith(
            "'huge.png' has more than 64 megapixels, the most that is read; scale it down"
        )


# imageio leaves a file that it cannot read to the garbage collector, which closes it at any time.
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed file:ResourceWarning"
)
def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    """Text, a damaged image, a film, numbers out of range."""
    (tmp_path / "a.png").write_text("hello")
    assert "'a.png' is no image that can be read (" in refused(tmp_path, "a.png")
    whole = tmp_path / saved(tmp_path, "b.png", RANDOM.integers(0, 256, (50, 50), np.uint8))
    whole.write_bytes(whole.read_bytes()[:-500])
    assert "'b.png' is no image that can be read (" in refused(tmp_path, "b.png")
    film = saved(tmp_path, "film.tif", np.zeros((6, 8, 9), np.uint8))
    assert "'film.tif' holds several images; give one image per file" in refused(tmp_path, film)
    loud = saved(tmp_path, "loud.tif", np.full((2, 2), 300, np.float32))
    assert "has float32 values from 300.0 to 300.0, expected 8 or 16 bits, or floats in 0..1" in refused(
        tmp_path, loud
    )
