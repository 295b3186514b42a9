"""The third stage: one network for all keypoints, trained on the filled table and scored on held-out rows."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays
from safetensors.torch import save

from labelfill.dataset import Dataset
from labelfill.distrust import read_distrust
from labelfill.errors import DataError, ModelError
from labelfill.filling import row_anchors
from labelfill.final_calibration import calibrate_radii, covered
from labelfill.final_model import ABOUT, FORMAT, RADII, STAGE, WEIGHTS, FinalModel, whole_images
from labelfill.final_targets import Filled, Heads, Targets, make_targets, read_filled
from labelfill.model_files import STAGE as MODELS_STAGE
from labelfill.model_files import load_ensemble, load_schema
from labelfill.networks import FinalNetwork, parameter_count
from labelfill.patches import Frames, Pyramid, photometric_jitter, standardise
from labelfill.preparation import declared_sources, distrust_inputs, rows_fingerprint
from labelfill.progress import bar
from labelfill.provenance import distrust_path, provenance_path
from labelfill.runs import (
    EVALUATION,
    TRAINING,
    VALIDATION,
    RunDirectory,
    json_value,
    load_split,
    sha256_file,
)
from labelfill.schema import ImageSize, KeypointSchema
from labelfill.settings import FinalModelSettings
from labelfill.sources import SourceGroups
from labelfill.training import Examples, Fitted, Plan, choose_device, fit, random_key

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
_log = logging.getLogger("labelfill")
_LONGEST_SIDE = 96
# Training images are turned, scaled and shifted at random by about this much (radians, share, share).
_TURN, _STRETCH, _SHIFT = 0.15, 0.08, 0.04
_AVERAGED = 0.995
# Tables of few rows get more epochs, so that the network still takes about this many steps.
_LEAST_STEPS = 800
# The share of cases in which the radii hold that the figures speak of.
_STATED_COVERAGE = 0.9


def train_final(
    run: RunDirectory,
    filled: Path | None,
    original: Path | None,
    settings: FinalModelSettings,
    *,
    device: str,
    seed: int,
    images_beside: Path | None = None,
    distrust: Path | None = None,
    allow_outside: bool = False,
    force: bool = False,
    progress: bool = False,
) -> Mapping[str, Any]:
    """Train the final network on a filled table, and score it on held-out rows' observed labels.

    Parameters
    ----------
    filled
        The filled table; None takes the one that `impute` wrote last.
    original
        The table before it was filled, if there is no sidecar.
    distrust
        A list of labels that are neither learnt from nor scored; None takes those that were not trusted when
        the table was filled.
    images_beside
        The file whose folder the images are named from; None: as when the table was filled.
    allow_outside
        Whether ``image_path`` may lead out of the table's folder.

    Returns
    -------
    dict
        RMSE per coordinate and MAE in px on evaluation rows, over all and per keypoint.
    """
    chosen = choose_device(device)
    path = filled if filled is not None else _last_filled(run)
    run.require_stage(MODELS_STAGE)
    size = ImageSize.parse(run.manifest["input"]["image_size"])
    table = read_filled(
        path, original, size, run.path / "cache", framed=run.framed,
        images_beside=images_beside or _filled_from(run, path), allow_outside=allow_outside,
        progress=progress,
    )  # fmt: skip
    told_by = provenance_path(path) if original is None else original
    _check_same_table(run, table, told_by)
    table = _with_distrusted(run, table, distrust)
    inputs = {
        "table": table.dataset.table.content_sha256,
        "told by": sha256_file(told_by),
        "models": run.stage_fingerprint(MODELS_STAGE),
        "settings": json_value(settings),
        "seed": seed,
        "device": chosen.type,
        **distrust_inputs(table.dataset),
    }
    state = run.begin_stage(STAGE, inputs, force)
    if state == "done":
        return {"state": "done before", **run.stages[STAGE]["results"]}
    results = _train(run, table, settings, chosen, seed, progress=progress)
    run.finish_stage(STAGE, results=results)
    return {"state": state, **results}


def _last_filled(run: RunDirectory) -> Path:
    stage = run.last_finished("impute")
    if stage is None:
        raise ModelError(
            f"{run.path} has filled no table yet: run `labelfill impute` first, or give --filled TABLE"
        )
    return run.path / str(run.stages[stage]["inputs"]["out"])


def _filled_from(run: RunDirectory, path: Path) -> Path | None:
    """The file whose folder the images of this table are named from, if `impute` wrote it."""
    results = run.stages.get(f"impute {run.recorded_path(path)}", {}).get("results", {})
    beside = results.get("images_beside", results.get("original"))
    return None if beside is None else Path(beside)


def _with_distrusted(run: RunDirectory, filled: Filled, distrust: Path | None) -> Filled:
    """The filled table with the labels that are not to be trusted: by the list given, else the filling's."""
    table = filled.dataset.table
    if distrust is None:
        distrust = distrust_path(table.path)
        outputs = run.stages.get(f"impute {run.recorded_path(table.path)}", {}).get("outputs", {})
        # One that another filling of this name left behind does not count.
        if not distrust.is_file() or sha256_file(distrust) not in outputs.values():
            return filled
    distrusted = read_distrust(distrust, table) & filled.observed.any(axis=2)
    return replace(filled, dataset=replace(filled.dataset, distrusted=distrusted))


