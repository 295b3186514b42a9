"""The tries of `benchmarks.attack`, by group: a line of shell each, and the exit codes that are right."""

from __future__ import annotations

import gzip
import io
import json
import shlex
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

TRAIN = "labelfill train-keypoint-models --run-dir new --method prior --data"
IMPUTE = "labelfill impute --run-dir run --data t.csv --out o.csv"


@dataclass(frozen=True)
class Try:
    """A try.

    Attributes
    ----------
    codes
        Exit codes of which any is right.
    files
        Written beforehand, by name.
    changes
        Whether the try itself changes inputs.
    """

    group: str
    name: str
    command: str
    codes: tuple[int, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    changes: bool = False
    seconds: float = 60
    megabytes: int = 1500


def packed() -> Iterator[Try]:
    """Archives that are bombs, encrypted, nested, of odd names, or no archives."""
    table = b"a_x,a_y,Image\n1,1,0 0 0 0\n"

    def archive(*members: tuple[str, bytes]) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
            for name, content in members:
                out.writestr(name, content)
        return file.getvalue()

    good = archive(("t.csv", table))
    encrypted = bytearray(good)
    encrypted[6] |= 1
    encrypted[good.rindex(b"PK\x01\x02") + 8] |= 1
    bomb = archive(("t.csv", b"a_x,a_y,Image\n" + b"0" * (1 << 27)))
    contents = {
        "encrypted.zip": bytes(encrypted),
        "bomb.zip": bomb,
        "nested.zip": archive(("t.zip", bomb)),
        "empty.zip": archive(),
        "two.zip": archive(("a.csv", table), ("b.csv", table)),
        "outside.zip": archive(("../../outside.csv", table)),
        "cut.zip": good[:-10],
        "head.zip": good[:4],
        "bomb.csv.gz": gzip.compress(b"a_x,a_y,Image\n" + b"0" * (1 << 27)),
        "zeros.csv.gz": gzip.compress(b"\0" * (1 << 27)),
        "blank.csv.gz": gzip.compress(b"\n" * (1 << 27)),
        "cut.csv.gz": gzip.compress(table * 1000)[:-9],
        "twice.csv.gz": gzip.compress(gzip.compress(table)),
        "text.csv.gz": table,
        "quotes.csv": b'"' * (1 << 25),
        "zeros.csv": b"\0" * (1 << 25),
    }
    for name, content in contents.items():
        for command in ("labelfill inspect", TRAIN):
            codes = (0, 3) if name == "outside.zip" else (3,)
            yield Try("packed", name, f"{command} {name}", codes, {name: content})


def paths() -> Iterator[Try]:
    """A fifo, a folder, a device, links, a circle of links, and nothing, as every path that is given."""
    makes = {
        "fifo": "mkfifo odd",
        "folder": "mkdir odd",
        "zero": "ln -s /dev/zero odd",
        "null": "ln -s /dev/null odd",
        "circle": "ln -s odd odd",
        "dangling": "ln -s none odd",
        "absent": ":",
        "unreadable name": "touch odd && mkdir -p x && mv odd x/ && ln -s x/odd/deeper odd",
    }
    uses = {
        "--data": (f"{TRAIN} odd", (3, 5)),
        "inspect": ("labelfill inspect odd", (3, 5)),
        "--out": ("labelfill impute --run-dir run --data t.csv --out odd", (2, 5)),
        "--out suffix": (
            "mv odd odd.csv; labelfill impute --run-dir run --data t.csv --out odd.csv",
            (0, 2, 5),
        ),
        "--truth": ("labelfill compare t.csv --truth odd --out c", (2, 3, 5)),
        "truth": ("labelfill evaluate filled.csv odd", (3, 5)),
        "--corrections": (
            "labelfill impute --run-dir run --data t.csv --out o.csv --corrections odd",
            (2, 3, 5),
        ),
        "--run-dir": ("labelfill impute --run-dir odd --data t.csv --out o.csv", (3, 5)),
        "--run-dir new": (
            "labelfill train-keypoint-models --method prior --data t.csv --run-dir odd",
            (0, 3, 5),
        ),
        "--images": ("labelfill predict --run-dir run --images odd --out p.csv", (3, 5)),
        "--filled": ("labelfill train-final --run-dir run --filled odd --force", (3, 5)),
        "--settings": ("labelfill impute --run-dir run --settings odd", (0, 2, 3, 5)),
        "report --out": ("labelfill report --run-dir run --out odd", (0, 2, 5)),
        "convert": ("labelfill convert odd x.json", (2, 3, 5)),
        "convert to": ("labelfill convert t.csv odd", (2, 3, 5)),
        "export": ("labelfill export --run-dir run --format torch --out odd", (0, 2, 5)),
        "demo-data": ("labelfill demo-data --rows 20 --out odd", (0, 2, 3, 5)),
        "init": ("labelfill init --out odd", (0, 2, 5)),
        "doctor": ("labelfill doctor --run-dir odd", (0, 2, 3, 5)),
    }
    for kind, make in makes.items():
        for use, (command, codes) in uses.items():
            yield Try(
                "paths", f"{kind} as {use}", f"{make}; {command}", codes,
                changes=kind == "absent", seconds=180 if use == "doctor" else 60,  # it trains and fills
            )  # fmt: skip


def streams() -> Iterator[Try]:
    """Every command with stdout or stderr closed or full."""
    commands = {
        "inspect t.csv": 0,
        f"{TRAIN.removeprefix('labelfill ')} t.csv": 0,
        "impute --run-dir run --data t.csv --out o.csv": 0,
        "train-final --run-dir run --filled filled.csv": (0, 2),
        "predict --run-dir run --images t.csv --out p.csv": 0,
        "evaluate filled.csv truth.csv": 0,
        "review --run-dir run --filled filled.csv --out r.html": 0,
        "report --run-dir run --out p.html": 0,
        "convert t.csv x.json": 0,
        "init": 0,
        "completion zsh": 0,
        "demo-data --rows 20 --out d": 0,
        "export --run-dir run --format torch --out e.pt2": 0,
        "run --data t.csv --run-dir new2 --method prior --out n.csv": 0,
        "compare filled.csv --truth truth.csv": (0, 2, 3),
        "doctor --help": 0,
    }
    for command, code in commands.items():
        codes = code if isinstance(code, tuple) else (code,)
        for what in (">&-", ">/dev/full"):
            right = tuple({5 if each == 0 else each for each in codes})
            yield Try("streams", f"{command} {what}", f"labelfill {command} {what}", right)
        for what in ("2>&-", "2>/dev/full"):
            yield Try("streams", f"{command} {what}", f"labelfill {command} {what}", codes)


def names() -> Iterator[Try]:
    """Names of files that are not UTF-8, 255 bytes long, of control characters, or look like options."""
    for name, text in {
        "not UTF-8": "$'\\xff\\xfe.csv'",
        "255 bytes": "$(printf 'n%.0s' {1..251}).csv",
        "256 bytes": "$(printf 'n%.0s' {1..252}).csv",
        "newline": "$'a\\nb.csv'",
        "escape": "$'\\e[31m.csv'",
        "dash": "./-t.csv",
        "markup": "'<b>&.csv'",
        "right to left": "$'\\u202egnp.csv'",
        "quotes": shlex.quote("'\".csv"),
        "percent": "'%s{x}.csv'",
    }.items():
        for command, codes in {
            f"cp t.csv {text} 2>/dev/null; {TRAIN} {text}": (0, 3, 5),
            f"cp t.csv {text} 2>/dev/null; labelfill inspect {text} --html i.html": (0, 3, 5),
            f"labelfill impute --run-dir run --data t.csv --out {text}": (0, 2, 5),
        }.items():
            yield Try("names", name, command, codes)


def limits() -> Iterator[Try]:
    """Few files, little memory, small files, other permissions, no home, no temporary folder."""
    for name, before, codes in (
        ("64 files", "ulimit -n 64", (0, 5)),
        ("16 files", "ulimit -n 16", (0, 1, 5)),
        ("2 GB of memory", "ulimit -v 2000000", (0, 4)),
        ("small files", "ulimit -f 8", (0, 5)),
        ("no files", "ulimit -f 0", (0, 5)),
        ("umask 077", "umask 077", (0,)),
        ("umask 777", "umask 777", (0, 3, 5)),
        ("no home", "unset HOME", (0,)),
        ("home is a file", "touch h; export HOME=$PWD/h", (0,)),
        ("no TMPDIR", "export TMPDIR=/none", (0,)),
        ("C locale", "export LC_ALL=C LANG=C PYTHONUTF8=0", (0,)),
        ("ascii streams", "export PYTHONIOENCODING=ascii", (0,)),
    ):
        for command in (
            IMPUTE,
            f"{TRAIN} t.csv",
            "labelfill inspect t.csv",
            "labelfill report --run-dir run --out r.html",
        ):
            yield Try("limits", f"{name}: {command[:30]}", f"{before}; {command}", codes)
        yield Try("limits", f"{name}: completion", f"{before}; labelfill completion bash >/dev/null", codes)


def stops() -> Iterator[Try]:
    """Signals once, twice and otherwise, to each stage, early and late; then the command goes on."""
    stages = {
        "train": f"{TRAIN} t.csv",
        "impute": IMPUTE,
        "final": "labelfill train-final --run-dir run --filled filled.csv --epochs 20 --force",
        "predict": "labelfill predict --run-dir run --images t.csv --out p.csv --force",
        "report": "labelfill report --run-dir run --out r.html --force",
    }
    for stage, command in stages.items():
        real = command.replace("labelfill ", "exec python -m labelfill ", 1)
        for signals, codes in {"INT": (0, 130), "TERM": (0, 130), "TERM INT TERM": (0, 130)}.items():
            for wait in ("0.3", "1.5", "3"):
                kills = " ".join(f"kill -{each} $p 2>/dev/null;" for each in signals.split())
                yield Try(
                    "stops", f"{stage} {signals} after {wait}",
                    f"({real.replace('python', '$PY', 1)}) & p=$!; sleep {wait}; {kills} wait $p",
                    codes,
                )  # fmt: skip
        yield Try(
            "stops", f"{stage} stopped and continued",
            f"({real.replace('python', '$PY', 1)}) & p=$!; sleep 1; kill -STOP $p; sleep 1; kill -CONT $p; "
            "wait $p",
            (0,),
        )  # fmt: skip
        yield Try(
            "stops", f"{stage} killed, then once more",
            f"({real.replace('python', '$PY', 1)}) & p=$!; sleep 2; kill -KILL $p; wait $p; {command}", (0,),
        )  # fmt: skip


def together() -> Iterator[Try]:
    """Two commands at once in one run directory: one is done, the other done or refused."""
    commands = {
        "train": "labelfill train-keypoint-models --data t.csv --run-dir run --method prior",
        "impute": IMPUTE,
        "final": "labelfill train-final --run-dir run --filled filled.csv --epochs 1",
        "report": "labelfill report --run-dir run --out r.html --force",
        "predict": "labelfill predict --run-dir run --images t.csv --out p.csv --force",
    }
    for first in commands:
        for second in commands:
            yield Try(
                "together", f"{first} and {second}",
                f"{commands[first]} & p=$!; {commands[second]}; b=$?; wait $p; a=$?; "
                "case $a$b in 00|05|50|02|20) exit 0;; *) echo $a $b; exit 1;; esac", (0,),
            )  # fmt: skip


def changing() -> Iterator[Try]:
    """Tables and runs that change, vanish or are read-only between and while stages work."""
    for name, command, codes in (
        (
            "table changed after training",
            f"{TRAIN} t.csv; echo >> t.csv; labelfill impute --run-dir new",
            (3,),
        ),
        ("table gone after training", f"{TRAIN} t.csv; rm t.csv; labelfill impute --run-dir new", (3,)),
        ("table cut while it is read", f"({TRAIN} t.csv) & p=$!; sleep 0.6; : > t.csv; wait $p", (0, 3)),
        ("run gone midway", f"({TRAIN} t.csv) & p=$!; sleep 1.5; rm -rf new; wait $p", (0, 5)),
        (
            "filled table changed",
            "sed -i 's/1/2/' filled.csv; labelfill train-final --run-dir run --filled filled.csv --force",
            (3,),
        ),
        (
            "sidecar gone",
            "rm filled.provenance.csv; labelfill train-final --run-dir run --filled filled.csv --force",
            (3,),
        ),
        (
            "sidecar empty",
            ": > filled.provenance.csv; labelfill train-final --run-dir run --filled filled.csv --force",
            (3,),
        ),
        ("split gone", "rm run/split.csv; labelfill report --run-dir run --out r.html", (3,)),
        ("models gone", "rm -r run/shared-models; " + IMPUTE, (3,)),
        ("cache is a file", "rm -rf run/cache; touch run/cache; " + IMPUTE, (0, 5)),
        ("manifest is a folder", "rm run/manifest.json; mkdir run/manifest.json; " + IMPUTE, (3, 5)),
        ("manifest is empty", ": > run/manifest.json; " + IMPUTE, (3,)),
        ("lock is a folder", "rm -f run/.lock; mkdir run/.lock; " + IMPUTE, (5,)),
        ("dates in the future", "find run -exec touch -d 2041-01-01 {} +; " + IMPUTE, (0,)),
        ("dates before the epoch", "find run -exec touch -d 1950-01-01 {} +; " + IMPUTE, (0,)),
        ("run moved", "mv run r2; labelfill impute --run-dir r2 --data t.csv --out o.csv", (0,)),
        ("run is a link", "mv run r2; ln -s r2 run; " + IMPUTE, (0,)),
    ):
        yield Try("changing", name, command, codes, changes=True)


def shapes() -> Iterator[Try]:
    """Tables of one row, of two labels, of equal keypoints, of large and narrow images, of many keypoints."""

    def table(keypoints: int, rows: int, side: int, label: Callable[[int, int], str]) -> bytes:
        head = ",".join(f"k{k}_{axis}" for k in range(keypoints) for axis in "xy") + ",Image\n"
        pixels = " ".join(str(p % 251) for p in range(side * side))
        lines = [
            ",".join(label(row, k) for k in range(keypoints)) + f",{row % 256} {pixels[2:]}\n"
            for row in range(rows)
        ]
        return (head + "".join(lines)).encode()

    def usual(row: int, k: int) -> str:
        return f"{(row * 7 + k * 3) % 20 + 1},{(row * 5 + k) % 20 + 1}"

    cases = {
        "one row": table(3, 1, 24, usual),
        "two rows": table(3, 2, 24, usual),
        "one labelled row": table(3, 30, 24, lambda r, k: usual(r, k) if r == 0 else ","),
        "two labelled rows": table(3, 30, 24, lambda r, k: usual(r, k) if r < 2 else ","),
        "no label": table(3, 30, 24, lambda r, k: ","),
        "equal keypoints": table(4, 60, 24, lambda r, k: "," if (r + k) % 7 == 0 else "12,12"),
        "one keypoint": table(1, 60, 24, lambda r, k: "," if r % 5 == 0 else usual(r, k)),
        "x alone": table(2, 60, 24, lambda r, k: f"{r % 20 + 1}," if k else usual(r, k)),
        "100 keypoints, 12 rows": table(100, 12, 24, lambda r, k: "," if (r + k) % 9 == 0 else usual(r, k)),
        "1 px": table(2, 40, 1, lambda r, k: "," if (r + k) % 9 == 0 else "0,0.2"),
        "2 px": table(2, 40, 2, lambda r, k: "," if (r + k) % 9 == 0 else f"{r % 2},{(r + k) % 2}.1"),
    }
    for name, content in cases.items():
        yield Try("shapes", f"{name}, inspect", "labelfill inspect s.csv", (0, 3), {"s.csv": content})
        yield Try(
            "shapes", f"{name}, prior", "labelfill run --data s.csv --run-dir new --method prior --out n.csv",
            (0, 3, 6), {"s.csv": content},
        )  # fmt: skip


def numbers() -> Iterator[Try]:
    """NaN, 1e308, long numbers and depth as numbers of every format."""
    values = (
        "NaN",
        "Infinity",
        "-Infinity",
        "1e308",
        "-1e308",
        "1e400",
        "9" * 400,
        "[" * 3000,
        "null",
        '"x"',
        "true",
    )
    for value in values:
        coco = (
            '{"images":[{"id":1,"file_name":"pictures/0.png","width":24,"height":24}],"categories":[{"id":1,'
            '"name":"p","keypoints":["a"]}],"annotations":[{"id":1,"image_id":1,"category_id":1,"keypoints":'
            f"[{value},3,2]}}]}}"
        )
        studio = (
            '[{"id":1,"data":{"image":"pictures/0.png"},"annotations":[{"result":[{"type":"keypointlabels",'
            f'"original_width":24,"original_height":24,"value":{{"x":{value},"y":3,"width":1,'
            '"keypointlabels":["a"]}}]}]}]'
        )
        plain = (
            f"a_x,a_y,Image\n{value.strip(chr(34))},1,{' '.join(['0'] * 16)}\n1,1,{' '.join(['0'] * 16)}\n"
        )
        for name, text in {"c.json": coco, "l.json": studio, "n.csv": plain}.items():
            yield Try(
                "numbers",
                f"{value[:12]} in {name}",
                f"labelfill inspect {name}",
                (0, 3),
                {name: text.encode()},
            )
    deep = json.dumps({"images": []}).replace("[]", "[" * 100_000 + "]" * 100_000)
    yield Try("numbers", "deep COCO", "labelfill inspect d.json", (3,), {"d.json": deep.encode()})


def options() -> Iterator[Try]:
    """Numbers at their bounds, one beyond, and what is no number, for every command that takes them."""
    base = {
        "train-keypoint-models": f"{TRAIN} t.csv".replace(" --method prior", "") + " --dry-run",
        "impute": IMPUTE + " --dry-run",
        "train-final": "labelfill train-final --run-dir run --filled filled.csv --force --dry-run",
        "predict": "labelfill predict --run-dir run --images t.csv --out p.csv",
        "review": "labelfill review --run-dir run --filled filled.csv --out v.html",
        "demo-data": "labelfill demo-data --out d",
    }
    for command, option, good, bad in (
        ("train-keypoint-models", "--epochs", "1 1000000000", "0 -1 1.5 x 1e9"),
        ("train-keypoint-models", "--batch-size", "1 1000000000", "0 -1"),
        ("train-keypoint-models", "--learning-rate", "1e-300 1", "0 1.0001 nan inf"),
        ("train-keypoint-models", "--patch-size", "8 256", "7 257"),
        ("train-keypoint-models", "--seed", "0 9223372036854775807", "-1 9223372036854775808"),
        ("impute", "--coverage", "0.5 0.99", "0.49 0.991 nan"),
        ("impute", "--max-radius", "1e-300 1e300", "0 -1 inf"),
        ("impute", "--batch-size", "1 1000000000", "0"),
        ("train-final", "--epochs", "1 1000000000", "0"),
        ("train-final", "--batch-size", "1", "0 x"),
        ("predict", "--coverage", "0.5 0.99", "0.4999 1"),
        ("predict", "--batch-size", "1 100000", "0"),
        ("review", "--rows", "1 1000000000", "0 -5"),
        ("demo-data", "--rows", "1 20", "0 -1 x"),
        ("demo-data", "--seed", "0", "-1 x"),
    ):
        for value in good.split():
            yield Try(
                "options", f"{command} {option} {value}", f"{base[command]} {option} {value}", (0, 2, 3, 4)
            )
        for value in bad.split():
            yield Try("options", f"{command} {option} {value}", f"{base[command]} {option}={value}", (2,))


GROUPS: dict[str, Callable[[], Iterator[Try]]] = {
    each.__name__: each
    for each in (packed, paths, streams, names, limits, stops, together, changing, shapes, numbers, options)
}
