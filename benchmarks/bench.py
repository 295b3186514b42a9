"""What the stages cost and reach, beside other ways of filling, on a drawn table of Kaggle's size.

The table is drawn by `labelfill demo-data`: 7,049 faces of 96x96 px with Kaggle's missing patterns and its
two label conventions. In one run, on the same table and device:

* the three stages, each as the command that a person runs: seconds with start-up, peak memory of all
  processes (shared pages count once), error of the fill and of the final network
* networks: parameters, floating point operations as PyTorch counts them, seconds per epoch, and which share
  they reach of the rate of a plain large matrix product by as many threads in the same precision
* other ways of filling the same cells: scikit-learn's imputers; one network for all coordinates that is
  trained on observed labels alone (masked loss); the original way, a network that sees the image alone for
  each incomplete keypoint (bench_original.py)
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
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_report import report
from option_values import numbers, some_of

from labelfill.errors import EXIT_CELLS_LEFT_BLANK, EXIT_DONE
from labelfill.runs import atomic_write, make_folder
from labelfill.runs.resources import measured

KAGGLE_ROWS = 7049
SCRIPTS = Path(__file__).parent
THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


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

    def draw(self) -> dict[str, Any]:
        labelfill("demo-data", "--rows", self.asked.rows, "--out", self.out / "data", "--force")
        return {"rows": self.asked.rows, "bytes": self.table.stat().st_size}

    def train(self) -> dict[str, Any]:
        shutil.rmtree(self.run, ignore_errors=True)  # what was begun and stopped could not be timed
        return labelfill(
            "train-keypoint-models", "--data", self.table, "--run-dir", self.run, *self.common, *self.epochs
        )

    def impute(self) -> dict[str, Any]:
        return labelfill("impute", "--run-dir", self.run, "--out", self.filled, *self.device, "--force")

    def final(self) -> dict[str, Any]:
        return labelfill("train-final", "--run-dir", self.run, *self.common, *self.epochs, "--force")

    def networks(self) -> dict[str, Any]:
        devices = ["cpu", *(["cuda"] if has_cuda() else [])]
        return script(
            "bench_networks.py", "--run", self.run, "--devices", ",".join(devices), "--threads", THREADS,
            *([] if self.asked.epochs is None else ["--epochs", 1, "--rows", min(self.asked.rows, 256)]),
        )  # fmt: skip

    def mask(self) -> dict[str, Any]:
        """A network for all coordinates, trained on what is observed; its answers fill the blanks."""
        shutil.rmtree(self.masked_run, ignore_errors=True)
        run, found = ["--run-dir", self.masked_run], self.folder / "predictions.csv"
        labelfill("train-keypoint-models", "--data", self.table, "--method", "prior", *run, *self.common)
        trained = labelfill("train-final", "--labels", "observed", *run, *self.common, *self.epochs)
        labelfill("predict", "--images", self.table, "--out", found, "--force", *run, *self.device)
        script("bench_filled.py", "--table", self.table, "--answers", found, "--out", self.masked)
        return trained

    def original_way(self) -> dict[str, Any]:
        return script(
            "bench_original.py", "--data", self.table, "--cache", self.out / "cache", "--out", self.original,
            "--device", "cuda" if self.asked.device == "auto" and has_cuda() else self.asked.device,
            "--threads", THREADS, "--whole", self.asked.whole,
            *self.epochs,
        )  # fmt: skip

    def curve(self) -> dict[str, Any]:
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

    def end_to_end(self) -> dict[str, Any]:
        """`impute` of tables that nothing has read before, the second ten times as long."""
        tenfold = self.out / "data" / "tenfold.csv"
        if not tenfold.is_file():
            repeat_table(self.table, tenfold, 10)
        told = []
        for table in (self.table, tenfold):
            arguments = ["--scratch", self.out / "reading", "--run", self.run, "--device", self.asked.device]
            told.append(script("bench_impute.py", "--data", table, *arguments))
        tenfold.unlink()
        return {"tables": told}

    def imputers(self) -> dict[str, Any]:
        """Every way's error, and what scikit-learn's imputers take."""
        known = [self.table, "--truth", self.truth]
        tables = ["--filled", self.filled, *(["--filled", self.masked] if self.masked.is_file() else [])]
        everything = labelfill("compare", *known, *tables, "--ways", "iterative,knn,mean")
        whole = stored(self.out, "original")["trained whole"]
        few = ["--keypoints", ",".join(whole), "--filled", self.filled, "--filled", self.original]
        return {"all": everything, "trained whole": labelfill("compare", *known, *few, "--ways", "none")}

    def reading(self) -> dict[str, Any]:
        return script("bench_reading.py", "--data", self.table, "--scratch", self.out / "reading")

    @property
    def device(self) -> list[object]:
        return ["--device", self.asked.device]

    @property
    def common(self) -> list[object]:
        return [*self.device, "--seed", self.asked.seed]

    @property
    def epochs(self) -> list[object]:
        return [] if self.asked.epochs is None else ["--epochs", self.asked.epochs]

    def parts(self) -> dict[str, tuple[Callable[[], dict[str, Any]], bool]]:
        """What is done, in this order, and whether each repetition does it anew."""
        return {
            "data": (self.draw, False),
            "train-keypoint-models": (self.train, True),
            "impute": (self.impute, True),
            "train-final": (self.final, False),
            "networks": (self.networks, False),
            "masked loss": (self.mask, False),
            "original": (self.original_way, False),
            "imputers": (self.imputers, False),
            "reading": (self.reading, False),
            "curve": (self.curve, False),
            "end to end": (self.end_to_end, False),
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


def labelfill(*arguments: object) -> dict[str, Any]:
    """What a command prints for --json; its children's memory counts, too."""
    told: dict[str, Any] = json.loads(output("-m", "labelfill", *arguments, "-q", "--json"))
    return told


