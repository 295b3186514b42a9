"""SLEAP's labels: read, filled and written, and judged by sleap-io."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from skimage.io import imread, imsave

from labelfill.data.dataset_reading import TableRequest, read_dataset
from labelfill.data.formats import read_keypoints, write_found
from labelfill.data.formats.conversion import convert
from labelfill.data.reading_options import ReadingOptions
from labelfill.errors import UsageError
from tests.drawn_points import SIZES, write_images
from tests.drawn_poses import check_filled, filled_copy, found_for, instances, sleap_labels
from tests.driving import done, labelfill

sio = pytest.importorskip("sleap_io", reason="needs sleap-io: pip install '.[pose]'")

FEW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def told(labels: Any, *, of_a_person: bool = False) -> list[Any]:
    """Everything of labels that is compared, instances in their order."""
    frames = []
    for frame in labels:
        kept = [i for i in frame if not (of_a_person and isinstance(i, sio.PredictedInstance))]
        points = [[repr(i.points[name].tolist()) for name in i.points.dtype.names] for i in kept]
        about = [(type(i).__name__, i.track and i.track.name, getattr(i, "score", None)) for i in kept]
        frames.append((labels.videos.index(frame.video), frame.frame_idx, points, about))
    skeletons = [(s.name, s.node_names, s.edge_inds) for s in labels.skeletons]
    suggestions = [(labels.videos.index(s.video), s.frame_idx) for s in labels.suggestions]
    videos = [(v.filename, v.backend_metadata) for v in labels.videos]
    ours = ("filename", "labelfill")
    provenance = {name: value for name, value in labels.provenance.items() if name not in ours}
    return [frames, skeletons, suggestions, videos, provenance, [track.name for track in labels.tracks]]


@FEW
@given(drawn=instances())
def test_a_person_s_instances_come_back_and_fills_are_predicted(drawn: Any, tmp_path: Path) -> None:
    """All that the file held is there as it was; for each row with a fill one more predicted instance."""
    nodes, frames = drawn
    path, out = tmp_path / "a.slp", tmp_path / "out.slp"
    sio.save_slp(sleap_labels(nodes, frames, tmp_path), str(path), verbose=False)
    table = read_keypoints(path)
    assert table.keypoints == tuple(nodes)
    np.testing.assert_array_equal(table.labels, np.concatenate(frames))
    found = found_for(table, 1)
    filled_copy(table, found, out)
    check_filled(path, found, out)
    before, after = (sio.load_slp(str(file), open_videos=False) for file in (path, out))
    new = found.new(table).all(axis=2)
    added = [len(b.instances) - len(a.instances) for a, b in zip(before, after, strict=True)]
    assert sum(added) == new.any(axis=1).sum()
    rows = np.flatnonzero(new.any(axis=1)).tolist()
    for frame, count in zip(after, added, strict=True):
        for predicted in frame.instances[len(frame.instances) - count :]:
            row = rows.pop(0)
            assert type(predicted) is sio.PredictedInstance
            assert predicted.track is None
            scores = predicted.points["score"]
            stated = np.minimum(found.score[row][new[row]], 0.9999)
            np.testing.assert_allclose(scores[new[row]], stated, atol=6e-5)
            assert (scores[table.labelled[row]] == 1).all()
            assert predicted.score == pytest.approx(scores[new[row]].mean())
        del frame.instances[len(frame.instances) - count :]
    assert told(after) == told(before)


@FEW
@given(drawn=instances())
def test_a_filled_copy_is_filled_anew_as_the_original_is(drawn: Any, tmp_path: Path) -> None:
    """Predicted instances are no labels, whoever made them; read as filled, the last ones count."""
    path, once, twice = (tmp_path / f"{name}.slp" for name in ("a", "once", "twice"))
    sio.save_slp(sleap_labels(*drawn, tmp_path), str(path), verbose=False)
    table = read_keypoints(path)
    filled_copy(table, found_for(table, 1), once)
    again = read_keypoints(once)
    np.testing.assert_array_equal(again.labels, table.labels)
    other = found_for(again, 2)
    filled_copy(again, other, twice)
    check_filled(path, found_for(table, 2), twice)


def test_embedded_frames_are_read_and_kept(tmp_path: Path) -> None:
    """A package's pixels are those of its image files, in a filled copy, too; no image file is needed."""
    write_images(tmp_path)
    points = np.array([[[3.0, 4.0], [np.nan, np.nan]]])
    labels = sleap_labels(["nose", "tail"], [points, points + 1, points], tmp_path)
    path, package, out = (tmp_path / name for name in ("a.slp", "a.pkg.slp", "out.pkg.slp"))
    sio.save_slp(labels, str(path), verbose=False)
    sio.save_slp(sio.load_slp(str(path)), str(package), embed=True, verbose=False)
    beside_files = [
        np.asarray(sio.load_slp(str(path)).videos[0][frame][..., 0]) for frame in range(len(labels))
    ]
    for image in tmp_path.glob("*.png"):
        image.unlink()
    table = read_keypoints(package)
    assert table.extra["image_path"] == ["video0#0", "video0#1", "video0#2"]
    filled_copy(table, found_for(table, 3), out)
    for file in (package, out):
        dataset = read_dataset(file, TableRequest(framed=True), cache_dir=tmp_path / "cache")
        assert dataset.images is not None
        video = sio.load_slp(str(file)).videos[0]
        for frame, image in enumerate(beside_files):
            np.testing.assert_array_equal(video[frame][..., 0], image)