def _check_same_table(run: RunDirectory, filled: Filled, told_by: Path) -> None:
    """Refuse a table that is not the run's own, filled, or of which `told_by` does not name every fill.

    The run's split would not fit its rows, or fills would be scored as labels.
    """
    dataset = filled.dataset
    path, schema = dataset.table.path, load_schema(run)
    if dataset.schema != schema:
        raise DataError(
            f"{path} has other keypoints or images than the run in {run.path}; "
            "use the --run-dir in which it was filled"
        )
    assert dataset.images is not None
    found = rows_fingerprint(dataset.images, filled.observed)
    split_of = run.manifest["split"].get("of", found)
    if found["images"] != split_of["images"]:
        raise DataError(
            f"{path} has other images than {run.manifest['input']['path']}, whose rows the run in "
            f"{run.path} divides into training and held-out ones: fill that table, or train keypoint models "
            "on this one's original in another --run-dir"
        )
    ours = any(
        {sha256_file(path), sha256_file(told_by)} <= set(stage["outputs"].values())
        for name, stage in run.stages.items()
        if name.startswith("impute ")
    )
    if found["observed"] != split_of["observed"] and not ours:
        raise DataError(
            f"{told_by} and {path} do not belong together: observed cells by them are not those of "
            f"{run.manifest['input']['path']}, which the run in {run.path} is of; run `labelfill impute` "
            "again, or name the table before it was filled by --data ORIGINAL"
        )


def _train(
    run: RunDirectory,
    filled: Filled,
    settings: FinalModelSettings,
    device: torch.device,
    seed: int,
    *,
    progress: bool,
) -> dict[str, Any]:
    images = filled.dataset.images
    assert images is not None
    ensemble, sources, audit = load_ensemble(run, device)
    schema = ensemble.schema
    parts = load_split(run.path / "split.csv", len(images))
    groups = sources.groups.assign(
        filled.observed[..., 0] & filled.observed[..., 1], declared_sources(filled.dataset, sources.groups)
    )
    heads, moved = Heads(schema.count), None
    if sources.offsets and not settings.single_convention and not filled.harmonised:
        heads = Heads(schema.count, tuple((offset.keypoint, offset.group) for offset in sources.offsets))
        known = _with_labels(filled.dataset, filled.labels)
        anchors = row_anchors(known, ensemble, sources, audit, groups, device, progress=progress)
        moved = (anchors.xy, anchors.noise)
    targets = make_targets(filled, heads, sources.offsets, groups, moved)
    partners = None if ensemble.partners is None else heads.partners(ensemble.partners)
    model = _new_model(schema, heads, targets, parts, partners, sources.groups)
    torch.manual_seed(random_key(seed, STAGE, "weights"))
    network = FinalNetwork(heads.count, *model.size).to(device)
    mean = _mean_target(targets, parts, schema) / model.spread
    network.start_at(torch.from_numpy(mean.astype(np.float32)).to(device))
    model = FinalModel(network, schema, heads, model.size, model.spread, partners, model.sources)
    fitted = _fit(run, model, targets, images, parts, settings, device, seed, progress=progress)
    model = replace(model, calibration=calibrate_radii(model, targets, images, parts, device))
    results = _scores(model, targets, images, parts, groups, device)
    about = _about(model, fitted, settings)
    files = {
        WEIGHTS: save({n: t.detach().cpu().contiguous() for n, t in network.state_dict().items()}),
        ABOUT: json.dumps(about, indent=1).encode(),
    }
    if model.calibration is not None:
        files[RADII] = save_arrays(
            {name: np.ascontiguousarray(array) for name, array in vars(model.calibration).items()}
        )
    run.save_unit(STAGE, "final network", files)
    if filled.dataset.placements is not None:
        results = {"frame": str(schema.image_size), **results}
    run.record({"stage": STAGE, "results": results})
    return {**results, "parameters": parameter_count(network), "best epoch": fitted.best_epoch}


