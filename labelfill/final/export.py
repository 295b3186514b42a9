"""The final network as one file for other programs: grey pixels in, pixel coordinates out.

What `FinalModel.answer` does around its network is written here as a module of plain tensor operations, so
that it travels in the file: sampling the image, the mirrored pass, units to px, and the error radius. An
image is sampled along its own axes, so the sampling is two matrix products, which every runtime has.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from labelfill.errors import ModelError, UsageError
from labelfill.final.exported_refiner import Constants, ExportedRefiner
from labelfill.final.model import FinalModel, load_final
from labelfill.final.model_card import ExportAbout, model_card
from labelfill.networks.loss import LOG_SIGMA_RANGE
from labelfill.regressors.calibration.blending import LEAST_SIGMA
from labelfill.runs import RunDirectory, write_bytes
from labelfill.sources.groups import UNKNOWN

ExportFormat = Literal["onnx", "torch"]
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}

# What an exported network may differ from the one it was made of, px.
MOST_DIFFERENCE = 0.01
_OPSET = 18


class ExportedNetwork(Constants):
    """(B, H, W) uint8 grey -> (B, K, 2) px and (B, K) error radius in px (NaN without a calibration).

    Parameters
    ----------
    group
        The label source in whose convention it answers; `UNKNOWN` for the reference convention.
    coverage
        The share of cases in which the radius holds.
    """

    rows: Tensor
    columns: Tensor
    centre: Tensor
    partners: Tensor
    has_partner: Tensor
    heads: Tensor
    sigma_scale: Tensor
    radius_factor: Tensor

    def __init__(self, model: FinalModel, group: int, coverage: float) -> None:
        super().__init__()
        self.network = model.network
        self.scaled, self.stretched = model.scaled, model.settings.equalize == "stretch"
        size, (tall, broad) = model.schema.image_size, model.size
        longer = max(tall, broad)
        # The same figures as `Pyramid.cut` for the whole image, where they are explained.
        self.reduction = max(1, int(2 * size.unit / longer))
        self.padding = (-size.width % self.reduction, -size.height % self.reduction)
        y = (size.height - 1) / 2 + ((np.arange(tall) + 0.5) * 2 - tall) / longer * size.unit
        x = (size.width - 1) / 2 + ((np.arange(broad) + 0.5) * 2 - broad) / longer * size.unit
        self.keep("rows", _sampling(y, size.height, self.reduction))
        self.keep("columns", _sampling(x, size.width, self.reduction).T)
        self.keep("centre", size.centre)
        self.spread, self.axis = model.spread, size.width - 1 + 2 * model.schema.mirror_shift
        self.mirrors = model.partners is not None and not model.settings.original
        partners = np.arange(model.heads.count) if model.partners is None else np.asarray(model.partners)
        self.keep("partners", np.maximum(partners, 0))
        self.keep("has_partner", partners >= 0)
        heads = model.heads.in_convention(np.arange(model.heads.count, dtype=float)[None], np.array([group]))
        self.keep("heads", heads[0].astype(np.int64))
        scale, factor = np.full((2, model.heads.count), np.nan)
        calibration = model.answers_calibration
        if calibration is not None:
            scale, factor = calibration.sigma_scale, calibration.radius_factor(coverage)
        self.refiner = None if model.refiner is None else ExportedRefiner(model.refiner)
        self.keep("sigma_scale", scale)
        self.keep("radius_factor", factor)
        self.least_sigma = LEAST_SIGMA

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates and radii of every image of a batch."""
        grey = images.to(torch.float32)
        if self.stretched:  # as `images.equalize`, which leaves flat images as they are
            low, high = torch.amin(grey, (1, 2), keepdim=True), torch.amax(grey, (1, 2), keepdim=True)
            flat = high == low
            grey = torch.where(
                flat, grey, ((grey - low) * (255 / torch.where(flat, 1.0, high - low))).round()
            )
        level = grey
        if self.reduction > 1:
            padded = functional.pad(grey[:, None], (0, self.padding[0], 0, self.padding[1]), mode="replicate")
            level = functional.avg_pool2d(padded, self.reduction).round()[:, 0]
        level = level / 255
        seen = self.scaled((self.rows @ level @ self.columns)[:, None])
        xy, sigma = self._found(seen)
        if self.mirrors:
            other, other_sigma = self._found(torch.flip(seen, (-1,)))
            other, other_sigma = other[:, self.partners], other_sigma[:, self.partners]
            other = torch.stack([self.axis - other[..., 0], other[..., 1]], dim=-1)
            xy = torch.where(self.has_partner[:, None], (xy + other) / 2, xy)
            sigma = torch.where(self.has_partner, torch.sqrt((sigma**2 + other_sigma**2) / 2), sigma)
        if self.refiner is not None:
            xy, sigma = self.refiner(grey, xy, sigma)
        radius = torch.clamp(sigma * self.sigma_scale, min=self.least_sigma) * self.radius_factor
        return xy[:, self.heads], radius[:, self.heads]

    def _found(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        answer = self.network(inputs, inputs.new_zeros(inputs.shape[0], 0))
        xy = self.centre + answer[..., :2] * self.spread
        return xy, torch.exp(torch.clamp(answer[..., 2], -LOG_SIGMA_RANGE, LOG_SIGMA_RANGE)) * self.spread


def _sampling(at: NDArray[np.float64], length: int, reduction: int) -> NDArray[np.float64]:
    """(m, cells): weights of linear interpolation at places in px among means over `reduction` px."""
    cells = -(-length // reduction)
    place = np.clip((at + 0.5) / reduction - 0.5, 0, cells - 1)
    left = np.minimum(np.floor(place).astype(np.int64), max(cells - 2, 0))
    weights = np.zeros((len(at), cells))
    weights[np.arange(len(at)), left] = 1 - (place - left)
    weights[np.arange(len(at)), np.minimum(left + 1, cells - 1)] += place - left
    return weights


def export(
    run: RunDirectory,
    out: Path,
    how: str,
    *,
    source: str | None = None,
    coverage: float = 0.9,
    force: bool = False,
) -> dict[str, Any]:
    """Write the final network of a run as one file, and a model card beside it.

    Parameters
    ----------
    how
        ``onnx``, or ``torch`` for the ``.pt2`` of torch.export.
    source
        The label source in whose convention it answers; None: the reference convention.

    Returns
    -------
    dict
        The files, and by how many px the exported network differs from the one it was made of.

    Raises
    ------
    UsageError
        If a file exists, the source is not known, or a package is missing.
    ModelError
        If there is no final network, or what was exported answers differently.
    """
    if how not in get_args(ExportFormat):
        raise UsageError(f"--format {how} is not one of {', '.join(get_args(ExportFormat))}")
    if out.suffix.lower() != SUFFIXES[how]:
        raise UsageError(f"--out {out}: the name of a file of --format {how} must end in {SUFFIXES[how]}")
    card = out.with_suffix(".md")
    for path in (out, card):
        if path.exists() and not force:
            raise UsageError(f"{path} already exists: choose another file, or use --force to overwrite it")
    if how == "onnx":
        _require_onnx()
    model = load_final(run, torch.device("cpu"))
    if model.settings.equalize not in ("none", "stretch"):
        raise UsageError(
            f"the final network in {run.path} was trained on images equalised by "
            f"{model.settings.equalize!r}, which cannot be exported; "
            "train one with --equalize none or stretch"
        )
    group = UNKNOWN
    if source is not None:
        if source not in model.sources:
            known = f"the network knows the sources {', '.join(model.sources)}" if model.sources else (
                "the network has one convention"
            )  # fmt: skip
            raise UsageError(f"--source {source}: {known}")
        group = model.sources.index(source)
    network = ExportedNetwork(model, group, coverage).eval()
    convention = "reference" if source is None else f"source {source}"
    about = ExportAbout(model.schema.keypoints, str(model.schema.image_size), convention, coverage)
    with _quiet_exporter():
        data = _onnx(network, model, about) if how == "onnx" else _pt2(network, model, about)
    difference = _difference(data, how, model, network, group)
    if not difference <= MOST_DIFFERENCE:
        raise ModelError(
            f"the predictions of the exported network differ by {difference:.3f} px from those of "
            f"{run.path}, more than "
            f"{MOST_DIFFERENCE} px; nothing was written"
        )
    write_bytes(card, model_card(run, model, out.name, how, about, difference).encode())
    write_bytes(out, data)
    return {
        "out": str(out),
        "card": str(card),
        "format": how,
        **asdict(about),
        "difference": round(difference, 6),
    }


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401 - whether it is there
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(f"--format onnx needs the extra onnx ({error}): pip install '.[onnx]'") from error


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporters' notes about themselves; their errors stay errors."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "torch.onnx", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside the exporters
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _example(model: FinalModel, count: int) -> Tensor:
    size = model.schema.image_size
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, size.height, size.width), generator=generator, dtype=torch.uint8)