def test_a_video_that_is_elsewhere_is_told(tmp_path: Path) -> None:
    """The sentence names the video and how its frames are embedded."""
    about = {"shape": [9, 8, 8, 1]}
    video = sio.Video(filename="/data/mouse.mp4", open_backend=False, backend_metadata=about)
    skeleton = sio.Skeleton(["a", "b"])
    instance = sio.Instance.from_numpy(np.array([[1.0, 2.0], [3.0, 4.0]]), skeleton=skeleton)
    labels = sio.Labels([sio.LabeledFrame(video=video, frame_idx=3, instances=[instance])])
    sio.save_slp(labels, str(tmp_path / "v.slp"), verbose=False)
    refused = labelfill("inspect", tmp_path / "v.slp")
    assert refused.code == 3
    assert "'/data/mouse.mp4'" in refused.sentence
    assert "sio embed" in refused.sentence
    (tmp_path / "below").mkdir()
    elsewhere = tmp_path / "elsewhere.mp4"
    elsewhere.touch()
    video.filename = str(elsewhere)
    sio.save_slp(labels, str(tmp_path / "below" / "v.slp"), verbose=False)
    assert "--allow-outside" in labelfill("inspect", tmp_path / "below" / "v.slp").sentence


def test_images_that_lay_elsewhere_are_found_beside_the_file(tmp_path: Path) -> None:
    """By the longest end of their names that is there, whichever system wrote these."""
    (tmp_path / "ims").mkdir()
    write_images(tmp_path / "ims")
    labels = sleap_labels(["a"], [np.ones((1, 1, 2)), np.ones((1, 1, 2))], Path("C:\\data\\ims"))
    sio.save_slp(labels, str(tmp_path / "a.slp"), verbose=False)
    assert read_keypoints(tmp_path / "a.slp").extra["image_path"] == ["ims/0.png", "ims/1.png"]


def test_skeletons_of_different_nodes_are_refused(tmp_path: Path) -> None:
    """Both are named; and a file that only holds predictions labels nothing."""
    labels = sleap_labels(["a", "b"], [np.ones((1, 2, 2)), np.ones((1, 2, 2))], tmp_path)
    other = sio.Skeleton(["c", "a"], name="fly")
    labels[0].instances.append(sio.Instance.from_numpy(np.ones((2, 2)), skeleton=other))
    labels.skeletons.append(other)
    sio.save_slp(labels, str(tmp_path / "two.slp"), verbose=False)
    assert "'animal' 'a', 'b' and 'fly' 'c', 'a'" in labelfill("inspect", tmp_path / "two.slp").sentence
    for frame in labels:
        frame.instances = [i for i in frame.instances if isinstance(i, sio.PredictedInstance)]
    sio.save_slp(labels, str(tmp_path / "none.slp"), verbose=False)
    assert "labels no instance" in labelfill("inspect", tmp_path / "none.slp").sentence


