"""The image that labels refer to: the right way round, of the size that is stated, of all its grey levels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.formats.conversion import convert
from labelfill.data.images.orientation import turned, turned_back
from labelfill.data.images.pixels import bits_of
from labelfill.data.reading_options import ReadingOptions
from labelfill.errors import DataError
from labelfill.settings import TableSettings
from tests.driving import PRIOR, labelfill

SEEN = np.random.default_rng(0).integers(0, 256, (16, 24), np.uint8)
STORED = ReadingOptions(exif_turn=False)


def stored(path: Path, orientation: int, seen: np.ndarray = SEEN) -> np.ndarray:
    """Writes a file that is seen as `seen` by its EXIF orientation; gives what is stored."""
    pixels = np.ascontiguousarray(turned_back(seen, orientation))
    if path.suffix == ".tif":
        tag = (274, "H", 1, orientation, True)
        tifffile.imwrite(path, pixels, photometric="minisblack", extratags=[tag])
        return pixels
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(
        path, exif=exif, **({"quality": 100} if path.suffix == ".jpg" else {"lossless": True})
    )
    return pixels


def table_of(folder: Path, names: list[str], xy: tuple[float, float] = (20, 10)) -> Path:
    path = folder / "t.csv"
    path.write_text("nose_x,nose_y,image_path\n" + "".join(f"{xy[0]},{xy[1]},{name}\n" for name in names))
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_every_orientation_is_seen_as_pillow_shows_it(
    orientation: int, suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One size and several, whole and in a frame: the same image; it is said once, with a count."""
    pixels = stored(tmp_path / f"a{suffix}", orientation)
    with open(tmp_path / f"a{suffix}", "rb") as file, Image.open(file) as image:
        # Pillow turns a TIFF by itself, and `exif_transpose` turns it once more.
        seen = image if suffix == ".tif" else ImageOps.exif_transpose(image)
        wanted = np.asarray(seen.convert("L"))
    path = table_of(tmp_path, [f"a{suffix}"])
    with caplog.at_level("INFO", "labelfill"):
        images = read_dataset(path).images
    assert images is not None
    assert np.abs(images[0].astype(int) - wanted).max() <= 2
    assert caplog.text.count("1 image file turned") == (orientation != 1)
    as_stored = read_dataset(table_of(tmp_path, [f"a{suffix}"], (5, 5)), TableRequest(reading=STORED)).images
    assert as_stored is not None
    assert as_stored[0].shape == pixels.shape
    assert np.abs(as_stored[0].astype(int) - pixels).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_told_as_they_are_seen(orientation: int, tmp_path: Path) -> None:
    """Where images differ in size, each lies in its frame the right way round."""
    stored(tmp_path / "a.png", orientation)
    Image.fromarray(SEEN[:8, :12]).save(tmp_path / "b.png")
    dataset = read_dataset(table_of(tmp_path, ["a.png", "b.png"], (10, 5)))
    assert dataset.placements is not None
    assert dataset.own_sizes.tolist() == [[16, 24], [8, 12]]
    assert np.array_equal(turned(turned_back(SEEN, orientation), orientation), SEEN)


def test_labels_that_fit_only_the_stored_way_round_are_refused(tmp_path: Path) -> None:
    """The sentence names the option; with it they are read."""
    for row in range(4):
        stored(tmp_path / f"{row}.png", 6)
    path = table_of(tmp_path, [f"{row}.png" for row in range(4)], (5, 22))
    with pytest.raises(DataError, match=r"row 0 \(line 2\).*EXIF orientation.*pass --no-exif-turn"):
        read_dataset(path)
    kept = read_dataset(path, TableRequest(reading=STORED))
    assert str(kept.schema.image_size) == "24x16"


def coco(folder: Path, size: tuple[int, int] | None, file: tuple[int, int], orientation: int = 1) -> Path:
    """A file of one image of a stated height and width, and the image itself as it is stored."""
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.zeros(file, np.uint8)).save(folder / "a.png", exif=exif)
    image = {"id": 1, "file_name": "a.png"}
    if size is not None:
        image |= {"height": size[0], "width": size[1]}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [5, 6, 2]}
    category = {"id": 1, "name": "face", "keypoints": ["nose"]}
    content = {"images": [image], "annotations": [annotation], "categories": [category]}
    (folder / "t.json").write_text(json.dumps(content))
    return folder / "t.json"


@pytest.mark.parametrize(
    ("stated", "file", "orientation", "seen"),
    [
        ((16, 24), (16, 24), 1, (16, 24)),
        ((16, 24), (24, 16), 6, (16, 24)),
        ((24, 16), (24, 16), 6, (24, 16)),  # the tool that labelled it did not turn it
        (None, (24, 16), 8, (16, 24)),
        ((20, 20), (20, 20), 3, (20, 20)),
    ],
)
def test_a_stated_size_tells_which_way_round(
    stated: tuple[int, int] | None, file: tuple[int, int], orientation: int, seen: tuple[int, int],
    tmp_path: Path,
) -> None:  # fmt: skip
    dataset = read_dataset(coco(tmp_path, stated, file, orientation))
    assert dataset.images is not None
    assert dataset.images.shape[1:] == seen


@pytest.mark.parametrize(
    ("stated", "file", "orientation"),
    [((96, 96), (192, 192), 1), ((24, 16), (16, 24), 1), ((16, 24), (32, 48), 6), ((8, 24), (24, 16), 6)],
)
def test_another_size_than_stated_is_refused(
    stated: tuple[int, int], file: tuple[int, int], orientation: int, tmp_path: Path
) -> None:
    """Doubled and swapped ones; both sizes are named."""
    sentence = labelfill("inspect", coco(tmp_path, stated, file, orientation)).sentence
    assert f"{stated[0]}x{stated[1]}" in sentence
    assert "'a.png' is " in sentence