def _onnx(network: ExportedNetwork, model: FinalModel, about: ExportAbout) -> bytes:
    program = torch.onnx.export(
        network,
        (_example(model, 2),),
        dynamo=True,
        opset_version=_OPSET,
        input_names=["images"],
        output_names=["xy", "radius"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update({name: json.dumps(value) for name, value in asdict(about).items()})
    with TemporaryDirectory(prefix="labelfill-") as folder:
        path = Path(folder) / "model.onnx"
        program.save(path, external_data=False)
        return path.read_bytes()


def _pt2(network: ExportedNetwork, model: FinalModel, about: ExportAbout) -> bytes:
    program = torch.export.export(
        network, (_example(model, 2),), dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}}
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"about.json": json.dumps(asdict(about))})
    return buffer.getvalue()


def _difference(data: bytes, how: str, model: FinalModel, network: ExportedNetwork, group: int) -> float:
    """By how many px the exported coordinates differ from the model's, at most, at batch 1 and 5."""
    most = 0.0
    for count in (1, 5):
        images = _example(model, count).numpy()
        found, _ = model.answer(images, torch.device("cpu"))
        wanted = model.heads.in_convention(found, np.full(count, group))
        if how == "onnx":
            import onnxruntime

            session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
            got = session.run(["xy"], {"images": images})[0]
        else:  # what was saved is not loaded back: that is for whoever trusts the file
            with torch.inference_mode():
                got = network(torch.from_numpy(images))[0].numpy()
        most = max(most, float(np.abs(got - wanted).max()))
    return most
