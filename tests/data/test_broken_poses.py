"""Files of poses that were cut or changed are read, or refused by a sentence; so they are without extra."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from labelfill.data.formats import FORMATS, KINDS, check_out, detect, read_keypoints
from labelfill.errors import DataError, UsageError
from tests.drawn_poses import sleap_labels
from tests.driving import labelfill
from tests.pose_files import nwb_of, write_jabs, write_list, write_pts, write_set

sio = pytest.importorskip("sleap_io", reason="needs sleap-io: pip install '.[pose]'")

# How many files each kind is made into; more by the environment.
EXAMPLES = int(os.environ.get("LABELFILL_EXAMPLES", "24"))
POINTS = np.array([[[3.5, 4.0], [8.0, 9.25]], [[5.0, 6.5], [np.nan, np.nan]]])


def slp(folder: Path) -> Path:
    labels = sleap_labels(["a", "b"], [POINTS, POINTS + 1], folder)
    sio.save_slp(labels, str(folder / "a.slp"), verbose=False)
    return folder / "a.slp"


def nwb(folder: Path) -> Path:
    return nwb_of(folder / "a.nwb", ["a", "b"], [POINTS, POINTS + 1], folder)


def jabs(folder: Path) -> Path:
    points = np.arange(96, dtype=np.uint16).reshape(2, 2, 12, 2)
    return write_jabs(folder / "a_pose_est_v4.h5", 4, points, np.ones((2, 2, 12), np.float32))


def yolo(folder: Path) -> Path:
    return write_set(folder, 1, 3, [["0 0.5 0.5 0.5 0.5 0.5 0.5 2"], ["0 0.5 0.5 0.5 0.5 0 0 0"]])


def packed(folder: Path) -> Path:
    write_pts(folder, np.full((2, 2, 2), "7.5", object))
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("0.pts", "1.pts"):
            archive.write(folder / name, name)
    return folder / "a.zip"


def celeba(folder: Path) -> Path:
    return write_list(folder / "list.txt", np.full((2, 2, 2), "7", object))


MAKERS = {"sleap": slp, "nwb": nwb, "jabs": jabs, "yolo": yolo, "pts": packed, "celeba": celeba}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_broken_file_is_refused_by_a_sentence(kind: str, tmp_path: Path) -> None:
    """Cut anywhere, or with bytes changed anywhere, it is read or refused as bad data."""
    path = MAKERS[kind](tmp_path)
    assert detect(path) == kind
    content, random, refused = path.read_bytes(), np.random.default_rng(1), 0
    for example in range(EXAMPLES):
        changed = bytearray(content)
        if example % 2:
            del changed[random.integers(0, len(content)) :]
        else:
            for place in random.integers(0, len(content), random.integers(1, 9)):
                changed[place] = random.integers(0, 256)
        path.write_bytes(changed)
        try:
            read_keypoints(path)
        except DataError as error:
            refused += 1
            assert str(error).isprintable()
    assert refused > 0


def test_a_cut_file_ends_the_program_by_3(tmp_path: Path) -> None:
    """As every malformed file does."""
    path = slp(tmp_path)
    path.write_bytes(path.read_bytes()[:2000])
    outcome = labelfill("inspect", path)
    assert outcome.code == 3
    assert "is damaged" in outcome.sentence


@pytest.mark.parametrize("kind", ["sleap", "nwb", "jabs", "yolo"])
def test_without_the_extra_the_sentence_names_it(kind: str, tmp_path: Path) -> None:
    """The file is recognised for what it is."""
    path = MAKERS[kind](tmp_path)
    with mock.patch.dict(sys.modules, {"sleap_io": None}):
        outcome = labelfill("inspect", path)
    assert outcome.code == 2
    assert FORMATS[kind] in outcome.sentence
    assert "pip install 'labelfill[pose]'" in outcome.sentence


@pytest.mark.parametrize("kind", MAKERS)
def test_a_filled_copy_has_the_suffix_of_its_kind(kind: str, tmp_path: Path) -> None:
    """Another one is refused by the one that fits, and so is --likelihood where there is no place for it."""
    table = read_keypoints(MAKERS[kind](tmp_path))
    suffix = KINDS[kind].suffix
    assert suffix is not None
    check_out(table, tmp_path / f"out{suffix}")
    with pytest.raises(UsageError, match=f"ends in {suffix} "):
        check_out(table, tmp_path / "out.csv")
    if KINDS[kind].lacks:
        with pytest.raises(UsageError, match="has no place for scores"):
            check_out(table, tmp_path / f"out{suffix}", likelihood=True)
    else:
        check_out(table, tmp_path / f"out{suffix}", likelihood=True)
