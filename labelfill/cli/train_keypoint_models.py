"""``labelfill train-keypoint-models``: the first of the three stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from labelfill.cli._call import Call
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._printing import Line, Result, filled_in, table
from labelfill.cli._stages import (
    DONE_BEFORE,
    FRAME,
    NOTHING_DONE,
    PLANNED_WRITES,
    chosen_engine,
    find_table,
    learning_curves,
    next_command,
    open_run,
    planned_state,
    planned_time,
    with_curves,
)
from labelfill.data.run_tables import read_run_table
from labelfill.errors import counted
from labelfill.settings import KeypointModelSettings, RunSettings, TableSettings

if TYPE_CHECKING:
    from labelfill.regressors.job import TrainingJob
    from labelfill.runs import RunDirectory

COMMAND = "train-keypoint-models"


def add_parser(commands: Commands) -> CommandParser:
    parser = commands.add(
        COMMAND,
        "train one small network for each incomplete keypoint",
        description="For each keypoint that is blank in some rows, train one small network on the rows that\n"
        "label it, and store it in the run directory.",
        example="labelfill train-keypoint-models --data data/training.zip --run-dir outputs",
    )
    parser.add_stage_options()
    parser.add_settings(RunSettings, "tensorboard")
    parser.add_settings(
        TableSettings, "image_size", "source_column", "group_column", "image_folder", "allow_outside"
    )
    parser.add_settings(TableSettings, "distrust")
    parser.add_reading_options()
    parser.add_settings(KeypointModelSettings, "method", "mirror_pairs", "epochs", "batch_size")
    parser.add_settings(KeypointModelSettings, "learning_rate", "best_by")
    return parser


def handle(call: Call) -> None:
    with open_run(call, TableSettings, KeypointModelSettings, begun=False) as run:
        result = perform(call, run)
    lines = (NOTHING_DONE, *PLANNED_TRAINING) if call.given.dry_run else TRAINING
    call.tell(result, lines, {"run_dir": call.settings(RunSettings).run_dir})


def perform(call: Call, run: RunDirectory) -> Result:
    """What was done, or with --dry-run what would be."""
    if call.given.dry_run:
        return describe(call, run, make_job(call, run))

    from labelfill.regressors.stage import train_keypoint_models

    with learning_curves(call, run, COMMAND):
        job, engine = make_job(call, run), chosen_engine(call)
        return train_keypoint_models(run, job, progress=call.progress, engine=engine)


def make_job(call: Call, run: RunDirectory) -> TrainingJob:
    from labelfill.regressors.job import training_job

    table, models = call.settings(TableSettings), call.settings(KeypointModelSettings)
    run_settings = call.settings(RunSettings)
    return training_job(
        read_run_table(run, find_table(table.data), table, method=models.method, show_progress=call.progress),
        models,
        table=table,
        device=run_settings.device,
        seed=run_settings.seed,
        force=call.given.force,
    )


def describe(call: Call, run: RunDirectory, job: TrainingJob) -> Result:
    """What would be done, and where learning curves would go."""
    from labelfill.regressors.dry_run import describe_training

    return with_curves(call, run, describe_training(run, job))


_PARTS = (
    "{rows per part[training]:,} for training, {rows per part[validation]:,} to select epochs, "
    "{rows per part[evaluation]:,} held out for scoring"
)
_NOTHING_TO_LEARN = "no keypoint has blanks: there is nothing to train"
_COPIED: Line = ("copied", "except for copies from identical images: {copied:point}")
_LOW_DATA: Line = ("low data", "few labels, wide error radii: {low data}")


def _sources(disputed: str, *, none: str, several: str = "") -> Callable[[Result], list[str]]:
    """A line on the label sources, with what there is to say of `none` or `several` keypoints under a key."""

    def words(r: Result) -> list[str]:
        if len(r["sources"]) < 2:
            return ["one label source"]
        return [filled_in("label sources: {sources:row}" + (several if r[disputed] else none), r)]

    return words


def _range(counts: Sequence[int]) -> str:
    least, most = counts
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _networks(r: Result) -> list[str]:
    networks = _range([r["folds"] * count for count in r["models"]])
    return [f"{networks} networks, {r['folds']} per model, on {r['device']}"]


def _suspected(how: str) -> Callable[[Result], list[str]]:
    """A line on the label sources, and how keypoints that seem disputed are to be judged."""
    none = "; they seem to agree on every keypoint"
    return _sources("suspected", none=none, several=f"; {how}: {{suspected}}")


_INCOMPLETE = (("training labels", "labels", ","), ("blank cells", "blank cells", ","))
PLANNED_TRAINING: tuple[Line, ...] = (
    planned_state(lambda r: f"{r['models done']} of {_range(r['models'])} models are finished"),
    "{table}, {rows:row}: " + _PARTS,
    ("frame", "images differ in size: all are scaled to a common frame of {frame}"),
    (lambda r: not r.get("without images"), _suspected("conventions to be measured in the images")),
    ("without images", _suspected("conventions to be measured by the shape of the labels")),
    ("keypoints", lambda r: ["", *table("incomplete keypoint", _INCOMPLETE, r["keypoints"].items()), ""]),
    (lambda r: not r["keypoints"], _NOTHING_TO_LEARN),
    lambda r: (f"will stay blank: {name} ({why})" for name, why in r["left blank"].items()),
    _COPIED,
    _LOW_DATA,
    (lambda r: r["models"][1], _networks),
    (lambda r: r["keypoints"] and not r["models"][1], "no networks, only the shape prior"),
    planned_time("training"),
    PLANNED_WRITES,
)


def offset_sentence(offset: Result) -> str:
    """One convention offset as a sentence, with its 99% interval."""
    x, y = offset["offset"]
    across = f"{abs(x):.1f} px {'right' if x > 0 else 'left'} of"
    along = f"{abs(y):.1f} px {'below' if y > 0 else 'above'}"
    between = {axis: f"{low:+.1f} to {high:+.1f}" for axis, (low, high) in offset["interval"].items()}
    return (
        f"source {offset['source']} marks {offset['keypoint']} {across} and {along} where source "
        f"{offset['reference']} does (99% interval: x {between['x']}, y {between['y']}; "
        f"{counted(offset['rows'], 'row')})"
    )


def with_all(r: Result) -> Iterable[tuple[str, Result]]:
    """Rows of a table: each keypoint's, and the one over all."""
    return [*r["keypoints"].items(), ("all", r)]


