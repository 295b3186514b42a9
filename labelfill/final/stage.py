"""The third stage: one network for all keypoints, trained on the filled table and scored on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from labelfill.arrays import Array, Integers, Mask
from labelfill.filling.known_rows import known_of_rows
from labelfill.final import fitting
from labelfill.final.filled_table import Filled, relabelled
from labelfill.final.held_out import PartAnswers, answer_held_out, answers_file
from labelfill.final.job import FinalJob
from labelfill.final.model import (
    OTHER_WEIGHTS,
    STAGE,
    FinalModel,
    build_final_network,
    model_files,
    weights_file,
)
from labelfill.final.refining import LEAST_GAIN, train_refiner
from labelfill.final.targets import Heads, Targets, heads_of, targets_of
from labelfill.networks.architectures import parameter_count
from labelfill.networks.checkpoints import Fitted
from labelfill.networks.devices import Computing, keep_threads
from labelfill.regressors.calibration.blending import Calibration, calibrate
from labelfill.regressors.files import KeypointModels, load_about, load_models
from labelfill.regressors.network_files import has_start, load_start
from labelfill.regressors.scores import score
from labelfill.regressors.trunk import Start
from labelfill.regressors.unit_names import patch_name
from labelfill.runs import RunDirectory, load_split
from labelfill.sources.anchors import Anchors
from labelfill.sources.preparation import groups_of_rows

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
    results = _train(run, job, Computing(job.device, progress))
    run.finish_stage(STAGE, results=results)
    return {"state": state, **results}


def _train(run: RunDirectory, job: FinalJob, computing: Computing) -> dict[str, Any]:
    models, filled, settings = load_models(job.models, job.device), job.filled, job.settings
    setup = _set_up(job, models, computing)
    groups = _groups(filled, models)
    heads = heads_of(filled, groups, models.sources, settings)
    moved = _in_reference(setup, filled, models, groups, heads)
    targets = targets_of(filled, heads, groups, models.sources, settings, setup.parts, moved)
    model = fitting.new_model(setup, heads, targets)
    fitted = fitting.fit_sessions(run, setup, model, targets, filled)
    own = answer_held_out(model, targets, filled.dataset.images, setup.parts, job.device)
    alone = replace(model, calibration=calibrate_radii(own.get("validation"), targets))
    looked = _second_look(run, job, setup, alone, targets, own, groups)
    calibrated, answers = looked.model, looked.answers
    scores = _scores(calibrated, targets, answers, groups)
    files = model_files(calibrated, fitted) | answers_file(calibrated, answers, groups)
    if fitted.other:
        figure = "mae" if settings.best_by == "rmse" else "rmse"
        files[OTHER_WEIGHTS.format(by=figure)] = weights_file(fitted.other)
        scores[f"best by {figure}"] = _scores_by_other(setup, model, fitted, targets, filled, groups)
    run.save_unit(STAGE, "final network", files)
    results = {
        **({} if filled.dataset.placements is None else {"frame": str(setup.schema.image_size)}),
        **scores,
        **looked.told,
        "parameters": parameter_count(model.network),
        "best epoch": fitted.best_epoch,
        "epochs": len(fitted.history),
        "plateau": fitting.at_plateau(fitted, settings),
    }
    run.record({"stage": STAGE, "results": results})
    return results


@dataclass(frozen=True)
class _Looked:
    """The final network with its second look, if it pays, and answers of held-out rows.

    Attributes
    ----------
    told
        What is said of it among the results.
    """

    model: FinalModel
    answers: Mapping[str, PartAnswers]
    told: dict[str, Any]


def _second_look(
    run: RunDirectory,
    job: FinalJob,
    setup: fitting.FinalSetup,
    alone: FinalModel,
    targets: Targets,
    own: Mapping[str, PartAnswers],
    groups: Integers,
) -> _Looked:
    """The second look trained, if it is asked for, and taken, if it answers held-out rows better.

    Parameters
    ----------
    own
        The network's own answers.
    """
    if not job.settings.refines:
        return _Looked(alone, own, {"second look": "none"})
    images, validation = job.filled.dataset.images, own.get("validation")
    refiner = train_refiner(run, setup, alone, targets, images, validation, start_of(job))
    if refiner is None or validation is None:
        return _Looked(alone, own, {"second look": "not used: there are too few held-out rows to train it"})
    refined = replace(alone, refiner=refiner)
    answers = answer_held_out(refined, targets, images, setup.parts, job.device)
    before, after = (_scores(alone, targets, each, groups) for each in (own, answers))
    share = after["validation rmse"] / max(before["validation rmse"], 1e-9)
    if share**2 > 1 - LEAST_GAIN:
        why = f"not used: it would multiply errors on held-out rows by {share:.2f}"
        return _Looked(alone, own, {"second look": why})
    calibrated = replace(refiner, calibration=calibrate_radii(answers["validation"], targets))
    told = {f"{part} rmse without second look": before[f"{part} rmse"] for part in answers}
    taken = {"second look": "taken", "looks": len(refiner.corrections), **told}
    return _Looked(replace(alone, refiner=calibrated), answers, taken)


def start_of(job: FinalJob) -> Start | None:
    """What the second look starts from: what keypoint models learnt that filled this very table."""
    table = job.filled.dataset.table.content_sha256
    filled = [entry["results"].get("table") for entry in job.models.stages.values() if entry.get("results")]
    if job.settings.labels != "filled" or table not in filled or not has_start(job.models):
        return None
    about = load_about(job.models)
    return load_start(job.models, about.schema, [patch_name(k) for k in about.patch])


def _set_up(job: FinalJob, models: KeypointModels, computing: Computing) -> fitting.FinalSetup:
    ensemble, rows = models.ensemble, job.filled.dataset.table.rows
    return fitting.FinalSetup(
        ensemble.schema, ensemble.partners, models.sources.groups.names,
        load_split(job.models.path / "split.csv", rows), job.settings, job.seed, computing,
    )  # fmt: skip


def _groups(filled: Filled, models: KeypointModels) -> Integers:
    """(n,) the number of each row's label source."""
    labelled: Mask = np.all(filled.observed, axis=2)
    return groups_of_rows(filled.dataset, models.sources.groups, labelled)


