"""The command line: help, exit codes, sentences, signals; with a probe command in place of real work."""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import labelfill
from labelfill.cli import main as program
from labelfill.cli._call import Call
from labelfill.cli._help import _MEANT, GROUPS
from labelfill.cli._options import CommandParser, Commands
from labelfill.errors import DataError, DeviceError, Interrupted, LabelfillError, StorageError, UsageError

ROOT = Path(__file__).parents[2]
COMMANDS = [name.replace("_", "-") for name in program.COMMANDS]

Handler = Callable[[Call], int]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Handler], None]]:
    """Makes a handler the command ``labelfill probe``."""

    def register(handler: Handler) -> None:
        module = types.ModuleType("labelfill.cli.probe")

        def add_parser(commands: Commands) -> CommandParser:
            parser = commands.add("probe", "", description="", example="")
            parser.add_run_options()
            return parser

        vars(module).update(add_parser=add_parser, handle=handler)
        monkeypatch.setitem(sys.modules, "labelfill.cli.probe", module)
        monkeypatch.setattr(program, "COMMANDS", ("probe",))

    yield register


def raising(error: BaseException) -> Handler:
    def handler(call: Call) -> int:
        raise error

    return handler


# -- help -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_with_an_example_that_is_valid(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example of each command's help is accepted by its own parser."""
    assert program.main([command, "--help"]) == 0
    text = capsys.readouterr().out
    examples = text.split("example:\n", 1)[1].strip().splitlines()
    for example in examples:
        name, *arguments = shlex.split(example)
        assert name == "labelfill"
        assert program.build_parser().parse_args(arguments).command == command
    for flag in ("--help", "-v", "-q", "--json"):
        assert flag in text


def test_help_names_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """labelfill --help lists the commands, an example and the exit codes."""
    assert program.main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in [*COMMANDS, "example:", "130 interrupted"]:
        assert word in text


