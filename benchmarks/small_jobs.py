"""The small jobs of ``same_results``: commands as a person would type them, in a folder of their own."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

# Networks this small learn next to nothing, and are trained in seconds. Every job has settings of its own: a
# method refuses those that would do nothing.
QUICK = """\
[keypoint-models]
epochs = 1
patch-size = 8

[final]
epochs = 1
"""
WITHOUT_PATCHES = QUICK.replace("patch-size = 8\n", "")
FINAL_ALONE = QUICK[QUICK.index("[final]") :]
TRAIN, IMPUTE, FINAL = "train-keypoint-models", "impute --out filled.csv", "train-final"


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes
    ----------
    arguments
        As they stand behind ``labelfill``.
    code
        The exit code that it has to end with.
    stop
        The signal that stops it midway, as soon as `when` is there.
    when
        A pattern of files.
    """

    arguments: str
    code: int = 0
    stop: str = ""
    when: str = ""

    @property
    def words(self) -> list[str]:
        return shlex.split(self.arguments)


@dataclass(frozen=True)
class Job:
    """Commands that are called one after the other in one folder.

    Attributes
    ----------
    inputs
        Folders of the inputs that it reads, under ``inputs/``.
    after
        A job with whose files it begins.
    settings
        The content of ``labelfill.toml``.
    apart
        Files, as a pattern of whole paths, that differ with the moment at which a command was stopped.
    """

    name: str
    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    after: str = ""
    settings: str = QUICK
    apart: str = field(default="")

    def is_apart(self, path: str) -> bool:
        return bool(self.apart and re.fullmatch(self.apart, path))


def steps(*commands: str | Step) -> tuple[Step, ...]:
    return tuple(Step(command) if isinstance(command, str) else command for command in commands)


def _stages(table: str, out: str = "filled.csv", *, train: str = "", fill: str = "") -> tuple[Step, ...]:
    """All three stages on a table."""
    return steps(f"{TRAIN} --data {table} {train}", f"impute --out {out} {fill}", FINAL)


def _preset(name: str, further: str = "") -> Job:
    """A preset is trained, asked, and exported."""
    return Job(
        f"preset-{name}",
        ("small",),
        steps(
            f"train-final --preset {name} --batch-size 16 {further}",
            f"train-final --preset {name} --batch-size 16 {further} --json",
            "predict --images inputs/small/t.csv --out predicted.csv --json",
        ),
        after="small",
    )


def _export(after: str, further: str = "") -> Job:
    """The network of a preset's job as one file for other programs."""
    return Job(
        f"export-{after.removeprefix('preset-')}",
        (),
        steps(
            f"export --format onnx --out network.onnx --json {further}",
            f"export --format torch --out program.pt2 {further}",
            Step("export --format torch --out program.pt2", 2),
        ),
        after=after,
    )


def _refused() -> tuple[Step, ...]:
    at = "inputs/refused"
    bad = ("no_number.csv", "no_partner.csv", "fields.csv", "pixels.csv", "no_file.csv", "outside.csv",
           "empty.csv", "quote.csv", "coco.json", "tasks.json", "broken.json", "CollectedData_A.csv",
           "p.parquet", "missing.csv")  # fmt: skip
    table = "inputs/small/t.csv"
    return steps(
        *(Step(f"inspect {at}/{name}", 3) for name in bad),
        Step(f"{TRAIN} --data {at}/no_number.csv", 3),
        Step(f"{TRAIN} --data {table} --distrust {at}/distrust.csv", 3),
        Step(f"{TRAIN} --data {table} --source-column nobody", 3),
        Step(f"{TRAIN} --data {table} --settings {at}/wrong.toml", 2),
        Step(f"{TRAIN} --data {table} --epochs 0", 2),
        Step(f"{TRAIN} --data {table} --method prior --epochs 3", 2),
        Step("impute --out filled.csv", 3),
        Step("train-final --second-session-batch 64", 2),
        Step("train-final", 3),
        Step(f"predict --images {table} --out p.csv", 3),
        Step("export --out n.onnx", 3),
        Step("report", 3),
        Step(f"convert {table} out.strange", 2),
        Step("no-such-command", 2),
    )