def _in_reference(
    setup: fitting.FinalSetup, filled: Filled, models: KeypointModels, groups: Integers, heads: Heads
) -> Anchors | None:
    """Labels in the reference convention, where heads learn several conventions of all rows together."""
    if not heads.further or setup.settings.rows != "together":
        return None
    labels_alone = relabelled(filled.dataset, filled.labels)
    return known_of_rows(labels_alone, models, groups, setup.computing).anchors


def _scores(
    model: FinalModel, targets: Targets, answers: Mapping[str, PartAnswers], groups: Integers
) -> dict[str, Any]:
    """Errors on evaluation and validation rows, over observed labels only, each in its own convention."""
    results: dict[str, Any] = {}
    for part, answered in sorted(answers.items(), reverse=True):  # validation first
        rows = answered.rows
        error = model.heads.in_convention(answered.xy - targets.xy[rows], groups[rows])
        seen = model.heads.in_convention(targets.observed[rows].astype(float), groups[rows]) > 0
        if not seen.any():
            continue
        overall = score(error[seen])
        radius = model.heads.in_convention(model.radius(answered.sigma, _STATED_COVERAGE), groups[rows])
        results |= {
            f"{part} rows": len(rows),
            f"{part} rmse": overall.rmse,
            f"{part} mae": overall.mae,
            f"{part} coverage": covered(error, radius, seen),
            f"{part} keypoints": {
                keypoint: _keypoint_scores(error[seen[:, k], k])
                for k, keypoint in enumerate(model.schema.keypoints)
                if seen[:, k].any()
            },
        }
    return results


def _keypoint_scores(error: Array) -> dict[str, Any]:
    of_keypoint = score(error)
    return {"labels": len(error), "rmse": of_keypoint.rmse, "mae": of_keypoint.mae}


def _scores_by_other(
    setup: fitting.FinalSetup,
    model: FinalModel,
    fitted: Fitted,
    targets: Targets,
    filled: Filled,
    groups: Integers,
) -> dict[str, Any]:
    """Overall errors of the weights that are the best by the other figure, and their epoch."""
    other = replace(model, network=deepcopy(model.network))
    other.network.load_state_dict(fitted.other)
    answers = answer_held_out(other, targets, filled.dataset.images, setup.parts, setup.computing.device)
    scores = _scores(other, targets, answers, groups)
    figures = [f"{part} {figure}" for part in ("validation", "evaluation") for figure in ("rmse", "mae")]
    return {"epoch": fitted.other_epoch, **{name: scores[name] for name in figures if name in scores}}


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


def describe_final(run: RunDirectory, job: FinalJob) -> Mapping[str, Any]:
    """What the third stage would learn from, for how long, and how large its network would be.

    Raises
    ------
    UsageError
        If it was begun with other inputs, as the stage itself would.
    DataError
        If there is no row to learn from.
    """
    standing = run.standing(STAGE, job.inputs, job.force)
    settings, filled, models = job.settings, job.filled, load_models(job.models, job.device)
    setup, groups = _set_up(job, models, Computing(job.device)), _groups(filled, models)
    heads = heads_of(filled, groups, models.sources, settings)
    targets = targets_of(filled, heads, groups, models.sources, settings, setup.parts, None)
    training, validation = fitting.rows_learnt_from(targets, setup.parts, settings, job.seed)
    outputs = heads.outputs(settings.rows == "separate")
    network = build_final_network(outputs, fitting.input_shape(setup.schema), settings)
    seconds = None if standing.state == "done" else fitting.estimated_seconds(setup, heads, targets, filled)
    return {
        "state": standing.state,
        "starts over": standing.starts_over,
        "table": str(filled.dataset.table.path),
        "told by": str(job.told_by),
        "preset": settings.preset,
        "labels": settings.labels,
        "rows": filled.dataset.table.rows,
        "training rows": len(training),
        "validation rows": len(validation),
        "epochs": [plan.epochs for plan in fitting.session_plans(settings, len(training))],
        "outputs": heads.count,
        "parameters": parameter_count(network),
        "second look": heads.count if settings.refines else 0,
        "estimated seconds": None if seconds is None else [seconds],
        "device": str(job.device),
        "writes": [str(run.path / folder) for folder in ("final", "report")],
    }
