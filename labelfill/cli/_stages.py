"""What the commands of the stages share: the table, the run directory, and lines that they print."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from labelfill.cli._call import Call
from labelfill.cli._printing import Line, Result
from labelfill.errors import DataError
from labelfill.settings import RunSettings, Settings, TableSettings

if TYPE_CHECKING:
    from labelfill.runs import RunDirectory
    from labelfill.runs.engines import Engine

USUAL_TABLES = (Path("data/training.csv"), Path("data/training.zip"))

NOTHING_DONE = "dry run: nothing is trained and nothing is written"
DONE_BEFORE: Line = (
    lambda r: r["state"] == "done before",
    "already done with the same input and settings (--force starts over):",
)
FRAME: Line = (
    "frame",
    "images differ in size: all are scaled to a common frame of {frame}; errors below are in px "
    "of that frame",
)


def next_command(command: str, r: Result) -> list[str]:
    """A line on the command that comes next in the run whose directory is known beside a result."""
    return [f"next: {command}{_where(r)}"]


def next_commands(r: Result, *commands: tuple[str, str]) -> list[str]:
    """The commands that may come next, each with what it is for."""
    lines = [(f"{command}{_where(r)}", purpose) for command, purpose in commands]
    width = max(len(line) for line, _ in lines)
    return ["next:", *(f"  {line.ljust(width)}  # {purpose}" for line, purpose in lines)]


def _where(r: Result) -> str:
    run_dir = r["run_dir"]
    return "" if run_dir == RunSettings().run_dir else f" --run-dir {shlex.quote(str(run_dir))}"


def planned_state(begun: Callable[[Result], str]) -> Callable[[Result], list[str]]:
    """What would become of a stage; `begun` says how far one is that is to go on."""

    def lines(r: Result) -> list[str]:
        if r["starts over"]:
            return ["would start over (--force) and discard earlier results"]
        words = {
            "fresh": "would start",
            "resume": f"would resume: {begun(r)}",
            "done": "would do nothing: already done with the same input and settings (--force starts over)",
        }
        return [words[r["state"]]]

    return lines


def planned_time(what: str) -> Line:
    """About how long a stage will take, where it could be estimated."""

    def lines(r: Result) -> list[str]:
        from labelfill.runs.progress import about

        return [f"{what} takes {about(*r['estimated seconds'])} on {r['device']}"]

    return (lambda r: r["state"] != "done" and r["estimated seconds"] is not None, lines)


def _writes(r: Result) -> list[str]:
    writes = r["writes"]
    return [f"would write {path}" for path in (writes.values() if isinstance(writes, Mapping) else writes)]


PLANNED_WRITES: Line = (lambda r: r["state"] != "done", _writes)


def find_table(data: Path | None, run: RunDirectory | None = None) -> Path:
    """The table to read: `data` if given, else the one `run` was begun with, else a usual place.

    Raises
    ------
    DataError
        If there is none; says what to do.
    """
    if data is not None:
        return data
    recorded = None if run is None or run.begun_with is None else run.begun_with.path
    found = next(filter(Path.is_file, USUAL_TABLES), None) if recorded is None else Path(recorded)
    if found is None:
        raise DataError(
            f"no table found at {' or '.join(map(str, USUAL_TABLES))}: pass yours with --data TABLE, create "
            "a sample with `labelfill demo-data`, or download training.zip from Kaggle's competition "
            "facial-keypoints-detection (https://www.kaggle.com/c/facial-keypoints-detection/data)"
        )
    return found


@contextmanager
def open_run(call: Call, *sections: type[Settings], begun: bool) -> Iterator[RunDirectory]:
    """The run directory, locked, with the settings of `sections` for its stages to record.

    With `begun`, a run directory that holds no run is refused, not created; a dry run only looks at it.
    """
    from labelfill.runs import RunDirectory

    resolved: list[Settings] = [call.settings(cls) for cls in sections]
    run_settings = call.settings(RunSettings)
    if begun:
        RunDirectory.read_only(run_settings.run_dir)
    else:
        find_table(call.settings(TableSettings).data)  # before a folder is made for nothing
    if call.given.dry_run:
        yield RunDirectory.look(run_settings.run_dir)
        return
    with RunDirectory.open(run_settings.run_dir, [run_settings, *resolved]) as run:
        yield run


def learning_curves(call: Call, run: RunDirectory, command: str) -> AbstractContextManager[object]:
    """The learning curves of what a command's stage trains go to event files, if they are asked for."""
    if not call.settings(RunSettings).tensorboard:
        return nullcontext()
    from labelfill.runs.curves import Curves

    return Curves(run, command)


def with_curves(call: Call, run: RunDirectory, plan: Result) -> Result:
    """A training stage's plan, which tells where learning curves would go, if they are asked for."""
    if not call.settings(RunSettings).tensorboard:
        return plan
    from labelfill.runs.curves import FOLDER, require_tensorboard

    require_tensorboard()
    return {**plan, "writes": [*plan["writes"], str(run.path / FOLDER)]}


def chosen_engine(call: Call) -> Engine:
    """What --backend and --scheduler say."""
    from labelfill.runs.engines import Engine

    run_settings = call.settings(RunSettings)
    return Engine(run_settings.backend, run_settings.scheduler)
