"""The final network as one file: it answers as the network it was made of, any batch and image size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from labelfill.data.synthetic import draw_table, write_table
from labelfill.final.export import ExportedNetwork
from labelfill.final.model import FinalModel, load_final
from labelfill.final.targets import Heads
from labelfill.networks.architectures import FinalNetwork
from labelfill.runs import RunDirectory
from labelfill.schema import ImageSize, KeypointSchema
from labelfill.settings import FinalModelSettings
from labelfill.sources.groups import UNKNOWN
from tests.driving import done, labelfill
from tests.trained_runs import SMALL_KEYPOINTS, Trained

MOST = 0.01  # px
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def oblong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images that are not square, with a final network."""
    folder = tmp_path_factory.mktemp("oblong")
    write_table(folder / "t.csv", draw_table(60, 4, keypoints=SMALL_KEYPOINTS, image_size=ImageSize(30, 44)))
    common = ["--run-dir", folder / "run"]
    size = ["--image-size", "30x44", "--method", "prior"]
    done("train-keypoint-models", "--data", folder / "t.csv", *common, *size)
    done("impute", *common)
    done("train-final", *common, "--epochs", 2)
    return folder / "run"


def pixels(run: Path, count: int) -> np.ndarray:
    size = load_final(RunDirectory.read_only(run), CPU).schema.image_size
    return np.random.default_rng(count).integers(0, 256, (count, size.height, size.width), dtype=np.uint8)


def answers(run: Path, images: np.ndarray, group: int = UNKNOWN) -> tuple[np.ndarray, np.ndarray]:
    """What `predict` would say: coordinates and radii."""
    model = load_final(RunDirectory.read_only(run), CPU)
    xy, sigma = model.answer(images, CPU)
    groups = np.full(len(images), group)
    return model.heads.in_convention(xy, groups), model.heads.in_convention(model.radius(sigma, 0.9), groups)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["face", "oblong"])
def test_onnx_answers_as_the_network_does(
    kind: str, two_sources_final: Trained, oblong: Path, tmp_path: Path
) -> None:
    """Within 0.01 px at batch 1, 3 and 64, by onnxruntime; the file itself names keypoints and size."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    run = {"face": two_sources_final.run, "oblong": oblong}[kind]
    summary = done("export", "--run-dir", run, "--format", "onnx", "--out", tmp_path / "m.onnx")
    assert summary["difference"] <= MOST
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.md", "m.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 3, 64):
        images = pixels(run, count)
        wanted, radius = answers(run, images)
        found = session.run(["xy", "radius"], {"images": images})
        assert found[0].shape == wanted.shape
        assert np.abs(found[0] - wanted).max() <= MOST
        np.testing.assert_allclose(found[1], radius, atol=MOST)
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["keypoints"]) == summary["keypoints"]
    assert json.loads(told["image_size"]) == f"{images.shape[1]}x{images.shape[2]}"


@pytest.mark.slow
def test_a_pt2_answers_as_the_network_does(two_sources_final: Trained, tmp_path: Path) -> None:
    """Within 0.01 px at batch 1, 3 and 64, in the convention of the source asked for."""
    run = two_sources_final.run
    done("export", "--run-dir", run, "--format", "torch", "--out", tmp_path / "m.pt2", "--source", "2")
    network = torch.export.load(tmp_path / "m.pt2").module()  # a user's step: the program never loads it
    for count in (1, 3, 64):
        images = pixels(run, count)
        with torch.inference_mode():
            found = network(torch.from_numpy(images))[0].numpy()
        assert np.abs(found - answers(run, images, group=1)[0]).max() <= MOST
    assert np.abs(found - answers(run, images, group=0)[0]).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["baseline", "phase3"])
@pytest.mark.parametrize("how", ["onnx", "torch"])
def test_networks_of_the_original_work_are_exported(
    preset: str, how: str, small_prior: Trained, tmp_path: Path
) -> None:
    """For any number of images, as labelfill's own network is."""
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    shutil.copytree(small_prior.run, tmp_path / "run")
    common = ["--run-dir", tmp_path / "run"]
    done("impute", *common, "--out", tmp_path / "filled.csv")
    done("train-final", *common, "--preset", preset, "--epochs", 1, "--equalize", "none",
         "--second-session-epochs", 0)  # fmt: skip
    out = tmp_path / ("m.onnx" if how == "onnx" else "m.pt2")
    assert done("export", *common, "--format", how, "--out", out)["difference"] <= MOST