def tasks(folder: Path, stated: tuple[int, int], file: tuple[int, int]) -> Path:
    Image.fromarray(np.zeros(file, np.uint8)).save(folder / "a.png")
    value = {"x": 25.0, "y": 50.0, "width": 0.5, "keypointlabels": ["nose"]}
    result = {
        "type": "keypointlabels", "original_height": stated[0], "original_width": stated[1],
        "image_rotation": 0, "value": value,
    }  # fmt: skip
    content = [{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": [result]}]}]
    (folder / "t.json").write_text(json.dumps(content))
    return folder / "t.json"


@pytest.mark.parametrize("factor", [1, 2, 0.5])
def test_percents_are_of_the_file_that_is_there(factor: float, tmp_path: Path) -> None:
    """Label Studio's labels hold for the same image in another size."""
    dataset = read_dataset(tasks(tmp_path, (20, 40), (int(20 * factor), int(40 * factor))))
    assert dataset.table.labels[0, 0].tolist() == [10 * factor, 10 * factor]
    convert(tmp_path / "t.json", tmp_path / "t.csv")
    convert(tmp_path / "t.json", tmp_path / "coco.json", "coco", settings=TableSettings())
    again = read_dataset(tmp_path / "coco.json")
    assert again.table.labels[0, 0].tolist() == [10 * factor, 10 * factor]


def test_percents_of_another_shape_are_refused(tmp_path: Path) -> None:
    sentence = labelfill("inspect", tasks(tmp_path, (20, 40), (40, 40))).sentence
    assert "20x40" in sentence
    assert "40x40" in sentence


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled_by_what_the_table_uses(bits: int, suffix: str, tmp_path: Path) -> None:
    """One scale for all images, darker ones included; a scale that a run keeps is used as it is."""
    grey = SEEN.astype(np.uint16)
    images = [grey * ((2**bits - 1) // 255), (grey * ((2**bits - 1) // 255)) // 2]
    for row, image in enumerate(images):
        if suffix == ".png":
            Image.fromarray(image).save(tmp_path / f"{row}.png")
        else:
            tifffile.imwrite(tmp_path / f"{row}.tif", image)
    path = table_of(tmp_path, [f"{row}{suffix}" for row in range(2)])
    dataset = read_dataset(path)
    assert dataset.reading.bits == bits
    assert dataset.images is not None
    for image, read in zip(images, dataset.images, strict=True):
        assert np.abs(read - image / (2.0**bits - 1) * 255).max() <= 0.51
    kept = read_dataset(path, TableRequest(reading=ReadingOptions(bits=16)))
    assert kept.images is not None
    assert np.abs(kept.images[0] - images[0] / 257).max() <= 0.51


@pytest.mark.parametrize(
    ("largest", "bits"), [(0, 8), (255, 8), (256, 10), (4080, 12), (5000, 14), (65535, 16)]
)
def test_the_fewest_bits_that_hold_a_value(largest: int, bits: int) -> None:
    assert bits_of(largest) == bits


def test_a_run_keeps_its_scale_and_brighter_images_are_told(tmp_path: Path) -> None:
    """Later stages read by the scale of training, and `predict` says what it cuts off."""
    random = np.random.default_rng(0)
    lines = []
    for row in range(40):
        Image.fromarray(random.integers(0, 4096, (16, 16), np.uint16)).save(tmp_path / f"{row}.png")
        x, y = random.normal(8, 2, 2)
        lines.append(
            f"{x:.2f},{y:.2f},{x + 2:.2f},{y - 1:.2f},{row}.png"
            if row % 3
            else f"{x:.2f},{y:.2f},,,{row}.png"
        )
    (tmp_path / "t.csv").write_text("a_x,a_y,b_x,b_y,image_path\n" + "\n".join(lines) + "\n")
    run = tmp_path / "run"
    assert (
        labelfill("train-keypoint-models", *PRIOR, "--data", tmp_path / "t.csv", "--run-dir", run).code == 0
    )
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["input"]["reading"] == {"bits": 12}
    assert labelfill("impute", "--run-dir", run, "--out", tmp_path / "f.csv").code == 0
    final = ("train-final", "--run-dir", run, "--filled", tmp_path / "f.csv", "--epochs", "1")
    assert labelfill(*final).code == 0
    (tmp_path / "new").mkdir()
    Image.fromarray(np.full((16, 16), 5000, np.uint16)).save(tmp_path / "new" / "bright.png")
    told = labelfill("predict", "--run-dir", run, "--images", tmp_path / "new", "--out", tmp_path / "p.csv")
    assert told.code == 0
    assert "1 image brighter" in told.err
    assert "5,000 ('bright.png') where 4,095 is white" in told.err


def test_a_dark_colour_png_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    """Its decoder gives the upper 8 bits, of which 12 bits leave four; a bright one is read."""
    import struct
    import zlib

    def png(value: int) -> bytes:
        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        rows = b"".join(b"\0" + struct.pack(">H", value) * 12 for _ in range(4))
        header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b"")
        )

    (tmp_path / "a.png").write_bytes(png(3000))
    path = table_of(tmp_path, ["a.png"], (1, 2))
    with pytest.raises(DataError, match=r"16-bit colour PNG that is too dark.*save it as"):
        read_dataset(path)
    (tmp_path / "a.png").write_bytes(png(40_000))
    images = read_dataset(path).images
    assert images is not None
    assert abs(int(images[0, 0, 0]) - 40_000 / 257) <= 1
