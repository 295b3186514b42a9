"""``labelfill train-final``: the third of the three stages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import Line, Result, filled_in, lines_of, table
from labelfill.cli._stages import (
    DONE_BEFORE,
    FRAME,
    NOTHING_DONE,
    PLANNED_WRITES,
    learning_curves,
    next_command,
    open_run,
    planned_state,
    planned_time,
    with_curves,
)
from labelfill.cli.train_keypoint_models import with_all
from labelfill.settings import FinalModelSettings, RunSettings, TableSettings, gone_flags

if TYPE_CHECKING:
    from labelfill.final.job import FinalJob
    from labelfill.runs import RunDirectory

COMMAND = "train-final"


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        COMMAND,
        "train one network for all keypoints on a filled table",
        description="Train one network that finds all keypoints in an image, on a filled table.\n"
        "Doubtful fills get less weight; only observed labels are used for scoring.",
        example="labelfill train-final --filled filled.csv",
    )
    parser.add_path("--filled", "TABLE", "the filled table (default: the one written last by impute)")
    parser.add_path(
        "--data",
        "ORIGINAL",
        "the table before it was filled; only needed if the filled table has no provenance file",
    )
    parser.add_run_options()
    parser.add_dry_run_option()
    parser.add_settings(RunSettings, "device")
    parser.add_settings(RunSettings, "tensorboard")
    parser.add_settings(TableSettings, "image_folder", "allow_outside", "distrust")
    parser.add_settings(FinalModelSettings, "preset", "labels", "epochs", "batch_size", "learning_rate")
    parser.add_settings(FinalModelSettings, "second_session_epochs", "second_session_batch", "best_by")
    parser.add_settings(
        FinalModelSettings, "equalize", "flip", "rows", "most_rows", "single_convention", "refine"
    )
    parser.gone = gone_flags(FinalModelSettings)
    return parser


def handle(call: Call) -> None:
    with open_run(call, FinalModelSettings, begun=True) as run:
        result = perform(call, run, call.given.filled, call.given.data)
    lines = (NOTHING_DONE, *PLANNED_FINAL) if call.given.dry_run else FINAL
    call.tell(result, lines, {"run_dir": call.settings(RunSettings).run_dir})


def perform(call: Call, run: RunDirectory, filled: Path | None, original: Path | None) -> Result:
    """What was done, or with --dry-run what would be."""
    if call.given.dry_run:
        from labelfill.final.stage import describe_final

        return with_curves(call, run, describe_final(run, _job(call, run, filled, original)))

    from labelfill.final.stage import train_final

    with learning_curves(call, run, COMMAND):
        return train_final(run, _job(call, run, filled, original), progress=call.progress)


def _job(call: Call, run: RunDirectory, filled: Path | None, original: Path | None) -> FinalJob:
    from labelfill.final.filled_table import FilledRequest
    from labelfill.final.job import final_job

    run_settings, table = call.settings(RunSettings), call.settings(TableSettings)
    request = FilledRequest(
        filled, original, table.distrust, table.images_beside, table.allow_outside, call.progress
    )
    return final_job(
        run, request, call.settings(FinalModelSettings),
        device=run_settings.device, seed=run_settings.seed, force=call.given.force,
    )  # fmt: skip


def _planned_look(r: Result) -> list[str]:
    patches = r["second look"]
    return [f"then a second look at {patches} patches of each image, kept if it helps"] if patches else []


PLANNED_FINAL: tuple[Line, ...] = (
    planned_state(lambda r: "it was started before"),
    "{table}, {rows:row}: {training rows:,} for training, {validation rows:,} to select the epoch",
    lambda r: [
        filled_in("preset {preset}, labels {labels}, ", r)
        + " and ".join(f"{count:,}" for count in r["epochs"])
        + " epochs"
    ],
    "{outputs:point} per image, {parameters:,} parameters, on {device}",
    _planned_look,
    planned_time("training the network, without the second look,"),
    PLANNED_WRITES,
)

# The rows that the final network is scored on are the first of these that have labels.
_SCORED = {
    "evaluation": "never used in training",
    "validation": "used to select the epoch, as there are no others",
}
_OBSERVED_LABELS = (("labels", "labels", ","), ("RMSE", "rmse", ".2f"), ("MAE", "mae", ".2f"))


def _second_look(r: Result) -> list[str]:
    told, without = r.get("second look"), r.get("rmse without second look")
    if without is not None:
        return [f"with its second look; without it the RMSE is {without:.2f} px"]
    return [] if told in (None, "none") else [f"second look {told}"]


_SCORES: tuple[Line, ...] = (
    "final network: RMSE {rmse:.2f} px, MAE {mae:.2f} px on {rows:row} {which}",
    lambda r: ["", *table("px, observed labels", _OBSERVED_LABELS, with_all(r)), ""],
    ("coverage", "{coverage:.0%} of these points lie within their 90% error radius"),
    _second_look,
)


def _scores(r: Result) -> list[str]:
    for part, which in _SCORED.items():
        if f"{part} rmse" in r:
            names = ("rows", "rmse", "mae", "coverage", "keypoints", "rmse without second look")
            scores = {name: r.get(f"{part} {name}") for name in names}
            return lines_of(_SCORES, {"which": which, "second look": r.get("second look"), **scores})
    return ["final network: trained, but not scored, as no held-out row has a label"]


FINAL: tuple[Line, ...] = (
    DONE_BEFORE,
    FRAME,
    _scores,
    ("run_dir", lambda r: next_command("labelfill predict --images TABLE --out predictions.csv", r)),
)