_HIDDEN_LABELS = (
    ("labels", "labels", ","),
    ("RMSE", "cross-fitted rmse", ".2f"),
    ("shape prior alone", "cross-fitted rmse of the prior", ".2f"),
)


def _errors(r: Result) -> list[str]:
    """Errors per keypoint, beside those of the shape prior where something else fills."""
    fills_by_prior = r["cross-fitted rmse"] == r["cross-fitted rmse of the prior"]
    columns = _HIDDEN_LABELS[:-1] if fills_by_prior else _HIDDEN_LABELS
    return ["", *table("px, cross-validated", columns, with_all(r)), ""]


TRAINING: tuple[Line, ...] = (
    DONE_BEFORE,
    "{rows:row}: " + _PARTS,
    ("without images", "no images: the shape prior is fitted to the labels"),
    FRAME,
    _sources("convention offsets", none="; they agree on every tested keypoint"),
    lambda r: map(offset_sentence, r["convention offsets"]),
    (
        "convention offsets",
        "each fill follows the source of its row; impute --harmonise also writes a table in one convention",
    ),
    ("keypoints", _errors),
    (lambda r: not r["keypoints"] and not r["left blank"], _NOTHING_TO_LEARN),
    ("left blank", "will stay blank for lack of labels: {left blank}"),
    _COPIED,
    _LOW_DATA,
    ("run_dir", lambda r: next_command("labelfill impute --out filled.csv", r)),
)