JOBS: tuple[Job, ...] = (
    Job(
        "first-steps",
        (),
        steps(
            "demo-data --out data --rows 24 --seed 3",
            Step("demo-data --out data --rows 24", 2),
            "demo-data --out data --rows 20 --seed 4 --force --json",
            "completion bash",
            "--version",
        ),
    ),
    Job("init", (), steps("init", Step("init", 2)), settings=""),
    Job(
        "two-sources",
        ("two",),
        steps(
            f"{TRAIN} --data inputs/two/training.csv --dry-run",
            f"{TRAIN} --data inputs/two/training.csv",
            f"{TRAIN} --data inputs/two/training.csv",
            f"{TRAIN} --data inputs/two/training.csv --json",
            Step(f"{TRAIN} --data inputs/two/training.csv --epochs 2", 2),
            f"{IMPUTE} --harmonise --parquet --dry-run",
            f"{IMPUTE} --harmonise --parquet",
            f"{IMPUTE} --harmonise --parquet --json",
            f"{FINAL} --dry-run",
            FINAL,
            FINAL,
            f"{FINAL} --json",
        ),
    ),
    Job(
        "predict",
        ("two",),
        steps(
            "predict --images inputs/two/test.csv --out predictions.csv --json",
            "predict --images inputs/two/test.csv --lookup inputs/two/lookup.csv --submission submission.csv",
            "predict --images inputs/two/new --out new.csv --source 2",
            Step("predict --images inputs/two/new --out new.csv", 2),
        ),
        after="two-sources",
    ),
    Job(
        "pages",
        ("two",),
        steps(
            "inspect inputs/two/training.csv",
            "inspect inputs/two/training.csv --json",
            "inspect inputs/two/training.csv --run-dir outputs --html inspection.html "
            "--write-distrust distrust.csv",
            "report --out report.html --json",
            "review --out review.html --rows 20",
        ),
        after="two-sources",
    ),
    Job(
        "scores",
        ("two",),
        steps(
            "evaluate filled.csv inputs/two/truth.csv --blank-in inputs/two/training.csv --by source "
            "--keypoints rare --mix 1=0.4,2=0.6",
            "evaluate filled.csv inputs/two/truth.csv --blank-in inputs/two/training.csv --json",
            "compare inputs/two/training.csv --truth inputs/two/truth.csv --filled filled.csv "
            "--csv scores.csv",
        ),
        after="two-sources",
    ),
    Job(
        "apart",
        ("two",),
        steps(
            "train-final --rows separate --second-session-epochs 1 --best-by mae --most-rows 40 --force",
            "predict --images inputs/two/test.csv --out separate.csv --source 2",
            "train-final --rows parallel --equalize stretch --flip off --force",
            "predict --images inputs/two/test.csv --out parallel.csv --source 1",
            "train-final --single-convention --labels observed --force",
        ),
        after="two-sources",
    ),
    Job(
        "compare-quick",
        ("small",),
        steps("compare inputs/small/t.csv --quick --final --csv scores.csv --run-dir compared --json"),
        settings="",
    ),
    Job(
        "small",
        ("small",),
        steps(f"{TRAIN} --data inputs/small/t.csv --json", f"{IMPUTE} --json"),
    ),
    Job(
        "run",
        ("small",),
        steps(
            "run --data inputs/small/t.csv --out filled.csv --dry-run",
            "run --data inputs/small/t.csv --out filled.csv",
            "run --data inputs/small/t.csv --out filled.csv --json",
        ),
    ),
    Job(
        "corrections",
        ("small",),
        steps(
            Step("impute --out better.csv --corrections inputs/small/corrections.csv --json", 6),
            "train-final --filled better.csv --json",
            Step("impute --out few.csv --max-radius 0.5 --coverage 0.8", 6),
            Step("impute --out no.csv --corrections inputs/refused/corrections.csv", 3),
        ),
        after="small",
    ),
    Job(
        "distrust",
        ("small",),
        steps(
            f"{TRAIN} --data inputs/small/t.csv --distrust inputs/small/distrust.csv",
            f"{IMPUTE} --json",
            FINAL,
        ),
    ),
    Job(
        "group-column",
        ("small",),
        _stages("inputs/small/people.csv", train="--group-column subject --method prior"),
        settings=FINAL_ALONE,
    ),
    Job(
        "source-column",
        ("two",),
        steps(f"{TRAIN} --data inputs/two/named.csv --source-column site --method prior", f"{IMPUTE} --json"),
        settings=FINAL_ALONE,
    ),
    Job("no-anchor", ("small",), _stages("inputs/small/bare.csv")),
    Job(
        "image-only",
        ("small",),
        _stages("inputs/small/t.csv", train="--method image-only"),
        settings=WITHOUT_PATCHES,
    ),
    Job(
        "prior",
        ("small",),
        _stages("inputs/small/t.csv", train="--method prior --json"),
        settings=FINAL_ALONE,
    ),
    Job(
        "many-tables",
        ("small",),
        steps(
            f"{TRAIN} --data inputs/small/t.csv --backend dask",
            "impute --data 'inputs/small/parts/p[01].csv' --out filled --backend dask --json",
            "impute --data 'inputs/small/parts/*.csv' --out filled",
        ),
    ),
    Job(
        "mixed-sizes",
        ("mixed",),
        (
            *_stages("inputs/mixed/t.csv"),
            *steps("predict --images inputs/mixed/t.csv --out predictions.csv", "review --out review.html"),
        ),
    ),
    Job(
        "coco",
        ("files",),
        (
            *_stages("inputs/files/coco.json", "filled.json", fill="--fill-occluded"),
            *steps(
                "convert filled.json filled.csv",
                "predict --images inputs/files/coco.json --out p.csv",
            ),
        ),
    ),
    Job(
        "deeplabcut",
        ("files",),
        (
            *_stages(
                "inputs/files/CollectedData_Ann.csv",
                "inputs/files/CollectedData_Bob.csv",
                train="--method prior",
            ),
            *steps("convert inputs/files/CollectedData_Bob.csv inputs/files/filled.json --json"),
        ),
        settings=FINAL_ALONE,
    ),
    Job(
        "label-studio",
        ("files",),
        (
            *_stages("inputs/files/tasks.json", "filled.json", train="--method prior"),
            *steps("convert inputs/files/tasks.json inputs/files/CollectedData_C.csv"),
        ),
        settings=FINAL_ALONE,
    ),
    Job(
        "parquet",
        ("files",),
        (
            *_stages("inputs/files/table.parquet", "filled.parquet", train="--method prior"),
            *steps("convert inputs/files/table.parquet inputs/files/table.csv"),
        ),
        settings=FINAL_ALONE,
    ),
    Job(
        "convert",
        ("files", "small"),
        steps(
            "convert inputs/files/coco.json inputs/files/a.csv --json",
            "convert inputs/files/a.csv inputs/files/b.parquet",
            "convert inputs/files/b.parquet inputs/files/c.json --to label-studio",
            "convert inputs/files/c.json inputs/files/CollectedData_D.csv --to deeplabcut",
            "convert inputs/files/CollectedData_D.csv inputs/files/e.json",
            "convert inputs/small/points.csv grey.json",
            Step("convert inputs/small/t.csv halves.json", 3),
            Step("convert inputs/files/coco.json inputs/files/a.csv", 2),
            "inspect inputs/files/e.json --json",
        ),
        settings="",
    ),
    Job(
        "stopped",
        ("small",),
        steps(
            Step(f"{TRAIN} --data inputs/small/t.csv", -9, "SIGKILL", "outputs/keypoint-models/*/model.json"),
            Step("impute --out early.csv", 3),
            Step(f"{TRAIN} --data inputs/small/t.csv", 130, "SIGINT", "outputs/keypoint-models/*/model.json"),
            f"{TRAIN} --data inputs/small/t.csv",
            IMPUTE,
            Step(f"{FINAL} --epochs 60", 130, "SIGINT", "outputs/checkpoints/*/*.safetensors"),
            f"{FINAL} --epochs 60",
        ),
        settings="[keypoint-models]\nepochs = 6\npatch-size = 8\n",
        apart=r"outputs/(metrics\.jsonl|checkpoints/.*)",
    ),
    _preset("default"),
    _preset("baseline"),
    _preset("phase1", "--second-session-epochs 1 --second-session-batch 64"),
    _preset("phase2", "--second-session-epochs 1 --best-by mae"),
    _preset("phase3", "--second-session-epochs 1"),
    _export("two-sources", "--source 2"),
    _export("preset-baseline"),
    _export("preset-phase1"),
    _export("preset-phase2"),
    _export("preset-phase3"),
    Job("refused", ("small", "refused"), _refused()),
)
