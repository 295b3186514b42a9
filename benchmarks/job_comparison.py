"""What counts as the same in the results of two checkouts: what every file holds, every sentence printed.

Left out is only what tells the time, the machine or the version; `IGNORED` and `_VARYING` name all of it.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.job_runs import Checkout, Said
from benchmarks.small_jobs import Job

REMOVED: tuple[str, ...] = (
    "shuffle", "rotate", "activation", "batch_norm", "batch-norm", "dropout", "features", "l1", "l2",
)  # fmt: skip
"""Settings that the newer version no longer has, as ``settings.toml`` or the manifest name them.

They are told as removed, and are no difference.
"""

IGNORED = {
    "time": "the moment at which a line of metrics was written",
    "created": "when the run was begun",
    "begun": "when a stage was begun",
    "finished": "when a stage was finished",
    "attempt": "drawn anew whenever a stage begins",
    "versions": "of Python and the libraries; labelfill's own may rise",
    "seconds": "how long it took",
    "inference_seconds": "how long it took",
    "rows_per_second": "how long it took",
    "peak_memory": "depends on the moment at which it is looked at",
    "memory": "depends on the moment at which it is looked at",
}
"""Keys of JSON and TOML files whose values are not compared, and why."""

IGNORED_IN_CACHE = {
    "image_files": "a hash of absolute names of image files, their sizes and times",
    "sha256": "a hash of the entry, which covers the one above",
}
"""Further ones in ``cache/*/table.json``."""

IGNORED_IN_MANIFEST = {
    "final/model.json": "a hash of the file, which is compared by what it holds: settings may be gone",
    "seal": "a hash of a stage's inputs and results, which are compared by what they hold",
}
"""Further ones in a run's ``manifest.json``."""

UNTOLD_COLUMNS = {"seconds", "final_seconds", "peak_memory_mb", "final_peak_memory_mb"}
"""Columns of tables of scores that tell how long something took, and the memory that it needed."""

# What Dask says of ports in use and of workers that take their time to end.
_OF_DASK = re.compile(
    r".*\bdistributed[./].*|Perhaps you already have a cluster running\?|Hosting the HTTP server on port.*"
    r"|\s+warnings\.warn\("
)
# What sentences and pages say of time, memory and the like.
_VARYING = (
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+00:00|Z| UTC)?"), "TIME"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "DATE"),
    (re.compile(r"\b[\d.,]+ (s|seconds?|min|minutes?|h|hours?|[MG]i?B|rows/s|rows per second)\b"), "AMOUNT"),
    (re.compile(r"/tmp/labelfill-\w+\.txt"), "TRACEBACK"),
)  # fmt: skip
_TEXTS = {".html", ".md", ".txt", ".log", ".svg"}
_TABLES = {".csv", ".tsv"}


@dataclass(frozen=True)
class Difference:
    """Something that two results do not have in common."""

    place: str
    within: str
    old: object
    new: object

    def __str__(self) -> str:
        where = f"{self.place}: {self.within}" if self.within else self.place
        return f"{where}\n    old: {_short(self.old)}\n    new: {_short(self.new)}"


def _short(value: object) -> str:
    shown = value if isinstance(value, str) else repr(value)
    return shown if len(shown) <= 300 else f"{shown[:300]}... ({len(shown)} characters)"


def differences(job: Job, base: Job | None, old: Checkout, new: Checkout) -> Iterator[Difference]:
    """All that differs in a job's sentences and files, but for what it took over unchanged from its base."""
    unwritten: list[str] = []
    for step, one, other in zip(job.steps, old.said(job), new.said(job), strict=True):
        place = f"labelfill {step.arguments}"
        for name, said in (("old", one), ("new", other)):
            if said.code not in (step.code, step.faulty):
                yield Difference(
                    place, f"exit code of {name}", step.code, f"{said.code}: {said.err[-300:].strip()}"
                )
        if one.code == step.faulty and other.code == step.code:
            unwritten.append(step.writes)  # a fault is mended; what was said of it has no counterpart
        elif one.code != other.code:
            yield Difference(place, "exit code", one.code, other.code)
        elif not step.stop:
            yield from compare_said(place, one, other)
    for found in _compare_files(job, base, old, new):
        if not any(re.fullmatch(pattern, found.place) for pattern in unwritten):
            yield found


def compare_said(place: str, old: Said, new: Said) -> Iterator[Difference]:
    values = [_json_or_none(said.out) for said in (old, new)]
    if None in values:
        yield from compare_text(place, "stdout", old.out, new.out)
    else:
        yield from compare_values(place, "stdout", *values)
    yield from compare_text(place, "stderr", _own_lines(old.err), _own_lines(new.err))


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text) if text.startswith(("{", "[")) else None
    except ValueError:
        return None


def _own_lines(text: str) -> str:
    """The program's own sentences and log lines: no progress bars, and nothing of Dask's."""
    bars = ("\r", "it/s")
    return "\n".join(
        line
        for line in text.split("\n")
        if not any(mark in line for mark in bars) and not _OF_DASK.fullmatch(line)
    )


def normalised(text: str) -> str:
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text


def compare_text(place: str, within: str, old: str, new: str) -> Iterator[Difference]:
    """Line by line; the first line that differs is told."""
    one, other = (normalised(text).splitlines() for text in (old, new))
    if one == other:
        return
    shared = min(len(one), len(other))
    number = next((i for i in range(shared) if one[i] != other[i]), shared)
    first, second = (lines[number] if number < len(lines) else "nothing more" for lines in (one, other))
    begin = max(
        next((i for i, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), 0) - 60, 0
    )
    yield Difference(place, f"{within}, line {number + 1}", first[begin:], second[begin:])


def compare_values(place: str, within: str, old: Any, new: Any) -> Iterator[Difference]:
    """Values of JSON or TOML, path by path."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            if (
                key in IGNORED
                or (place.endswith("/table.json") and key in IGNORED_IN_CACHE)
                or (place.endswith("manifest.json") and key in IGNORED_IN_MANIFEST)
                or (key not in new and key in REMOVED)
            ):
                continue
            path = f"{within}.{key}"
            if key not in new:
                yield Difference(place, path, old[key], "missing")
            elif key not in old:
                yield Difference(place, path, "missing", new[key])
            else:
                yield from compare_values(place, path, old[key], new[key])
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from compare_values(place, f"{within}[{i}]", one, other)
    elif isinstance(old, str) and isinstance(new, str):
        if normalised(old) != normalised(new):
            yield Difference(place, within, old, new)
    elif type(old) is not type(new) or (old != new and not (old != old and new != new)):
        yield Difference(place, within, old, new)


def _files(folder: Path) -> dict[str, Path]:
    """Files by relative path; entries of a cache, whose names cover absolute paths, by what they hold."""
    entries: dict[Path, str] = {}
    for cache in sorted(folder.rglob("cache")):
        contents = sorted((_content(entry), entry) for entry in cache.iterdir() if entry.is_dir())
        entries |= {entry: f"{content}-{i}" for i, (content, entry) in enumerate(contents)}
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            entry = entries.get(path.parent)
            place = path if entry is None else path.parent.with_name(entry) / path.name
            found[place.relative_to(folder).as_posix()] = path
    return found


def _content(entry: Path) -> str:
    """The beginning of the hash of a table's bytes; something that sorts alike where there are several."""
    about = json.loads((entry / "table.json").read_text())
    images = "images" if (entry / "images.npy").is_file() else "labels"
    size = "assumed" if about["image_size_assumed"] else "stated"
    return f"{about['content_sha256'][:12]}-{images}-{size}"


def _compare_files(job: Job, base: Job | None, old: Checkout, new: Checkout) -> Iterator[Difference]:
    one, other = (_files(side.folder(job) / "files") for side in (old, new))
    for name in sorted({*one, *other}):
        if job.is_apart(name):
            continue
        if name not in other:
            yield Difference(name, "", "is there", "is not there")
        elif name not in one:
            yield Difference(name, "", "is not there", "is there")
        else:
            before, after = one[name].read_bytes(), other[name].read_bytes()
            if before == after or (base and _unchanged(name, base, (old, new), (before, after))):
                continue
            texts = [side.anywhere(data.decode(errors="surrogateescape")).encode(errors="surrogateescape")
                     for side, data in ((old, before), (new, after))]  # fmt: skip
            yield from compare_file(name, (before, after), texts)


def _unchanged(name: str, base: Job, sides: tuple[Checkout, ...], contents: tuple[bytes, ...]) -> bool:
    """Whether a file is what the job began with, and so was compared before."""
    paths = [side.folder(base) / "files" / name for side in sides]
    return all(
        path.is_file() and path.read_bytes() == data for path, data in zip(paths, contents, strict=True)
    )


def compare_file(name: str, contents: tuple[bytes, bytes], texts: list[bytes]) -> Iterator[Difference]:
    """Two files that differ in some byte, by what they hold."""
    from benchmarks.array_files import compare_arrays

    kind = Path(name).suffix
    if kind == ".json":
        yield from compare_values(name, "", *(json.loads(text) for text in texts))
    elif kind == ".jsonl":
        yield from compare_values(name, "", *([json.loads(one) for one in t.splitlines()] for t in texts))
    elif kind == ".toml":
        yield from compare_values(name, "", *(tomllib.loads(text.decode()) for text in texts))
    elif kind in _TABLES:
        yield from compare_tables(name, *(text.decode(errors="surrogateescape") for text in texts))
    elif kind in _TEXTS:
        yield from compare_text(name, "", *(text.decode(errors="surrogateescape") for text in texts))
    else:
        found = compare_arrays(kind, *contents)
        if found is None:
            yield Difference(name, "bytes", f"{len(contents[0])} bytes", f"{len(contents[1])} bytes, others")
        else:
            yield from (Difference(name, *one) for one in found)


def compare_tables(name: str, old: str, new: str) -> Iterator[Difference]:
    """Byte for byte, but for columns that tell versions (a provenance's ``model``), seconds or memory."""
    one, other = (_without_columns(text) for text in (old, new))
    yield from compare_text(name, "table", one, other)


def _without_columns(text: str) -> str:
    header = text.partition("\n")[0].rstrip("\r").split(",")
    left_out = {i for i, column in enumerate(header) if column in UNTOLD_COLUMNS}
    if header[:3] == ["row", "line", "keypoint"] and "model" in header:
        left_out.add(header.index("model"))
    if not left_out:
        return text
    lines = csv.reader(io.StringIO(text))
    return "\n".join(
        json.dumps([field for i, field in enumerate(line) if i not in left_out]) for line in lines
    )


def removed_settings(job: Job, old: Checkout, new: Checkout) -> list[str]:
    """Names of `REMOVED` that the job's settings held before and hold no longer."""
    texts = []
    for side in (old, new):
        paths = (side.folder(job) / "files").glob("*/settings.toml")
        texts.append("\n".join(path.read_text() for path in paths))
    return [name for name in REMOVED if name in texts[0] and name not in texts[1]]