SIZES: list[tuple[ImageSize, tuple[int, int]]] = [
    (ImageSize(40, 96), (40, 96)),
    (ImageSize(7, 5), (8, 8)),  # smaller than any network's input
    (ImageSize(250, 193), (96, 74)),  # looked at through means over 2 px, which do not divide it
    (ImageSize(400, 301), (96, 72)),
]


@pytest.mark.parametrize(("size", "samples"), SIZES, ids=lambda value: str(value))
def test_the_module_samples_images_of_any_size_as_the_network_is_given_them(
    size: ImageSize, samples: tuple[int, int]
) -> None:
    """Larger, smaller and oblong images; a partner, none, and a mirror axis beside the image's."""
    torch.manual_seed(0)
    schema = KeypointSchema(("left", "right", "middle", "odd"), size, mirror_shift=0.7)
    heads = Heads(4, ((2, 1),))
    network = FinalNetwork(heads.count, *samples).eval()
    settings = FinalModelSettings(equalize="stretch" if size.height == 40 else "none")
    model = FinalModel(network, schema, heads, samples, 9.0, (1, 0, 2, -1, 4), ("1", "2"), settings)
    images = np.random.default_rng(1).integers(0, 256, (3, size.height, size.width), dtype=np.uint8)
    wanted = model.heads.in_convention(model.answer(images, CPU)[0], np.array([1, 1, 1]))
    with torch.inference_mode():
        xy, radius = ExportedNetwork(model, 1, 0.9)(torch.from_numpy(images))
    np.testing.assert_allclose(xy.numpy(), wanted, atol=MOST)
    assert np.isnan(radius.numpy()).all(), "without a calibration nobody knows"


@pytest.mark.slow
def test_the_card_tells_data_conventions_accuracy_and_limits(
    two_sources_final: Trained, tmp_path: Path
) -> None:
    """From the run's own figures."""
    done("export", "--run-dir", two_sources_final.run, "--format", "torch", "--out", tmp_path / "m.pt2")
    card = (tmp_path / "m.md").read_text()
    for title in ("# m.pt2", "## Use", "## Data and conventions", "## Accuracy", "## Limits"):
        assert f"{title}\n" in card
    results = RunDirectory.read_only(two_sources_final.run).stages["train-final"]["results"]
    assert f"RMSE {results['evaluation rmse']:.2f} px" in card
    assert "Label sources: 1 (" in card
    assert "Source 2 marks nose_tip" in card
    assert "110 rows" in card
    assert "torch.export.load('m.pt2')" in card


def test_what_cannot_be_exported_is_refused(
    two_sources_final: Trained, small_prior: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An existing file, a suffix that belongs to another format, an unknown source, no final network."""
    command = ["export", "--run-dir", two_sources_final.run, "--format", "torch", "--out"]
    (tmp_path / "m.md").write_text("precious")
    cases: list[tuple[list[object], int, str]] = [
        ([*command, tmp_path / "m.pt2"], 2, "m.md already exists: choose another file, or use --force"),
        ([*command, tmp_path / "x.onnx"], 2, "the name of a file of --format torch must end in .pt2"),
        (
            [*command, tmp_path / "x.pt2", "--source", "9"],
            2,
            "--source 9: the network knows the sources 1, 2",
        ),
        (["export", "--run-dir", small_prior.run, "--out", tmp_path / "x.onnx"], 3, "train-final"),
    ]
    for arguments, code, sentence in cases:
        refused = labelfill(*arguments)
        assert (refused.code, sentence in refused.sentence) == (code, True), refused.err
    assert (tmp_path / "m.md").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.md"]


@pytest.mark.slow
def test_a_network_that_answers_differently_is_not_written(
    two_sources_final: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is exported is compared with the network before it is written."""
    run = tmp_path / "run"
    shutil.copytree(two_sources_final.run, run)
    answer: Callable[..., tuple[np.ndarray, np.ndarray]] = FinalModel.answer

    def beside(self: FinalModel, *arguments: object) -> tuple[np.ndarray, np.ndarray]:
        xy, sigma = answer(self, *arguments)
        return xy + 0.02, sigma

    monkeypatch.setattr(FinalModel, "answer", beside)
    refused = labelfill("export", "--run-dir", run, "--format", "torch", "--out", tmp_path / "m.pt2")
    assert refused.code == 3
    assert "differ by 0.020 px from" in refused.sentence
    assert not (tmp_path / "m.pt2").exists()