def _with_labels(dataset: Dataset, labels: Array) -> Dataset:
    return replace(dataset, table=replace(dataset.table, labels=labels))


def _new_model(
    schema: KeypointSchema, heads: Heads, targets: Targets, parts: NDArray[np.int8],
    partners: tuple[int, ...] | None, groups: SourceGroups,
) -> FinalModel:  # fmt: skip
    size = schema.image_size
    reduction = max(1.0, max(size.height, size.width) / _LONGEST_SIDE)
    shape = (max(round(size.height / reduction), 8), max(round(size.width / reduction), 8))
    mean = _mean_target(targets, parts, schema) + size.centre
    there = targets.weight[parts == TRAINING] > 0
    away = (targets.xy[parts == TRAINING] - mean)[there]
    spread = max(float(np.sqrt(np.mean(away**2))) if len(away) else size.unit / 10, 1.0)
    return FinalModel(FinalNetwork(1, 8, 8), schema, heads, shape, spread, partners, groups.names)


def _mean_target(targets: Targets, parts: NDArray[np.int8], schema: KeypointSchema) -> Array:
    """(heads, 2): mean target of training rows, from the image's centre, px."""
    weight = targets.weight[parts == TRAINING][..., None]
    total = (weight * (targets.xy[parts == TRAINING] - schema.image_size.centre)).sum(axis=0)
    mean: Array = total / np.maximum(weight.sum(axis=0), 1e-9)
    return mean


def _fit(
    run: RunDirectory, model: FinalModel, targets: Targets, images: NDArray[np.uint8],
    parts: NDArray[np.int8],
    settings: FinalModelSettings, device: torch.device, seed: int, *, progress: bool,
) -> Fitted:  # fmt: skip
    """The long session with small batches, then the second from the best weights with large ones."""
    training = np.flatnonzero((parts == TRAINING) & (targets.weight > 0).any(axis=1))
    held_out = np.flatnonzero((parts == VALIDATION) & targets.observed.any(axis=1))
    if not len(training):
        raise DataError("no training row has any coordinate; nothing can be learnt from this table")
    pyramid = Pyramid(images[training], device)
    validation = None
    if len(held_out):
        shown = Targets(
            targets.xy[held_out], targets.observed[held_out].astype(float), targets.observed[held_out]
        )
        validation = _examples(model, shown, Pyramid(images[held_out], device), None)
    inside = Targets(targets.xy[training], targets.weight[training], targets.observed[training])
    epochs = settings.epochs
    if epochs >= FinalModelSettings().epochs:  # who asks for fewer epochs gets fewer
        epochs = max(epochs, math.ceil(_LEAST_STEPS * settings.batch_size / len(training)))
    sessions = [(epochs, settings.batch_size, settings.learning_rate)]
    if settings.second_session_epochs:
        sessions.append(
            (settings.second_session_epochs, settings.second_session_batch, settings.learning_rate / 4)
        )
    folder = run.checkpoint_folder(STAGE)
    folder.mkdir(parents=True, exist_ok=True)
    best: Fitted | None = None
    with bar(
        total=sum(epochs for epochs, _, _ in sessions), desc="final network", unit="epoch", show=progress
    ) as shown_bar:
        for number, (epochs, batch, rate) in enumerate(sessions):
            plan = Plan(epochs, batch, rate, best_by=settings.best_by, averaged=_AVERAGED)

            def draw(epoch: int, number: int = number) -> Examples:
                return _examples(model, inside, pyramid, random_key(seed, STAGE, number, epoch))

            def tell(figures: dict[str, float]) -> None:
                shown_bar.update()
                shown_bar.set_postfix(
                    {name: f"{value:.3f}" for name, value in figures.items() if name == "rmse"}
                )

            file = folder / f"{run.stages[STAGE]['attempt']}-{number}.safetensors"
            fitted = fit(
                model.network,
                draw,
                validation,
                plan,
                key=(seed, STAGE, number),
                checkpoint=file,
                on_epoch=tell,
            )
            if best is None or validation is None or _figure(fitted, settings) < _figure(best, settings):
                best = fitted
            model.network.load_state_dict(best.state)
    assert best is not None
    return best


