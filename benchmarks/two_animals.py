"""A drawn table of two animals in each frame, from .slp to .slp, beside scikit-learn's iterative imputer.

Two drawn faces with 17 keypoints stand side by side in every frame, at places that vary; 30% of all points
are missing. SLEAP's labels of them, with tracks, go through the commands; sleap-io opens the filled file, in
which a person's instances have to be those that went in. The imputer is given the coordinates of each
instance from its own face's corner, which is more than the file says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import as_markdown, labelfill, parser, write_results
from labelfill.arrays import Array
from labelfill.data.synthetic import LANDMARKS, DrawnTable, draw_table
from labelfill.filling.simple_ways import fill_simply
from labelfill.runs import make_folder
from labelfill.schema import ImageSize

KEYPOINTS, GAPS, SIDE, ROOM = LANDMARKS[:17], 0.3, 96, 16
MOST = 0.5  # of the imputer's error


def main() -> None:
    options = parser(__doc__, "python -m benchmarks.two_animals --out outputs/two-animals")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--frames", type=int, default=200)
    options.add_argument(
        "--final", action="store_true", help="train the final network on the filled labels, too"
    )
    options.add_argument("--set", default=[], nargs="*", help="further options of train-keypoint-models")
    arguments = options.parse_args()
    out: Path = arguments.out
    make_folder(out)
    drawn = draw_table(
        2 * arguments.frames, 24, keypoints=KEYPOINTS, image_size=ImageSize(SIDE, SIDE), gaps=GAPS
    )
    corners = write_labels(out, drawn)
    labels, filled, run = out / "labels.slp", out / "filled.slp", out / "run"
    labelfill("train-keypoint-models", "--data", labels, "--run-dir", run, *arguments.set)
    labelfill("impute", "--data", labels, "--run-dir", run, "--out", filled, "--force")
    if arguments.final:
        labelfill("train-final", "--run-dir", run, "--filled", filled)
    figures = compared(drawn, corners, filled)
    write_results(
        out, as_markdown(["way", "RMSE, px"], [[k, f"{v:.3f}"] for k, v in figures.items()]), figures
    )
    print((out / "results.md").read_text())
    if figures["labelfill"] > MOST * min(error for way, error in figures.items() if way != "labelfill"):
        raise SystemExit("the fills do not beat the iterative imputer by half")


def write_labels(out: Path, drawn: DrawnTable) -> Array:
    """Frames as PNG files and labels.slp; (n, 2): where each face's top left corner lies in its frame."""
    import sleap_io
    from skimage.io import imsave

    make_folder(out / "images")
    random = np.random.default_rng(24)
    corners = random.integers(0, ROOM, (drawn.rows, 2)).astype(np.float64)
    corners[1::2, 0] += SIDE + ROOM
    names = []
    for first in range(0, drawn.rows, 2):
        frame = np.full((SIDE + ROOM, 2 * (SIDE + ROOM)), 128, np.uint8)
        for row in (first, first + 1):
            left, top = corners[row].astype(int)
            frame[top : top + SIDE, left : left + SIDE] = drawn.images[row]
        names.append(f"images/{first // 2:04d}.png")
        imsave(out / names[-1], frame, check_contrast=False)
    about = {
        "type": "ImageVideo",
        "shape": [len(names), *frame.shape, 1],
        "filename": names[0],
        "filenames": names,
    }
    video = sleap_io.Video(filename=names, open_backend=False, backend_metadata=about)
    skeleton = sleap_io.Skeleton(list(KEYPOINTS), name="face")
    tracks = [sleap_io.Track("left"), sleap_io.Track("right")]
    labelled = []
    for first in range(0, drawn.rows, 2):
        found = [
            sleap_io.Instance.from_numpy(
                drawn.labels[row] + corners[row], skeleton=skeleton, track=tracks[row % 2]
            )
            for row in (first, first + 1)
        ]
        labelled.append(sleap_io.LabeledFrame(video=video, frame_idx=first // 2, instances=found))
    sleap_io.save_slp(sleap_io.Labels(labelled), str(out / "labels.slp"), verbose=False)
    return corners


def compared(drawn: DrawnTable, corners: Array, filled: Path) -> dict[str, float]:
    """RMSE of both ways over the points that sleap-io finds filled; refused if a label has changed."""
    import sleap_io

    found = np.full(drawn.truth.shape, np.nan)
    row = 0
    for frame in sleap_io.load_slp(str(filled), open_videos=False):
        users = [each for each in frame if type(each) is sleap_io.Instance]
        predicted: list[Any] = [each for each in frame if type(each) is sleap_io.PredictedInstance]
        for user in users:
            labels = drawn.labels[row] + corners[row]
            if not np.array_equal(user.numpy(), labels, equal_nan=True):
                raise SystemExit(f"a person's instance has changed: row {row}")
            if np.isnan(labels).any() and predicted:
                found[row] = predicted.pop(0).numpy() - corners[row]
            row += 1
    blank = np.isnan(drawn.labels).any(axis=2)
    if np.isnan(found[blank]).any():
        print(json.dumps({"left blank": int(np.isnan(found[blank]).any(axis=1).sum())}))
    scored = blank & np.isfinite(found).all(axis=2)
    every, at = np.ones(drawn.rows, bool), corners[:, None]
    ways = {
        "labelfill": found,
        "iterative imputer": fill_simply(drawn.labels + at, "iterative", learn_from=every) - at,
        "iterative imputer, from each face's corner": fill_simply(
            drawn.labels, "iterative", learn_from=every
        ),
    }
    return {
        name: float(np.sqrt(((xy - drawn.truth)[scored] ** 2).sum(axis=1).mean()))
        for name, xy in ways.items()
    }


if __name__ == "__main__":
    main()
