"""Small jobs by the command line on two checkouts; tells whatever differs in what they write and print.

The exit status is 1 if anything differs, and 2 if the jobs cannot be run.
"""

from __future__ import annotations

import argparse
import fcntl
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from benchmarks.job_comparison import differences, removed_settings
from benchmarks.job_runs import Checkout, Failed, make_inputs
from benchmarks.small_jobs import JOBS, Job

SHOWN = 12
BY_NAME = {job.name: job for job in JOBS}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks/same_results", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("old", nargs="?", type=Path, metavar="OLD", help="a checkout")
    parser.add_argument("new", nargs="?", type=Path, metavar="NEW", help="another one; a copy of OLD will do")
    parser.add_argument("--jobs", default="", metavar="NAME,NAME", help="only these, * and ? allowed")
    parser.add_argument("--without", default="", metavar="NAME,NAME", help="all but these, as 'export-*'")
    parser.add_argument("--list", action="store_true", help="name the jobs")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep results, and use them while a"
                        " checkout's code is the same (default: a temporary folder)")  # fmt: skip
    parser.add_argument("--all", action="store_true", help=f"show every difference, not {SHOWN} of a job")
    given = parser.parse_args(arguments)
    if given.list:
        for job in JOBS:
            print(f"{job.name:14}", f"after {job.after}" if job.after else "")
        return 0
    names = named(given.jobs or "*") - named(given.without)
    if given.old is None or given.new is None or not names:
        parser.error("OLD and NEW are needed" if names else "there is no such job: --list names all")
    if given.old.resolve() == given.new.resolve():
        parser.error("OLD and NEW are one folder: compare it with a copy, so that both are run")
    # A shell's background jobs ignore it, and so would the commands that one of the jobs stops by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if given.keep is not None:
            given.keep.mkdir(parents=True, exist_ok=True)
            with alone(given.keep):
                return compare(given.old, given.new, given.keep, names, most=None if given.all else SHOWN)
        with tempfile.TemporaryDirectory() as folder:
            return compare(given.old, given.new, Path(folder), names, most=None if given.all else SHOWN)
    except Failed as error:
        print(f"same_results: {error}", file=sys.stderr)
        return 2


@contextmanager
def alone(kept: Path) -> Iterator[None]:
    """Refuse a folder of results that another comparison is working in.

    Raises
    ------
    Failed
        If there is one.
    """
    with open(kept / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Failed(f"another comparison is working in {kept}: wait for its end") from error
        yield


def compare(old: Path, new: Path, kept: Path, names: Collection[str], most: int | None) -> int:
    """Run and compare the jobs; the exit status."""
    begun = time.perf_counter()
    make_inputs(kept / "inputs", old)
    checkouts = [Checkout(path, kept, kept / "inputs") for path in (old, new)]
    count = 0
    with ThreadPoolExecutor(2) as threads:
        for job in in_order(names):
            base = BY_NAME.get(job.after)
            seconds = list(threads.map(lambda one, job=job, base=base: one.perform(job, base), checkouts))
            found = list(differences(job, base, *checkouts))
            count += len(found)
            removed = removed_settings(job, *checkouts)
            print(
                f"{job.name:16} {len(found) or 'no'} difference{'s' * (len(found) != 1)}"
                + (f", removed: {', '.join(removed)}" if removed else "")
                + f"  ({seconds[0]:.0f} s, {seconds[1]:.0f} s)",
                flush=True,
            )
            for line in found[:most]:
                print(f"  {line}")
            if most is not None and len(found) > most:
                print(f"  and {len(found) - most} more (--all shows them)")
    print(f"{count or 'no'} difference{'s' * (count != 1)} in all, {time.perf_counter() - begun:.0f} s")
    return 1 if count else 0


def named(patterns: str) -> set[str]:
    """The names of jobs that one of several patterns fits."""
    return {name for name in BY_NAME for one in patterns.split(",") if fnmatchcase(name, one)}


def in_order(names: Collection[str]) -> list[Job]:
    """The jobs and those that they go on from, these before them."""
    found: dict[str, Job] = {}

    def add(job: Job) -> None:
        if job.after:
            add(BY_NAME[job.after])
        found.setdefault(job.name, job)

    for name, job in BY_NAME.items():
        if name in names:
            add(job)
    return list(found.values())


if __name__ == "__main__":
    sys.exit(main())
