"""What the stages cost and reach, beside other ways of filling, on a drawn table of Kaggle's size.

The table is drawn by `labelfill demo-data`: 7,049 faces of 96x96 px with Kaggle's missing patterns and its
two label conventions. In one run, on the same table and device:

* the three stages, each as the command that a person runs: seconds with start-up, peak memory of all
  processes (shared pages count once), error of the fill and of the final network
* networks: parameters, floating point operations as PyTorch counts them, seconds per epoch, and which share
  they reach of the rate of a plain large matrix product by as many threads in the same precision
* other ways of filling the same cells: scikit-learn's imputers; one network for all coordinates that is
  trained on observed labels alone (masked loss); the original way, a network that sees the image alone for
  each incomplete keypoint (benchmarks/parts/original.py)
* reading: the table's text to labels and pixels, beside pandas, which leaves pixels as text
* impute end to end: a table that no command has read, of this size and ten times it, beside what reading and
  inference take of that
* accuracy against time: the prior alone, fewer epochs, and the default

`--repeat` does the keypoint models and impute so often; they end the same each time. Parts that are finished
are kept in --out and not done again. Threads are as many as OMP_NUM_THREADS says, or as there are cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from benchmarks import measuring
from benchmarks.bench_report import report, stored
from benchmarks.measuring import THREADS, Figures, numbers, once, run_python, some_of
from labelfill.runs import atomic_write, make_folder, write_bytes
from labelfill.runs.resources import measured

KAGGLE_ROWS = 7049


class Bench:
    """The parts of a run of this script, for one repetition; each leaves figures and files in its folder."""

    def __init__(self, arguments: argparse.Namespace, repetition: int) -> None:
        self.out: Path = arguments.out
        self.asked = arguments
        self.folder = self.out / f"repetition-{repetition}"
        self.table, self.truth = self.out / "data" / "training.csv", self.out / "data" / "truth.csv"
        self.run, self.masked_run = self.folder / "run", self.folder / "masked-run"
        self.filled, self.masked = self.folder / "labelfill.csv", self.folder / "masked.csv"
        self.original = self.out / "original.csv"
        self.device = ["--device", arguments.device]
        self.common = [*self.device, "--seed", arguments.seed]
        self.epochs = [] if arguments.epochs is None else ["--epochs", arguments.epochs]

    def draw(self) -> Figures:
        labelfill("demo-data", "--rows", self.asked.rows, "--out", self.out / "data", "--force")
        return {"rows": self.asked.rows, "bytes": self.table.stat().st_size}

    def train(self) -> Figures:
        shutil.rmtree(self.run, ignore_errors=True)  # what was begun and stopped could not be timed
        return labelfill(
            "train-keypoint-models", "--data", self.table, "--run-dir", self.run, *self.common, *self.epochs
        )

    def impute(self) -> Figures:
        return labelfill("impute", "--run-dir", self.run, "--out", self.filled, *self.device, "--force")

    def final(self) -> Figures:
        return labelfill("train-final", "--run-dir", self.run, *self.common, *self.epochs, "--force")

    def networks(self) -> Figures:
        quick = {} if self.asked.epochs is None else {"epochs": 1, "rows": min(self.asked.rows, 256)}
        devices = ["cpu", "cuda"] if has_cuda() else ["cpu"]
        return measure("networks", run=self.run, devices=devices, threads=THREADS, **quick)

    def mask(self) -> Figures:
        """A network for all coordinates, trained on what is observed; its answers fill the blanks."""
        shutil.rmtree(self.masked_run, ignore_errors=True)
        run, found = ["--run-dir", self.masked_run], self.folder / "predictions.csv"
        labelfill("train-keypoint-models", "--data", self.table, "--method", "prior", *run, *self.common)
        trained = labelfill("train-final", "--labels", "observed", *run, *self.common, *self.epochs)
        labelfill("predict", "--images", self.table, "--out", found, "--force", *run, *self.device)
        measure("masked_loss", table=self.table, answers=found, out=self.masked)
        return trained

    def original_way(self) -> Figures:
        return measure(
            "original", data=self.table, cache=self.out / "cache", out=self.original, threads=THREADS,
            device="cuda" if self.asked.device == "auto" and has_cuda() else self.asked.device,
            whole=self.asked.whole, **({} if self.asked.epochs is None else {"epochs": self.asked.epochs}),
        )  # fmt: skip

    def curve(self) -> Figures:
        """What keypoint models cost and reach in less time; the prior trains no network."""
        told, tables = {}, []
        for name in ("prior", *map(str, self.asked.curve)):
            run, filled = self.folder / f"curve-{name}", self.folder / f"{name}.csv"
            shutil.rmtree(run, ignore_errors=True)
            method = ["--method", "prior"] if name == "prior" else ["--epochs", name]
            begun = time.perf_counter()
            labelfill("train-keypoint-models", "--data", self.table, "--run-dir", run, *method, *self.common)
            labelfill("impute", "--run-dir", run, "--out", filled, *self.device, "--force")
            told[name] = {"seconds": time.perf_counter() - begun}
            tables += ["--filled", filled]
        scores = labelfill("compare", self.table, "--truth", self.truth, *tables, "--ways", "none")["ways"]
        return {
            "choices": {name: {**one, "rmse": scores[f"{name}.csv"]["rmse"]} for name, one in told.items()}
        }

    def end_to_end(self) -> Figures:
        """`impute` of tables that nothing has read before, the second ten times as long."""
        tenfold = self.out / "data" / "tenfold.csv"
        if not tenfold.is_file():
            repeat_table(self.table, tenfold, 10)
        how = {"run": self.run, "scratch": self.out / "reading", "device": self.asked.device}
        told = [measure("end_to_end", data=table, **how) for table in (self.table, tenfold)]
        tenfold.unlink()
        return {"tables": told}

    def imputers(self) -> Figures:
        """Every way's error, and what scikit-learn's imputers take."""
        known = [self.table, "--truth", self.truth]
        tables = ["--filled", self.filled, *(["--filled", self.masked] if self.masked.is_file() else [])]
        everything = labelfill("compare", *known, *tables, "--ways", "iterative,knn,mean")
        whole = stored(self.out)["original"][0]["trained whole"]
        few = ["--keypoints", ",".join(whole), "--filled", self.filled, "--filled", self.original]
        return {"all": everything, "trained whole": labelfill("compare", *known, *few, "--ways", "none")}

    def reading(self) -> Figures:
        return measure("reading", data=self.table, scratch=self.out / "reading")

    # What is done, in this order, and whether each repetition does it anew.
    PARTS: ClassVar = {
        "data": (draw, False),
        "train-keypoint-models": (train, True),
        "impute": (impute, True),
        "train-final": (final, False),
        "networks": (networks, False),
        "masked loss": (mask, False),
        "original": (original_way, False),
        "imputers": (imputers, False),
        "reading": (reading, False),
        "curve": (curve, False),
        "end to end": (end_to_end, False),
    }


def repeat_table(table: Path, path: Path, times: int) -> None:
    """The table's rows so many times, no image twice: each copy begins with another pixel."""
    with open(table, "rb") as file, atomic_write(path) as out:
        head, *rows = file.readlines()
        out.write(head)
        for copy in range(times):
            for row in rows:
                labels, _, pixels = row.rpartition(b",")
                first, _, others = pixels.partition(b" ")
                out.write(b"%b,%d %b" % (labels, (int(first) + copy) % 256, others))


