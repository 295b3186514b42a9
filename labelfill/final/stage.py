"""The third stage: one network for all keypoints, trained on the filled table and scored on held-out rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from labelfill.arrays import Array, Integers, Mask
from labelfill.filling.fill import known_of_rows
from labelfill.final.filled_table import relabelled
from labelfill.final.fitting import at_plateau, fit_sessions, new_model
from labelfill.final.held_out import PartAnswers, answer_held_out, answers_file
from labelfill.final.job import FinalJob
from labelfill.final.model import ABOUT, FORMAT, OTHER_WEIGHTS, RADII, STAGE, WEIGHTS, FinalModel
from labelfill.final.targets import Targets, groups_of, make_lesson, targets_of
from labelfill.networks.architectures import parameter_count
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.devices import keep_threads
from labelfill.regressors.calibration.blending import Calibration, calibrate
from labelfill.regressors.files import arrays_file, load_ensemble
from labelfill.runs import RunDirectory, json_value, load_split
from labelfill.settings import FinalModelSettings

# The share of cases in which the radii hold that the figures speak of.
_STATED_COVERAGE = 0.9


def train_final(run: RunDirectory, job: FinalJob, *, progress: bool = False) -> Mapping[str, Any]:
    """Train the final network on a filled table, and score it on held-out rows' observed labels.

    Returns
    -------
    dict
        RMSE per coordinate and MAE in px on evaluation rows, over all and per keypoint.
    """
    state = run.begin_stage(STAGE, job.inputs, job.force)
    if state == "done":
        return {"state": "done before", **run.stages[STAGE]["results"]}
    keep_threads(run, STAGE)
    results = _train(run, job, progress=progress)
    run.finish_stage(STAGE, results=results)
    return {"state": state, **results}


def _train(run: RunDirectory, job: FinalJob, *, progress: bool) -> dict[str, Any]:
    models, filled, settings = job.models, job.filled, job.settings
    device, seed, images = job.device, job.seed, job.filled.dataset.images
    ensemble, sources, audit = load_ensemble(models, device)
    schema = ensemble.schema
    parts = load_split(models.path / "split.csv", len(images))
    groups = groups_of(filled, sources)
    lesson = make_lesson(filled, groups, sources, settings)
    moved = None
    if lesson.heads.further and settings.rows == "together":
        known = relabelled(filled.dataset, filled.labels)
        anchors = known_of_rows(known, ensemble, sources, audit, groups, device, progress=progress).anchors
        moved = (anchors.xy, anchors.noise)
    heads, complete = lesson.heads, lesson.complete
    targets = targets_of(lesson, filled, groups, sources, settings, parts, moved)
    partners = None if ensemble.partners is None else heads.partners(ensemble.partners)
    model = new_model(schema, heads, targets, parts, partners, sources.groups.names, settings, seed, device)
    fitted = fit_sessions(run, model, targets, images, parts, complete, seed, device, progress=progress)
    answers = answer_held_out(model, targets, images, parts, device)
    model = replace(model, calibration=calibrate_radii(answers.get("validation"), targets))
    results = _scores(model, targets, answers, groups)
    files = _files(model, fitted) | answers_file(model, answers, groups)
    if fitted.other:
        by = "mae" if settings.best_by == "rmse" else "rmse"
        files[OTHER_WEIGHTS.format(by=by)] = _weights(fitted.other)
        model.network.load_state_dict(fitted.other)
        answers = answer_held_out(model, targets, images, parts, device)
        other = _scores(replace(model, calibration=None), targets, answers, groups)
        figures = [f"{part} {figure}" for part in ("validation", "evaluation") for figure in ("rmse", "mae")]
        overall = {name: other[name] for name in figures if name in other}
        results[f"best by {by}"] = {"epoch": fitted.other_epoch, **overall}
        model.network.load_state_dict(fitted.state)
    run.save_unit(STAGE, "final network", files)
    results |= {
        "parameters": parameter_count(model.network),
        "best epoch": fitted.best_epoch,
        "epochs": len(fitted.history),
        "plateau": at_plateau(fitted, settings),
    }
    if filled.dataset.placements is not None:
        results = {"frame": str(schema.image_size), **results}
    run.record({"stage": STAGE, "results": results})
    return results


def _files(model: FinalModel, fitted: Fitted) -> dict[str, bytes]:
    about = json.dumps(_about(model, fitted, model.settings), indent=1)
    files = {WEIGHTS: _weights(fitted.state), ABOUT: about.encode()}
    if model.calibration is not None:
        files[RADII] = arrays_file(vars(model.calibration))
    return files


def _weights(state: Mapping[str, torch.Tensor]) -> bytes:
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})


def _scores(
    model: FinalModel, targets: Targets, answers: Mapping[str, PartAnswers], groups: Integers
) -> dict[str, Any]:
    """Errors on evaluation and validation rows, over observed labels only, each in its own convention."""
    results: dict[str, Any] = {}
    for name, answered in sorted(answers.items(), reverse=True):  # validation first
        rows = answered.rows
        error = model.heads.in_convention(answered.xy - targets.xy[rows], groups[rows])
        seen = model.heads.in_convention(targets.observed[rows].astype(float), groups[rows]) > 0
        if not seen.any():
            continue
        results[f"{name} rows"] = len(rows)
        results[f"{name} rmse"] = float(np.sqrt(np.mean(error[seen] ** 2)))
        results[f"{name} mae"] = float(np.mean(np.abs(error[seen])))
        radius = model.heads.in_convention(model.radius(answered.sigma, _STATED_COVERAGE), groups[rows])
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


def calibrate_radii(validation: PartAnswers | None, targets: Targets) -> Calibration | None:
    """How large the network's errors are, per head, by observed labels of validation rows, if there are."""
    if validation is None:
        return None
    rows = validation.rows
    residuals = np.where(targets.observed[rows][..., None], validation.xy - targets.xy[rows], np.nan)
    return calibrate(residuals[None], validation.sigma[None])


def covered(error: Array, radius: Array, seen: Mask) -> float | None:
    """The share of the points `seen` (n, K) whose error (n, K, 2) stays within its radius (n, K), all px."""
    if not np.isfinite(radius[seen]).all():
        return None
    return float(np.mean(np.linalg.norm(error[seen], axis=-1) <= radius[seen]))
