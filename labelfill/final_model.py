"""The third stage: one network for all keypoints, trained on the filled table; and its use on new images."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save

from labelfill.dataset import Dataset
from labelfill.errors import DataError, ModelError, UsageError
from labelfill.final_targets import Filled, Heads, Targets, make_targets, read_filled
from labelfill.imputation import provenance_path, row_anchors
from labelfill.joining import join_rows
from labelfill.model_files import STAGE as MODELS_STAGE
from labelfill.model_files import load_ensemble, load_schema
from labelfill.networks import FinalNetwork, parameter_count
from labelfill.patches import Frames, Pyramid, photometric_jitter, standardise
from labelfill.preparation import declared_sources, rows_fingerprint
from labelfill.progress import bar
from labelfill.runs import (
    EVALUATION,
    TRAINING,
    VALIDATION,
    RunDirectory,
    atomic_write,
    json_value,
    load_split,
    sha256_file,
)
from labelfill.schema import ImageSize, KeypointSchema
from labelfill.settings import FinalModelSettings, PredictSettings
from labelfill.sources import UNKNOWN, SourceGroups
from labelfill.table import check_suffix, compressed_writer, coordinate_text, read_table
from labelfill.training import Examples, Fitted, Plan, answers, choose_device, fit, random_key

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

STAGE = "train-final"
FORMAT = 1
_WEIGHTS, _ABOUT = "final/model.safetensors", "final/model.json"

_log = logging.getLogger("labelfill")

_LONGEST_SIDE = 96
# Training images are turned, scaled and shifted at random by about this much (radians, share, share).
_TURN, _STRETCH, _SHIFT = 0.15, 0.08, 0.04
_AVERAGED = 0.995
# Tables of few rows get more epochs, so that the network still takes about this many steps.
_LEAST_STEPS = 800


@dataclass(frozen=True)
class FinalModel:
    """A trained final network and what its answers mean.

    Attributes
    ----------
    size
        (height, width) of its input in samples.
    spread
        Px per unit of its answers.
    partners
        Mirror partners of all heads; None if mirrored images are not used.
    sources
        Names of the label sources, in the order of group numbers.
    """

    network: FinalNetwork
    schema: KeypointSchema
    heads: Heads
    size: tuple[int, int]
    spread: float
    partners: tuple[int, ...] | None
    sources: tuple[str, ...]

    def answer(self, images: NDArray[np.uint8], device: torch.device) -> tuple[Array, Array]:
        """Positions (n, heads, 2) and stated sigma (n, heads), px; averaged with the mirrored image."""
        pyramid = Pyramid(images, device)
        straight = self._one_way(pyramid, np.zeros(len(images), bool))
        if self.partners is None:
            return straight
        xy, sigma = self._one_way(pyramid, np.ones(len(images), bool))
        xy, order = self.schema.mirror(xy, self.partners), np.asarray(self.partners)
        both = (order >= 0)[None]
        xy = np.where(both[..., None], (straight[0] + np.nan_to_num(xy)) / 2, straight[0])
        return xy, np.where(both, np.sqrt((straight[1] ** 2 + sigma[:, order] ** 2) / 2), straight[1])

    def _one_way(self, pyramid: Pyramid, mirrored: Mask) -> tuple[Array, Array]:
        rows = np.arange(len(mirrored))
        frames = whole_images(self.schema.image_size, len(rows))
        inputs = standardise(pyramid.cut(rows, mirrored, frames, self.size, self.schema.image_size.unit))
        out = answers(self.network, inputs, inputs.new_zeros(len(rows), 0)).double().cpu().numpy()
        xy = frames.centre[:, None] + out[..., :2] * self.spread
        return xy, np.exp(np.clip(out[..., 2], -4, 4)) * self.spread


def whole_images(size: ImageSize, count: int) -> Frames:
    return Frames(np.tile(size.centre, (count, 1)), np.full(count, size.unit), np.zeros(count))


def train_final(
    run: RunDirectory,
    filled: Path | None,
    original: Path | None,
    settings: FinalModelSettings,
    *,
    device: str,
    seed: int,
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
        path, original, size, run.path / "cache",
        images_beside=_filled_from(run, path), allow_outside=allow_outside, progress=progress,
    )  # fmt: skip
    told_by = provenance_path(path) if original is None else original
    _check_same_table(run, table, told_by)
    inputs = {
        "table": table.dataset.table.content_sha256,
        "told by": sha256_file(told_by),
        "models": run.stage_fingerprint(MODELS_STAGE),
        "settings": json_value(settings),
        "seed": seed,
        "device": chosen.type,
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
    """The table that `impute` filled when it wrote this one."""
    original = run.stages.get(f"impute {run.recorded_path(path)}", {}).get("results", {}).get("original")
    return None if original is None else Path(original)


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
    if sources.offsets and not settings.single_convention:
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
    results = _scores(model, targets, images, parts, groups, device)
    about = _about(model, fitted, settings)
    run.save_unit(
        STAGE, "final network",
        {_WEIGHTS: save({n: t.detach().cpu().contiguous() for n, t in network.state_dict().items()}),
         _ABOUT: json.dumps(about, indent=1).encode()},
    )  # fmt: skip
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
        found, _ = model.answer(images[rows], device)
        error = model.heads.in_convention(found - targets.xy[rows], groups[rows])
        seen = model.heads.in_convention(targets.observed[rows].astype(float), groups[rows]) > 0
        if not seen.any():
            continue
        results[f"{name} rows"] = len(rows)
        results[f"{name} rmse"] = float(np.sqrt(np.mean(error[seen] ** 2)))
        results[f"{name} mae"] = float(np.mean(np.abs(error[seen])))
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


def load_final(run: RunDirectory, device: torch.device) -> FinalModel:
    """Read the final network back.

    Raises
    ------
    ModelError
        If it was not trained, or its files are damaged or of a newer format.
    """
    run.require_stage(STAGE)
    about = json.loads(run.read_artefact(STAGE, _ABOUT))
    if about["format"] > FORMAT:
        raise ModelError(
            f"{run.path / _ABOUT} has format {about['format']}, newer than this version reads; "
            "update labelfill"
        )
    schema = KeypointSchema(
        tuple(about["keypoints"]), ImageSize.parse(about["image_size"]), about["mirror_shift"]
    )
    heads = Heads(schema.count, tuple((int(k), int(g)) for k, g in about["further"]))
    network = FinalNetwork(heads.count, *about["size"])
    try:
        network.load_state_dict(load(run.read_artefact(STAGE, _WEIGHTS)))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"{run.path / _WEIGHTS} does not hold the network it should: {error}") from error
    partners = None if about["partners"] is None else tuple(about["partners"])
    return FinalModel(
        network.to(device).eval(), schema, heads, tuple(about["size"]), about["spread"], partners,
        tuple(about["sources"]),
    )  # fmt: skip


def predict(
    run: RunDirectory,
    dataset: Dataset,
    out: Path,
    settings: PredictSettings,
    *,
    device: str,
    force: bool = False,
    progress: bool = False,
) -> Mapping[str, Any]:
    """Apply the final network to a table of images and write all keypoints, other columns kept.

    Raises
    ------
    UsageError
        If the output exists, or a source is named that the network does not know.
    """
    if out.resolve() == dataset.table.path.resolve():
        raise UsageError(f"--out {out} is the table of images that is read; give another file")
    check_suffix(out.name)
    if out.exists() and not force:
        raise UsageError(f"{out} exists already: use --force to overwrite it, or write to another file")
    chosen = choose_device(device)
    model = load_final(run, chosen)
    if dataset.schema.image_size != model.schema.image_size:
        raise ModelError(
            f"{dataset.table.path} has images of {dataset.schema.image_size}, "
            f"the final network in {run.path} "
            f"is for {model.schema.image_size}; train one for it in another --run-dir"
        )
    groups = _asked_sources(dataset, model, settings)
    assert dataset.images is not None
    pieces = []
    with bar(total=dataset.table.rows, desc="predict", unit="row", show=progress) as shown:
        for begin in range(0, dataset.table.rows, settings.batch_size):
            part = slice(begin, begin + settings.batch_size)
            found, _ = model.answer(np.asarray(dataset.images[part]), chosen)
            pieces.append(model.heads.in_convention(found, groups[part]))
            shown.update(len(found))
    xy = np.concatenate(pieces) if pieces else np.zeros((0, model.schema.count, 2))
    _write_predictions(out, dataset, model.schema, xy)
    known = groups != UNKNOWN
    return {
        "out": str(out),
        "rows": dataset.table.rows,
        "keypoints": model.schema.count,
        "convention": "reference" if not known.any() else "of each row's source",
        "rows in the reference convention": int((~known).sum()),
    }


def _asked_sources(dataset: Dataset, model: FinalModel, settings: PredictSettings) -> Integers:
    """(n,): group in whose convention each row is asked for; `UNKNOWN` for the reference convention."""
    if not model.sources and (settings.source, settings.source_from) != (None, None):
        raise UsageError(
            "the final network was trained with --single-convention and answers as the table mixes its "
            "conventions: leave out --source and --source-from, or train it without --single-convention"
        )
    numbers = {name: number for number, name in enumerate(model.sources)}
    rows = dataset.table.rows
    if settings.source is not None:
        if settings.source not in numbers:
            raise UsageError(
                f"--source {settings.source}: the network knows the sources {', '.join(numbers)}"
            )
        return np.full(rows, numbers[settings.source])
    if settings.source_from is None:
        return np.full(rows, UNKNOWN)
    path, _, column = settings.source_from.rpartition(":")
    if not path or not column:
        raise UsageError(
            f"--source-from {settings.source_from!r} is not TABLE:COLUMN, for example truth.csv:source"
        )
    table = read_table(Path(path), require_keypoints=False, require_images=False)
    if column not in table.extra:
        raise DataError(
            f"{path} has no column {column!r} for --source-from; "
            f"it has {', '.join(sorted(table.extra)) or 'none'}"
        )
    of_row, _ = join_rows(table, dataset.table)
    values = [table.extra[column][row].strip() if row >= 0 else "" for row in of_row.tolist()]
    unknown = sorted({value for value in values if value and value not in numbers})
    if unknown:
        raise DataError(
            f"{path}, column {column!r}: the network does not know the source {unknown[0]!r}; "
            f"it knows {', '.join(numbers)}"
        )
    return np.array([numbers.get(value, UNKNOWN) for value in values], np.int64)


def _write_predictions(out: Path, dataset: Dataset, schema: KeypointSchema, xy: Array) -> None:
    extra = list(dataset.table.extra)
    with atomic_write(out) as file, compressed_writer(file, out.name) as plain:
        text = io.TextIOWrapper(
            plain, encoding="utf-8", newline="", errors="surrogateescape", write_through=True
        )
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*extra, *schema.columns])
        for row in range(len(xy)):
            own = [dataset.table.extra[column][row] for column in extra]
            writer.writerow([*own, *(coordinate_text(value).decode() for value in xy[row].reshape(-1))])
        text.flush()
        text.detach()