def labelfill(*arguments: object) -> Figures:
    """What a command prints for --json; its children's memory counts, too."""
    told: Figures = json.loads(measuring.labelfill(*arguments, "-q", "--json", threads=THREADS).printed)
    return told


def measure(part: str, **arguments: object) -> Figures:
    """What a module of `benchmarks.parts` measures, in a process of its own."""
    asked = json.dumps(arguments, default=str)
    told: Figures = json.loads(run_python("-m", f"benchmarks.parts.{part}", asked, threads=THREADS).printed)
    return told


def has_cuda() -> bool:
    return run_python("-c", "import torch; print(torch.cuda.is_available())").printed.strip() == "True"


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    make_folder(asked.out / "parts")
    about = {name: getattr(asked, name) for name in ("rows", "epochs", "device", "seed", "whole", "curve")}
    settle(asked.out / "about.json", about)
    for repetition in range(asked.repeat):
        bench = Bench(asked, repetition)
        make_folder(bench.folder)
        for name, (work, repeated) in Bench.PARTS.items():
            if name in asked.parts and (repeated or not repetition):
                file = asked.out / "parts" / f"{name} {repetition}.json"
                once(file, f"{name}, repetition {repetition}", with_cost, work, bench)
        text = report(asked.out, {**about, "threads": THREADS, "repetitions": repetition + 1})
    print(text)
    return 0


def with_cost(work: Callable[[Bench], Figures], bench: Bench) -> Figures:
    told, cost = measured(lambda: work(bench))
    return told | {"wall": cost.seconds, "peak_memory": cost.peak_memory}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    options = measuring.parser(
        __doc__,
        "scripts/bench --out outputs/bench --device cpu --repeat 3",
        "scripts/bench --out outputs/quick --rows 300 --epochs 1",
    )
    names = list(Bench.PARTS)
    options.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="keeps tables and figures")
    options.add_argument("--device", default="auto", help="of the stages: auto, cpu, cuda (default: auto)")
    options.add_argument(
        "--rows", type=int, default=KAGGLE_ROWS, help=f"of the table (default: {KAGGLE_ROWS})"
    )
    options.add_argument("--epochs", type=int, metavar="N", help="of every network (default: theirs)")
    options.add_argument("--repeat", type=int, default=1, metavar="N", help="medians of N runs")
    options.add_argument(
        "--curve", type=numbers, default=[10, 5], metavar="N,...", help="fewer epochs to try (default: 10,5)"
    )
    options.add_argument(
        "--whole", type=int, default=1, metavar="N",
        help="networks of the original way that are trained whole, to tell their error (default: 1)",
    )  # fmt: skip
    options.add_argument("--parts", default=names, type=some_of(names, "part"), help=",".join(names))
    options.add_argument("--seed", type=int, default=0)
    return options.parse_args(arguments)


def settle(file: Path, about: Figures) -> None:
    """Figures of one folder belong to one set of arguments."""
    if file.is_file() and json.loads(file.read_text()) != about:
        raise SystemExit(f"{file} says {file.read_text()}, and now it is {about}: choose another --out")
    write_bytes(file, json.dumps(about).encode())


if __name__ == "__main__":
    sys.exit(main())
