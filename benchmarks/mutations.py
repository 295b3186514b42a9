"""Deliberate faults in the code, one at a time, each of which the tests must catch.

A copy of the checkout gets one fault; then pytest runs the test files that should catch it, until the first
failure. A fault is caught if a test fails by an assertion; code that breaks, or tests that cannot be
collected, catch nothing. The exit status is 1 if a fault is not caught, or if the copy fails without one, and
2 if the text that a fault replaces no longer stands in its file just once.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copy2

from benchmarks.measuring import parser, say

ROOT = Path(__file__).parents[1]
# It looks for the texts that are replaced here, and so would catch everything.
OWN_TESTS = "tests/benchmarks/test_mutations.py"
# Of a failed test's line in pytest's summary: by an assertion, by pytest.fail and pytest.raises, by several
# assertions on several of Hypothesis' examples.
_ASSERTED = re.compile(
    r"(assert|AssertionError|Failed: |ExceptionGroup: Hypothesis found \d+ distinct failures)"
)
_FAILED = re.compile(r"^(FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - (.*))?$", re.MULTILINE)


@dataclass(frozen=True)
class Mutation:
    """A fault that would give people a wrong result without a word.

    Attributes
    ----------
    name, fault
        What it is called on the command line, and what is wrong.
    file
        Where, from the root of the checkout.
    text, instead
        What stands there once, and what takes its place.
    tests
        Files of tests that should catch it, the quickest first.
    """

    name: str
    fault: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "file-over-flag", "a settings file wins over a flag",
        "labelfill/settings/_resolution.py",
        "            if given is not None:\n",
        "            if given is not None and name not in values:\n",
        ("tests/settings/test_settings.py",),
    ),
    Mutation(
        "half-a-pixel", "an image's centre is taken half a pixel further right and down",
        "labelfill/schema.py",
        "np.array([(self.width - 1) / 2, (self.height - 1) / 2])",
        "np.array([self.width / 2, self.height / 2])",
        ("tests/data/test_placements.py",),
    ),
    Mutation(
        "left-stays-left", "mirroring does not exchange mirror partners",
        "labelfill/schema.py",
        "xy[..., order, :], np.nan)",
        "xy, np.nan)",
        ("tests/sources/test_anchors.py",),
    ),
    Mutation(
        "narrow-prior", "the shape prior takes blank coordinates as if they lay where it expects them",
        "labelfill/shape/prior.py",
        "scatter += len(members) * remaining",
        "scatter += 0 * remaining",
        ("tests/shape/test_shape.py",),
    ),
    Mutation(
        "seed-ignored", "every seed gives the same random numbers",
        "labelfill/runs/randomness.py",
        "json.dumps([seed, *place])",
        "json.dumps([0, *place])",
        ("tests/networks/test_training.py",),
    ),
    Mutation(
        "observed-rewritten", "observed cells of a table are written anew, too",
        "labelfill/data/table/writing.py",
        "new = np.isnan(table.labels)",
        "new = np.ones(table.labels.shape, np.bool_)",
        ("tests/data/test_table.py",),
    ),
    Mutation(
        "other-weights", "the weights kept are not the averaged ones that were validated",
        "labelfill/networks/fit.py",
        "weights = state.average or network.state_dict()",
        "weights = network.state_dict()",
        ("tests/networks/test_training.py",),
    ),
    Mutation(
        "offset-reversed", "a fill is moved away from its own source's convention",
        "labelfill/sources/conventions.py",
        "return position + np.where(",
        "return position - np.where(",
        ("tests/sources/test_sources.py",),
    ),
    Mutation(
        "fold-leaks", "a fold's regressor learns from the fold's own rows",
        "labelfill/regressors/patch_regressor.py",
        "inside = evidence.training & (evidence.folds != fold)",
        "inside = evidence.training",
        ("tests/regressors/test_regressors.py",),
    ),
    Mutation(
        "judged-by-own", "radii rest on answers of networks that have seen the row",
        "labelfill/regressors/ensemble.py",
        "np.flatnonzero(rows.folds == fold)",
        "np.flatnonzero(rows.folds != fold)",
        ("tests/regressors/test_ensemble.py",),
    ),
    Mutation(
        "radius-halved", "error radii are half as long as they should be",
        "labelfill/regressors/calibration/radii.py",
        "by_class[np.arange(len(by_class))[None], which]",
        "by_class[np.arange(len(by_class))[None], which] / 2",
        ("tests/regressors/test_radii.py",),
    ),
    Mutation(
        "provenance-lost", "the last filled point has no line of provenance",
        "labelfill/filling/provenance.py",
        "in np.argwhere(fills.filled).tolist():",
        "in np.argwhere(fills.filled).tolist()[:-1]:",
        ("tests/filling/test_fills.py",),
    ),
    Mutation(
        "submission-shuffled", "locations stand in the order of the images, not of the look-up table",
        "labelfill/final/submission.py",
        "self._locations[mine] = onto",
        "self._locations[begin:end] = onto",
        ("tests/final/test_submission.py",),
    ),
    Mutation(
        "observed-scored", "scores of a filling count cells that were not blank",
        "labelfill/reports/scores.py",
        "np.isnan(coordinates_of(original, names)[origin]) & (origin >= 0)[:, None, None]",
        "(origin >= 0)[:, None, None]",
        ("tests/reports/test_evaluation.py",),
    ),
    Mutation(
        "random-state-ignored", "KeypointImputer divides its rows alike whatever its random_state",
        "labelfill/api/imputer.py",
        "seed=self.random_state",
        "seed=0",
        ("tests/api/test_imputer.py",),
    ),
)  # fmt: skip
BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}


class Outdated(Exception):
    """The code that a mutation changes is no longer there as it says."""


@dataclass(frozen=True)
class Verdict:
    """What tests say of a copy.

    Attributes
    ----------
    caught
        Whether a test failed by an assertion.
    told
        The first test that failed, or why nothing was caught.
    """

    caught: bool
    told: str
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser(
        __doc__, "python -m benchmarks.mutations", "python -m benchmarks.mutations half-a-pixel fold-leaks"
    )
    options.add_argument("names", nargs="*", metavar="NAME", help="only these faults (default: all)")
    options.add_argument("--all-tests", action="store_true", help="run all tests for each of them, not the"
                         " files that should catch it")  # fmt: skip
    options.add_argument("--list", action="store_true", help="name the faults")
    given = options.parse_args(arguments)
    unknown = [name for name in given.names if name not in BY_NAME]
    if unknown:
        options.error(f"there is no fault {unknown[0]!r}; there are {', '.join(BY_NAME)}")
    chosen = [BY_NAME[name] for name in given.names] or list(MUTATIONS)
    if given.list:
        for mutation in chosen:
            print(f"{mutation.name:24} {mutation.file:44} {mutation.fault}")
        return 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy_checkout(Path(folder))
        try:
            return 0 if all_caught(chosen, Path(folder), all_tests=given.all_tests) else 1
        except Outdated as error:
            say(f"mutations: {error}")
            return 2


def all_caught(mutations: Sequence[Mutation], copy: Path, *, all_tests: bool = False) -> bool:
    """Whether the copy passes, and fails with each of the mutations; a line for each is printed."""
    for mutation in mutations:  # before any test is run
        with mutated(mutation, copy):
            pass
    sound = verdict_of(
        copy, () if all_tests else dict.fromkeys(file for one in mutations for file in one.tests)
    )
    if sound.told:
        print(f"without a fault the tests fail: {sound.told}")
        return False
    print(f"{'no fault':24} {'passes':12} {sound.seconds:6.1f} s", flush=True)
    missed = 0
    for mutation in mutations:
        with mutated(mutation, copy):
            verdict = verdict_of(copy, () if all_tests else mutation.tests)
        said = "caught" if verdict.caught else "NOT CAUGHT"
        print(
            f"{mutation.name:24} {said:12} {verdict.seconds:6.1f} s  {verdict.told or mutation.fault}",
            flush=True,
        )
        missed += not verdict.caught
    print(f"{len(mutations) - missed} of {len(mutations)} faults are caught")
    return not missed


def copy_checkout(folder: Path) -> None:
    """The checkout as it lies there, changes that are not committed included."""
    named = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in named.stdout.split("\0"):
        if name and (ROOT / name).is_file():  # not what is deleted
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy2(ROOT / name, folder / name)


@contextmanager
def mutated(mutation: Mutation, copy: Path) -> Iterator[None]:
    """The copy with the mutation, within the block.

    Raises
    ------
    Outdated
        If the text does not stand in the file just once, or what takes its place is no Python.
    """
    path = copy / mutation.file
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    count = before.count(mutation.text)
    if count != 1:
        raise Outdated(
            f"{mutation.name}: {mutation.file} holds {count} times, not once, the text {mutation.text!r}; "
            "the code has changed, so mend the mutation in benchmarks/mutations.py"
        )
    after = before.replace(mutation.text, mutation.instead)
    try:
        compile(after, mutation.file, "exec")
    except SyntaxError as error:
        raise Outdated(f"{mutation.name}: {mutation.file} would be no Python ({error})") from error
    path.write_text(after, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def verdict_of(copy: Path, files: Sequence[str] | dict[str, None]) -> Verdict:
    """Run test files of a copy, or the default run if none is named, until the first failure."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LABELFILL_", "PYTEST_"))
    }
    environment = kept | {
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",  # a mutation of the same size and second would not be noticed
        "COLUMNS": "1000",  # what a test says stands on one line of the summary
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider"]
    command += files or [f"--ignore={OWN_TESTS}"]
    begun = time.perf_counter()
    ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if ended.returncode == 0:
        return Verdict(False, "", seconds)
    found = _FAILED.search(ended.stdout)
    if found is None:
        return Verdict(False, f"pytest ended with {ended.returncode}: {_last_line(ended)}", seconds)
    kind, test, reason = found.groups("")
    if kind == "ERROR":
        return Verdict(False, f"{test} cannot be run: {reason}", seconds)
    if not _ASSERTED.match(reason):
        return Verdict(False, f"{test} breaks: {reason}", seconds)
    return Verdict(True, test, seconds)


def _last_line(ended: subprocess.CompletedProcess[str]) -> str:
    lines = (ended.stderr or ended.stdout).strip().splitlines()
    return lines[-1] if lines else "it says nothing"


if __name__ == "__main__":
    sys.exit(main())