def test_placeholders_are_replaced_in_the_prediction_alone(tmp_path: Path) -> None:
    """A declared placeholder is a blank; the person's instance keeps it."""
    points = np.array([[[3.0, 4.0], [-1.0, -1.0]]])
    path, out = tmp_path / "a.slp", tmp_path / "out.slp"
    sio.save_slp(sleap_labels(["a", "b"], [points], tmp_path), str(path), verbose=False)
    reading = ReadingOptions(missing_values=(-1.0,))
    table = read_keypoints(path, reading=reading)
    assert np.isnan(table.labels[0, 1]).all()
    buffer = BytesIO()
    found = found_for(table, 5)
    found.xy[:] = 6.5
    write_found(table, found, buffer, "out.slp")
    out.write_bytes(buffer.getvalue())
    after = read_keypoints(out, filled=True, reading=reading)
    assert after.labels.tolist() == [[[3.0, 4.0], [6.5, 6.5]]]
    assert read_keypoints(out).labels.tolist() == points.tolist()


def test_converted_and_back(tmp_path: Path) -> None:
    """Labels and image names come back from a new .slp, images of one size as one list."""
    write_images(tmp_path)
    rows = "".join(f"{i}.png,{i + 1}.5,{i + 2}.25,,\n" for i in range(len(SIZES)))
    (tmp_path / "t.csv").write_text("image_path,a_x,a_y,b_x,b_y\n" + rows)
    convert(tmp_path / "t.csv", tmp_path / "t.slp")
    labels = sio.load_slp(str(tmp_path / "t.slp"), open_videos=False)
    assert [len(video.filename) for video in labels.videos] == [2, 1, 1, 1]
    assert labels.skeletons[0].node_names == ["a", "b"]
    convert(tmp_path / "t.slp", tmp_path / "back.csv")
    once, back = (read_keypoints(tmp_path / name) for name in ("t.csv", "back.csv"))
    order = [once.extra["image_path"].index(name) for name in back.extra["image_path"]]
    np.testing.assert_array_equal(back.labels, once.labels[order])


def test_embedded_frames_become_files_where_they_are_converted(tmp_path: Path) -> None:
    """A table beside them names PNG files of the same pixels; a second time --force is asked for."""
    write_images(tmp_path)
    points = np.array([[[3.0, 4.0], [5.5, 6.5]]])
    path, package = tmp_path / "a.slp", tmp_path / "a.pkg.slp"
    sio.save_slp(sleap_labels(["a", "b"], [points, points + 1], tmp_path), str(path), verbose=False)
    sio.save_slp(sio.load_slp(str(path)), str(package), embed=True, verbose=False)
    converted = convert(package, tmp_path / "t.csv")
    assert converted.images_written == 2
    table = read_keypoints(tmp_path / "t.csv")
    assert table.extra["image_path"] == ["t_images/video0_0.png", "t_images/video0_1.png"]
    embedded = sio.load_slp(str(package)).videos[0]
    for frame, name in enumerate(table.extra["image_path"]):
        np.testing.assert_array_equal(imread(tmp_path / name), embedded[frame][..., 0])
    (tmp_path / "t.csv").unlink()
    with pytest.raises(UsageError, match="t_images exists already"):
        convert(package, tmp_path / "t.csv")


@pytest.mark.slow
def test_the_way_through_the_program(tmp_path: Path) -> None:
    """Two animals in each frame are trained from, filled and trained from again, each looked at alone."""
    random = np.random.default_rng(0)
    names, frames = [], []
    base = np.array([[5.0, 5.0], [13.0, 6.0], [9.0, 14.0]])
    for number in range(16):
        points = base + random.normal(0, 1, (2, 3, 2)) + [[[0, 0]], [[30, 10]]]
        points[number % 2, random.integers(3)] = np.nan
        frames.append(points)
        names.append(str(tmp_path / f"{number}.png"))
        imsave(names[-1], random.integers(0, 256, (48, 64), np.uint8), check_contrast=False)
    labels = sleap_labels(["a", "b", "c"], frames, tmp_path)
    video = sio.Video.from_filename(names)
    for frame in labels:
        frame.video = video
    path, filled, run = tmp_path / "a.slp", tmp_path / "f.slp", ("--run-dir", tmp_path / "run")
    sio.save_slp(sio.Labels(labels.labeled_frames), str(path), verbose=False)
    done("inspect", path)
    done("train-keypoint-models", "--data", path, *run, "--method", "prior")
    summary = done("impute", *run, "--data", path, "--out", filled)
    after = read_keypoints(filled, filled=True)
    assert after.observed.all()
    assert summary["filled"] == (~read_keypoints(path).observed).sum()
    final = done("train-final", *run, "--filled", filled, "--epochs", 1, "--refine", "none")
    assert np.isfinite(final["evaluation rmse"])