def _figure(fitted: Fitted, settings: FinalModelSettings) -> float:
    return fitted.history[fitted.best_epoch][settings.best_by]


def _examples(model: FinalModel, targets: Targets, pyramid: Pyramid, key: int | None) -> Examples:
    """All rows once; with a key mirrored, turned, scaled, shifted and lit at random."""
    count, schema = len(targets.xy), model.schema
    frames = whole_images(schema.image_size, count)
    mirrored = np.zeros(count, bool)
    xy, weight = targets.xy, targets.weight
    source = None
    if key is not None:
        generator = np.random.default_rng(key)
        turn = generator.standard_normal(count) * _TURN
        stretch = np.exp(generator.standard_normal(count) * _STRETCH)
        shift = generator.standard_normal((count, 2)) * _SHIFT * 2 * schema.image_size.unit
        frames = Frames(frames.centre + shift, frames.half * stretch, turn)
        source = torch.Generator(device=pyramid.device)
        source.manual_seed(key)
        if model.partners is not None:
            mirrored = generator.random(count) < 0.5
            order = np.asarray(model.partners)
            flipped = np.nan_to_num(schema.mirror(xy, model.partners))
            xy = np.where(mirrored[:, None, None], flipped, xy)
            weight = np.where(mirrored[:, None], np.where(order >= 0, weight[:, order], 0.0), weight)
    inputs = pyramid.cut(np.arange(count), mirrored, frames, model.size, schema.image_size.unit)
    if source is not None:
        inputs = photometric_jitter(inputs, source)
    target = frames.to_frame(xy - frames.centre[:, None]) * (schema.image_size.unit / model.spread)

    def move(values: Array) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(pyramid.device)

    scale = move(frames.half / schema.image_size.unit * model.spread)
    return Examples(standardise(inputs), inputs.new_zeros(count, 0), move(target), move(weight), scale)


def _scores(
    model: FinalModel,
    targets: Targets,
    images: NDArray[np.uint8],
    parts: NDArray[np.int8],
    groups: Integers,
    device: torch.device,
) -> dict[str, Any]:
    """Errors on evaluation and validation rows, over observed labels only, each in its own convention."""
    results: dict[str, Any] = {}
    for name, part in (("validation", VALIDATION), ("evaluation", EVALUATION)):
        rows = np.flatnonzero((parts == part) & targets.observed.any(axis=1))
        if not len(rows):
            continue
        found, sigma = model.answer(images[rows], device)
        error = model.heads.in_convention(found - targets.xy[rows], groups[rows])
        seen = model.heads.in_convention(targets.observed[rows].astype(float), groups[rows]) > 0
        if not seen.any():
            continue
        results[f"{name} rows"] = len(rows)
        results[f"{name} rmse"] = float(np.sqrt(np.mean(error[seen] ** 2)))
        results[f"{name} mae"] = float(np.mean(np.abs(error[seen])))
        radius = model.heads.in_convention(model.radius(sigma, _STATED_COVERAGE), groups[rows])
        results[f"{name} coverage"] = covered(error, radius, seen)
        results[f"{name} keypoints"] = {
            keypoint: {
                "labels": int(seen[:, k].sum()),
                "rmse": float(np.sqrt(np.mean(error[seen[:, k], k] ** 2))),
                "mae": float(np.mean(np.abs(error[seen[:, k], k]))),
            }
            for k, keypoint in enumerate(model.schema.keypoints)
            if seen[:, k].any()
        }
    return results


def _about(model: FinalModel, fitted: Fitted, settings: FinalModelSettings) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "keypoints": list(model.schema.keypoints),
        "image_size": str(model.schema.image_size),
        "mirror_shift": model.schema.mirror_shift,
        "further": [list(head) for head in model.heads.further],
        "size": list(model.size),
        "spread": model.spread,
        "partners": None if model.partners is None else list(model.partners),
        # A single convention is the table's own: there is no source to name.
        "sources": [] if settings.single_convention else list(model.sources),
        "settings": json_value(settings),
        "best_epoch": fitted.best_epoch,
        "history": fitted.history,
    }
