"""Files of YOLO, JABS, NWB, CelebA and 300-W as their programs write them, small; for tests of formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.drawn_points import write_images
from tests.drawn_poses import sleap_labels


def write_set(folder: Path, count: int, numbers: int, images: list[list[str]], end: str = "\n") -> Path:
    """A data set whose images alternate between two splits."""
    for split in ("train", "val"):
        for part in ("images", "labels"):
            (folder / split / part).mkdir(parents=True, exist_ok=True)
            for old in (folder / split / part).glob("*.txt"):
                old.unlink()
    write_images(folder)
    for number, found in enumerate(images):
        split = ("train", "val")[number % 2]
        target = folder / split / "images" / f"{number}.png"
        target.write_bytes((folder / f"{number}.png").read_bytes())
        if found or number:
            label = folder / split / "labels" / f"{number}.txt"
            label.write_bytes((end.join(found) + end * (number % 2)).encode())
    splits = "train: train/images\nval: val/images\n"
    names = "names: {0: mouse, 1: rat}\n"
    text = f"# of ours\n{splits}{names}kpt_shape: [{count}, {numbers}]\n"
    (folder / "data.yaml").write_text(text)
    return folder / "data.yaml"


def write_jabs(path: Path, version: int, points: np.ndarray, confidence: np.ndarray) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("poseest")
        group.attrs["version"] = [version, 0]
        group.attrs["cm_per_pixel"] = 0.07
        one = version == 2
        group["points"], group["confidence"] = (a[:, 0] if one else a for a in (points, confidence))
        if version > 2:
            group["instance_count"] = np.full(len(points), points.shape[1], np.uint8)
            group["instance_track_id"] = np.tile(
                np.arange(points.shape[1], dtype=np.uint32), (len(points), 1)
            )
        if version > 3:
            group["instance_embed_id"] = group["instance_track_id"][()] + 1
        if version > 4:
            file["static_objects/corners"] = np.arange(8, dtype=np.uint16).reshape(4, 2)
    return path


def nwb_of(path: Path, nodes: list[str], frames: list[np.ndarray], folder: Path) -> Path:
    import sleap_io as sio

    write_images(folder)
    video = sio.Video.from_filename([str(folder / f"{i}.png") for i in range(len(frames))])
    labels = sleap_labels(nodes, frames, folder)
    for frame in labels:
        frame.video = video
        frame.instances = [each for each in frame if not isinstance(each, sio.PredictedInstance)]
    labels = sio.Labels(labels.labeled_frames)
    sio.save_nwb(labels, str(path), nwb_format="annotations")
    return path


def write_pts(folder: Path, words: np.ndarray, end: str = "\n") -> Path:
    for old in folder.glob("*.pts"):
        old.unlink()
    for row, of_row in enumerate(words):
        lines = ["version: 1", f"n_points:  {len(of_row)}", "{", *(" ".join(xy) for xy in of_row), "}", ""]
        (folder / f"{row}.pts").write_bytes(end.join(lines).encode())
    return folder


def write_list(path: Path, words: np.ndarray, gap: str = "  ") -> Path:
    columns = " ".join(f"{name}_{axis}" for name in "abcd"[: words.shape[1]] for axis in "xy")
    lines = [gap.join([f"{row}.png", *of_row.ravel()]) + " " for row, of_row in enumerate(words)]
    path.write_text("\n".join([str(len(words)), columns, *lines, ""]))
    return path