def script(name: str, *arguments: object) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(output(SCRIPTS / name, *arguments) or "{}")
    return told


def output(*arguments: object) -> str:
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if ended.returncode not in (EXIT_DONE, EXIT_CELLS_LEFT_BLANK):
        raise SystemExit(f"{' '.join(command)} ended with {ended.returncode}")
    return ended.stdout


def has_cuda() -> bool:
    return output("-c", "import torch; print(torch.cuda.is_available())").strip() == "True"


def stored(out: Path, part: str, repetition: int = 0) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((out / "parts" / f"{part} {repetition}.json").read_text())
    return told


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    make_folder(asked.out / "parts")
    about = {name: getattr(asked, name) for name in ("rows", "epochs", "device", "seed", "whole", "curve")}
    settle(asked.out / "about.json", about)
    for repetition in range(asked.repeat):
        bench = Bench(asked, repetition)
        make_folder(bench.folder)
        for name, (work, repeated) in bench.parts().items():
            if name not in asked.parts or (repetition and not repeated):
                continue
            file = asked.out / "parts" / f"{name} {repetition}.json"
            if not file.is_file():
                print(f"== {name}, repetition {repetition}", file=sys.stderr)
                told, cost = measured(work)
                with atomic_write(file, "w") as result:
                    told |= {"wall": cost.seconds, "peak_memory": cost.peak_memory}
                    json.dump(told, result, indent=1)
        text = report(asked.out, {**about, "threads": THREADS, "repetitions": repetition + 1})
    print(text)
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  scripts/bench --out outputs/bench --device cpu --repeat 3\n"
        "  scripts/bench --out outputs/quick --rows 300 --epochs 1",
    )  # fmt: skip
    names = list(Bench(argparse.Namespace(out=Path()), 0).parts())
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="keeps tables and figures")
    parser.add_argument("--device", default="auto", help="of the stages: auto, cpu, cuda (default: auto)")
    parser.add_argument(
        "--rows", type=int, default=KAGGLE_ROWS, help=f"of the table (default: {KAGGLE_ROWS})"
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="of every network (default: theirs)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="medians of N runs")
    parser.add_argument(
        "--curve", type=numbers, default=[10, 5], metavar="N,...", help="fewer epochs to try (default: 10,5)"
    )
    parser.add_argument(
        "--whole", type=int, default=1, metavar="N",
        help="networks of the original way that are trained whole, to tell their error (default: 1)",
    )  # fmt: skip
    parser.add_argument("--parts", default=names, type=some_of(names, "part"), help=",".join(names))
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def settle(file: Path, about: dict[str, Any]) -> None:
    """Figures of one folder belong to one set of arguments."""
    if file.is_file() and json.loads(file.read_text()) != about:
        raise SystemExit(f"{file} says {file.read_text()}, and now it is {about}: choose another --out")
    with atomic_write(file, "w") as out:
        json.dump(about, out)


if __name__ == "__main__":
    sys.exit(main())