def test_commands_stand_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    """Each below the title of its group, in the order of the groups; what people try is a command."""
    assert program.main(["--help"]) == 0
    lines = capsys.readouterr().out.split("commands:\n", 1)[1].split("\nexample:")[0].splitlines()
    titles = [line.strip(" :") for line in lines if line.startswith("  ") and line[2] != " "]
    assert titles == list(GROUPS)
    listed = [line.split()[0] for line in lines if line.startswith("    ") and line[4] not in " "]
    assert listed == COMMANDS
    assert set(_MEANT.values()) <= set(COMMANDS)
    assert not set(_MEANT) & set(COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """labelfill --version names the version of the package."""
    assert program.main(["--version"]) == 0
    assert capsys.readouterr().out == f"labelfill {labelfill.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fill"], "invalid choice: 'fill'; did you mean 'impute'?; see `labelfill --help`"),
        (["train"], "invalid choice: 'train'; did you mean 'train-keypoint-models'?"),
        (["score"], "invalid choice: 'score'; did you mean 'evaluate'?"),
        (["nonsense"], "invalid choice: 'nonsense' (choose from "),
        (["imput"], "invalid choice: 'imput'; did you mean 'impute'?; see `labelfill --help`"),
        (
            ["impute", "--outt", "x"],
            "unrecognized arguments: --outt x; did you mean '--out'?; see `labelfill impute --help`",
        ),
        (["impute", "x"], "unrecognized arguments: x; see `labelfill impute --help`"),
        (["--versio"], "unrecognized arguments: --versio; did you mean '--version'?; see `labelfill --help`"),
        (["impute", "-v", "-q"], "not allowed with argument"),
        (["predict"], "no images found at data/test.csv or data/test.zip: pass yours with --images TABLE"),
        (["evaluate"], "the following arguments are required: TABLE, TRUTH; see `labelfill evaluate --help`"),
        (["train-keypoint-models", "--epochs", "0"], "--epochs must be at least 1, not 0"),
        (
            ["train-keypoint-models", "--image-size", "96"],
            "--image-size: image size '96' is not HEIGHTxWIDTH",
        ),
        (
            ["train-keypoint-models", "--device", "tpu"],
            "--device must be auto, cpu, cuda, cuda:NUMBER or mps, not 'tpu'",
        ),
        *(
            ([command, "--backend", "ray"], "--backend no longer takes 'ray': use --backend dask")
            for command in ("train-keypoint-models", "impute", "run")
        ),
    ],
)
def test_a_usage_error_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, nothing on stdout, one line on stderr."""
    assert program.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("labelfill: error: ")
    assert sentence in printed.err
    assert printed.err.count("\n") == 1


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """labelfill alone is a usage error that shows what there is."""
    assert program.main([]) == 2
    assert "commands:" in capsys.readouterr().err


# -- errors and exit codes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError, 2), (DataError, 3), (DeviceError, 4), (StorageError, 5), (Interrupted, 130)],
)
def test_our_errors_are_sentences(
    probe: Callable[[Handler], None],
    error: type[LabelfillError],
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each error ends with its exit code and its sentence on stderr, without a traceback."""
    probe(raising(error("the sentence")))
    assert program.main(["probe"]) == code
    printed = capsys.readouterr()
    assert printed.err == f"labelfill: {'' if code == 130 else 'error: '}the sentence\n"
    assert printed.out == ""


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (MemoryError(), 4, "out of memory"),
        (
            OSError(28, "No space left on device", "x.csv"),
            5,
            "cannot read or write x.csv: No space left on device",
        ),
        (
            type("OutOfMemoryError", (RuntimeError,), {})("CUDA"),
            4,
            "out of memory (OutOfMemoryError: CUDA)",
        ),
        (
            KeyboardInterrupt(),
            130,
            "labelfill: stopped; finished work is kept: run the same command again",
        ),
    ],
)
def test_what_the_system_does_is_a_sentence_too(
    probe: Callable[[Handler], None],
    error: BaseException,
    code: int,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Memory, disk, a device's memory and Ctrl-C have their exit codes."""
    probe(raising(error))
    assert program.main(["probe"]) == code
    assert sentence in capsys.readouterr().err


def test_an_unexpected_failure_keeps_its_traceback_out_of_sight(
    probe: Callable[[Handler], None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sentence that says where the traceback is; -v shows it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    probe(raising(ZeroDivisionError("by\nzero")))
    assert program.main(["probe"]) == 1
    sentence = capsys.readouterr().err
    assert sentence.startswith(
        "labelfill: error: this is a bug in labelfill: ZeroDivisionError: by; the traceback"
    )
    assert sentence.count("\n") == 1
    path = Path(sentence.split(" is in ")[1].strip())
    assert "raise error" in path.read_text()
    assert program.main(["probe", "-v"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


# -- results and logs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "shown"),
    [
        ([], "told\nlabelfill: warning: warned\n"),
        (["-v"], "detailed\ntold\nlabelfill: warning: warned\n"),
        (["-q"], "labelfill: warning: warned\n"),
    ],
)
def test_logs_go_to_stderr_and_results_to_stdout(
    probe: Callable[[Handler], None], flag: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """-v tells more, -q warnings alone; the result is on stdout in any case."""

    def handler(call: Call) -> int:
        logger = logging.getLogger("labelfill")
        logger.debug("detailed")
        logger.info("told")
        logger.warning("warned")
        call.tell({"cells_filled": 3, "rmse": 1.23456}, ("{cells_filled:cell} filled, RMSE {rmse:.3f}",))
        return 6

    before = list(logging.getLogger("labelfill").handlers)
    probe(handler)
    assert program.main(["probe", *flag]) == 6
    printed = capsys.readouterr()
    assert printed.err == shown
    assert printed.out == "3 cells filled, RMSE 1.235\n"
    assert logging.getLogger("labelfill").handlers == before


def test_results_as_json(probe: Callable[[Handler], None], capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints one JSON object, with null for what is not a finite number."""

    def handler(call: Call) -> int:
        call.tell({"rmse": float("nan"), "out": Path("a.csv")}, (), {"not": "told"})
        return 0

    probe(handler)
    assert program.main(["probe", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"rmse": None, "out": "a.csv"}


def test_names_that_the_terminal_cannot_show_are_escaped() -> None:
    """A name that is not UTF-8 does not end the program."""
    code = (
        "import sys; from labelfill.cli import main; main._print_whatever_bytes();"
        "print('\\udcff ü'); print('\\udcff', file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, env=environment, check=True, cwd=ROOT)
    assert ended.stdout == b"\\udcff \\xfc\n"


# -- signals and pipes, in a process of their own ---------------------------------------------------

PROBE = """
import signal, sys, time, types
from labelfill.cli import main as program, process

# A shell that runs tests in the background ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

def handle(call):
    print("begun", flush=True)
    {work}
    return 0

def add_parser(commands):
    parser = commands.add("probe", "", description="", example="")
    parser.add_run_options()
    return parser

module = types.ModuleType("labelfill.cli.probe")
module.add_parser, module.handle = add_parser, handle
sys.modules["labelfill.cli.probe"] = module
program.COMMANDS = ("probe",)
sys.exit(process.main(["probe"]))
"""


def start(work: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROBE.format(work=work)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_a_sentence_that_says_how_to_go_on(number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM: exit code 130, one sentence, no traceback."""
    with start("time.sleep(60)") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors == ("labelfill: stopped; finished work is kept: run the same command again to resume\n")


def test_a_reader_that_leaves_ends_the_program_quietly() -> None:
    """labelfill ... | head: nothing on stderr."""
    with start("time.sleep(0.5); print('x' * 200_000)") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
