"""What other programs say of files that labelfill writes: Ultralytics' loader, pynwb's validator.

A small drawn table of two faces in each image is written as YOLO pose and as NWB, filled by labelfill with
drawn places, and read back. Both programs are heavy, so give this an environment of its own that holds
labelfill, too:

    pip install -e '.[pose]' -c constraints.txt; pip install ultralytics pynwb
    python -m benchmarks.pose_readers --out outputs/pose-readers
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np

from benchmarks.measuring import parser
from labelfill.arrays import Array
from labelfill.data.formats import read_keypoints, write_found
from labelfill.data.synthetic import LANDMARKS, draw_table
from labelfill.data.table import FoundPoints
from labelfill.runs import make_folder, write_bytes
from labelfill.schema import ImageSize

SIDE, FRAMES, KEYPOINTS = 48, 6, LANDMARKS[:5]


def main() -> None:
    options = parser(__doc__, "python -m benchmarks.pose_readers --out outputs/pose-readers")
    options.add_argument("--out", type=Path, required=True)
    out: Path = options.parse_args().out
    drawn = draw_table(2 * FRAMES, 24, keypoints=KEYPOINTS, image_size=ImageSize(SIDE, SIDE), gaps=0.3)
    labels = drawn.labels.reshape(FRAMES, 2, len(KEYPOINTS), 2).clip(0, SIDE - 1)
    labels[:, 1, :, 0] += SIDE
    frames = np.concatenate(np.split(drawn.images.reshape(FRAMES, 2, SIDE, SIDE), 2, axis=1), axis=3)[:, 0]
    parts: dict[str, Callable[[Path, Array, Array], str]] = {"ultralytics": yolo, "pynwb": nwb}
    for module, part in parts.items():
        if importlib.util.find_spec(module) is None:
            print(f"{module}: not installed, left out")
            continue
        make_folder(out / module)
        print(f"{module}: {part(out / module, frames, labels)}")


def filled(path: Path, out: Path) -> tuple[int, int]:
    """A copy of a file with places for all its blanks: how many rows and how many filled points it has."""
    table = read_keypoints(path)
    xy = np.random.default_rng(0).uniform(2, SIDE - 2, table.labels.shape)
    found = FoundPoints(xy, np.full(xy.shape[:2], 0.5), np.full((table.rows, 2), float(SIDE)), "drawn")
    buffer = BytesIO()
    write_found(table, found, buffer, out.name)
    write_bytes(out, buffer.getvalue())
    return table.rows, int(found.new(table).all(axis=2).sum())


def yolo(folder: Path, frames: Array, labels: Array) -> str:
    """Ultralytics loads the filled set, unpacked over itself: every instance, and no point is missing."""
    import ultralytics
    from skimage.io import imsave
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    for part in ("images", "labels"):
        make_folder(folder / "train" / part)
    for number, (image, of_image) in enumerate(zip(frames, labels, strict=True)):
        imsave(folder / "train" / "images" / f"{number}.png", image, check_contrast=False)
        lines = []
        for face, points in enumerate(of_image):
            shares = points / (2 * SIDE, SIDE)
            words = [f"{x:.6f} {y:.6f} 2" if np.isfinite(x) else "0 0 0" for x, y in shares]
            lines.append(f"0 {0.25 + 0.5 * face} 0.5 0.5 1 {' '.join(words)}\n")
        (folder / "train" / "labels" / f"{number}.txt").write_text("".join(lines))
    description = folder / "data.yaml"
    description.write_text(
        f"path: {folder.resolve()}\ntrain: train/images\nval: train/images\nnames: {{0: face}}\n"
        f"kpt_shape: [{len(KEYPOINTS)}, 3]\nflip_idx: {[*range(len(KEYPOINTS))]}\n"
    )
    rows, count = filled(description, folder / "filled.zip")
    with zipfile.ZipFile(folder / "filled.zip") as archive:
        archive.extractall(folder)
    data = check_det_dataset(str(description))
    loaded = YOLODataset(img_path=data["train"], data=data, task="pose", augment=False, imgsz=2 * SIDE)
    points = np.concatenate([label["keypoints"] for label in loaded.labels])
    assert points.shape == (rows, len(KEYPOINTS), 3), points.shape
    seen = points[..., 2].astype(int).ravel()
    assert (seen == 1).sum() == count, f"{(seen == 1).sum()} of {count} fills"
    assert (seen > 0).all()
    return (
        f"YOLODataset of ultralytics {ultralytics.__version__} loads {len(loaded.labels)} images, {rows} "
        f"instances; {(seen == 2).sum()} labels have visibility 2, {count} fills visibility 1"
    )


def nwb(folder: Path, frames: Array, labels: Array) -> str:
    """Pynwb's validator accepts the filled file."""
    import pynwb
    import sleap_io

    sleap_io.save_video(frames[..., None], str(folder / "faces.mp4"))
    video = sleap_io.load_video(str(folder / "faces.mp4"))
    skeleton = sleap_io.Skeleton(list(KEYPOINTS), name="face")
    found = [
        sleap_io.LabeledFrame(
            video=video,
            frame_idx=number,
            instances=[sleap_io.Instance.from_numpy(points, skeleton=skeleton) for points in of_frame],
        )
        for number, of_frame in enumerate(labels)
    ]
    sleap_io.save_nwb(sleap_io.Labels(found), str(folder / "faces.nwb"), nwb_format="annotations")
    rows, count = filled(folder / "faces.nwb", folder / "filled.nwb")
    told = []
    for name in ("faces.nwb", "filled.nwb"):
        errors = pynwb.validate(path=str(folder / name))
        told.append(errors[0] if isinstance(errors, tuple) else errors)
    again = sleap_io.load_nwb(str(folder / "filled.nwb"))
    assert sum(len(frame) for frame in again) == rows
    assert not told[1], told[1]
    return (
        f"pynwb {pynwb.__version__} finds {len(told[1])} errors in the filled file ({len(told[0])} in the "
        f"original); {rows} instances, {count} fills"
    )


if __name__ == "__main__":
    main()
