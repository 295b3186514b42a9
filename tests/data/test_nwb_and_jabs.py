"""NWB's labels and JABS' poses: read, and filled in a copy in which nothing else changes."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.formats import read_keypoints
from labelfill.data.reading_options import ReadingOptions
from tests.drawn_poses import check_filled, filled_copy, found_for, instances
from tests.driving import labelfill
from tests.pose_files import nwb_of, write_jabs

sio = pytest.importorskip("sleap_io", reason="needs sleap-io: pip install '.[pose]'")
h5py = pytest.importorskip("h5py", reason="needs h5py: pip install '.[pose]'")

FEW = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_CHANGED = ("node_locations", "node_visibility")


def content(path: Path, left_out: tuple[str, ...]) -> dict[str, Any]:
    """Every data set and attribute of an HDF5 file by its path, but for some names."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        found[name] = sorted((k, str(v)) for k, v in item.attrs.items())
        if isinstance(item, h5py.Dataset) and name.rsplit("/", 1)[-1] not in left_out:
            found[name] += [str(item.dtype), str(item[()].tolist() if item.shape else item[()])]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


@pytest.mark.slow
@FEW
@given(drawn=instances())
def test_nwb_is_filled_in_a_copy(drawn: Any, tmp_path: Path) -> None:
    """Places of blank nodes are filled and stay invisible; every other value of the file is the same."""
    path, out = nwb_of(tmp_path / "a.nwb", *drawn, tmp_path), tmp_path / "out.nwb"
    table = read_keypoints(path)
    assert list(table.keypoints) == drawn[0]
    np.testing.assert_array_equal(table.labels, np.concatenate(drawn[1]))
    found = found_for(table, 1)
    filled_copy(table, found, out)
    check_filled(path, found, out)
    assert content(out, _CHANGED) == content(path, _CHANGED)
    np.testing.assert_array_equal(read_keypoints(out).labels, table.labels)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # imageio's, of its own pipe
def test_nwb_of_a_video_is_read_back_by_sleap_io(tmp_path: Path) -> None:
    """Fills are invisible there, which is missing; labels are as they were."""
    skeleton = sio.Skeleton(["a", "b"], name="fly")
    points = np.array([[1.5, 2.25], [np.nan, np.nan]])
    sio.save_video(
        np.random.default_rng(0).integers(0, 255, (3, 32, 48, 1), np.uint8), str(tmp_path / "v.mp4")
    )
    video = sio.load_video(str(tmp_path / "v.mp4"))
    frames = [
        sio.LabeledFrame(
            video=video, frame_idx=i, instances=[sio.Instance.from_numpy(points + i, skeleton=skeleton)]
        )
        for i in (0, 2)
    ]
    sio.save_nwb(sio.Labels(frames), str(tmp_path / "a.nwb"), nwb_format="annotations")
    table = read_keypoints(tmp_path / "a.nwb")
    found = found_for(table, 1)
    found.xy[:] = 7.5
    filled_copy(table, found, tmp_path / "out.nwb")
    labels = sio.load_nwb(str(tmp_path / "out.nwb"))
    assert [frame.frame_idx for frame in labels] == [0, 2]
    np.testing.assert_array_equal(np.array([frame.instances[0].numpy() for frame in labels]), table.labels)
    dataset = read_dataset(tmp_path / "a.nwb", TableRequest())
    assert dataset.images is not None
    assert dataset.images.shape == (2, 32, 48)
    del labels, video, frames
    gc.collect()


def test_answers_in_nwb_are_no_labels(tmp_path: Path) -> None:
    """PoseEstimation is told from PoseTraining."""
    with h5py.File(tmp_path / "p.nwb", "w") as file:
        group = file.create_group("processing/behavior/pose")
        group.attrs["neurodata_type"] = "PoseEstimation"
    assert "a network's answers, which are no labels" in labelfill("inspect", tmp_path / "p.nwb").sentence


@st.composite
def mice(draw: st.DrawFn) -> tuple[int, np.ndarray, np.ndarray]:
    """Version, points (frames, animals, 12, 2) as y, x and confidences of a file of JABS."""
    version = draw(st.sampled_from([2, 3, 4, 5]))
    shape = (draw(st.integers(1, 4)), 1 if version == 2 else draw(st.integers(1, 3)), 12)
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    confidence = random.choice(np.array([0, 1, 1], np.float32), shape)
    confidence[0, 0, 0] = 1
    points = random.integers(1, 300, (*shape, 2), dtype=np.uint16)
    points[confidence == 0] = 0
    return version, points, confidence


@FEW
@given(drawn=mice())
def test_jabs_is_filled_in_a_copy(drawn: Any, tmp_path: Path) -> None:
    """Whole px and a confidence for each fill; sleap-io reads both, and everything else is the same."""
    version = drawn[0]
    path = write_jabs(tmp_path / f"m_pose_est_v{version}.h5", *drawn)
    out = tmp_path / f"out_pose_est_v{version}.h5"
    table = read_keypoints(path)
    found = found_for(table, 1)
    filled_copy(table, found, out)
    found.xy[:] = np.rint(found.xy)
    check_filled(path, found, out)
    assert content(out, ("points", "confidence")) == content(path, ("points", "confidence"))
    labels = sio.load_jabs(str(out))
    got = [instance for frame in labels for instance in frame]
    assert len(got) == table.rows
    np.testing.assert_array_equal(np.array([each.numpy() for each in got]), found.whole(table))
    new = found.new(table).all(axis=2)
    scores = np.array([each.points["score"] for each in got])
    np.testing.assert_allclose(scores[new], np.minimum(found.score[new], 0.9999), atol=1e-6)


def test_answers_of_jabs_count_from_a_likelihood(tmp_path: Path) -> None:
    """Without one they are refused; with one the surer points are labels and the others are filled."""
    confidence = np.full((1, 1, 12), 0.9, np.float32)
    confidence[0, 0, :2] = 0.3, 0
    points = np.full((1, 1, 12, 2), 9, np.uint16)
    path = write_jabs(tmp_path / "m_pose_est_v3.h5", 3, points, confidence)
    assert "--min-likelihood 0.6" in labelfill("inspect", path).sentence
    reading = ReadingOptions(min_likelihood=0.6)
    table = read_keypoints(path, reading=reading)
    assert table.labelled.sum() == 10
    found = found_for(table, 1)
    found.xy[:] = 11.2
    filled_copy(table, found, tmp_path / "filled.h5")
    after = read_keypoints(tmp_path / "filled.h5", beside=path, filled=True)
    assert after.labels[0, :3].tolist() == [[11, 11], [11, 11], [9, 9]]
