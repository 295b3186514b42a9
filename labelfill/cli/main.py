"""The program: registers the commands and maps what may go wrong to sentences and exit codes."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from labelfill import __version__
from labelfill.cli._call import Call
from labelfill.cli._help import GROUPS, GroupedHelp
from labelfill.cli._options import CommandParser, Commands
from labelfill.cli._signals import SIGNALS
from labelfill.errors import EXIT_DONE, DeviceError, Interrupted, LabelfillError, StorageError, UsageError

COMMANDS = tuple(command for commands in GROUPS.values() for command in commands)

EXIT_UNEXPECTED = 1
EXIT_BROKEN_PIPE = 141  # what a shell shows of a program ended by SIGPIPE

_EPILOG = """\
example:
  labelfill demo-data --out data
  labelfill train-keypoint-models
  labelfill impute --out filled.csv
  labelfill train-final --filled filled.csv

exit codes: 0 done, 2 usage, 3 bad data, 4 device or memory, 5 input/output,
6 finished but some cells had to stay blank, 130 interrupted
"""


def build_parser() -> CommandParser:
    parser = CommandParser(
        prog="labelfill",
        description="Complete a partially labelled keypoint table: train one small network per keypoint,\n"
        "fill every blank coordinate, and train one final network on the filled table.",
        epilog=_EPILOG,
        formatter_class=GroupedHelp,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"labelfill {__version__}")
    commands = Commands(parser)
    for name in COMMANDS:
        command = importlib.import_module(f"labelfill.cli.{name}")
        options = command.add_parser(commands)
        options.add_output_options()
        options.set_defaults(handler=command.handle)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    _print_whatever_bytes()
    arguments = argparse.Namespace(verbose=False)  # until what was given is understood
    try:
        code = _run(argv, arguments)
        sys.stdout.flush()  # here, where a failure still has its exit code
    except KeyboardInterrupt:
        return _report(Interrupted(_how_to_go_on(arguments)))
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
    except Exception as error:  # the last resort: no traceback shall reach a person who did not ask for it
        if SIGNALS.arrived:  # a library that tells of the interrupt by an error of its own
            return _report(Interrupted(_how_to_go_on(arguments)))
        return _report_failure(error, arguments)
    return code


def _run(argv: Sequence[str] | None, arguments: argparse.Namespace) -> int:
    parser = build_parser()
    try:
        parser.parse_args(argv, arguments)
    except SystemExit as end:  # argparse: --help, --version, usage errors
        return end.code if isinstance(end.code, int) else EXIT_DONE
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return UsageError.exit_code
    with _logging_to_stderr(arguments):
        code: int | None = arguments.handler(Call(arguments))
    return code or EXIT_DONE


def _report_failure(error: Exception, arguments: argparse.Namespace) -> int:
    """One sentence on stderr for whatever went wrong; the exit code."""
    if arguments.verbose:
        traceback.print_exc()
    if isinstance(error, LabelfillError):
        return _report(error)
    if isinstance(error, MemoryError):
        return _report(DeviceError("out of memory; close other programs or use a smaller batch size"))
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    # Torch's errors, which is not imported for this.
    if type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in what:
        return _report(DeviceError(f"out of memory ({what}); use a smaller batch size"))
    if isinstance(error, OSError):
        return _report(
            StorageError(f"cannot read or write {error.filename or 'a file'}: {error.strerror or error}")
        )
    where = "see the traceback above" if arguments.verbose else _write_traceback(error)
    print(f"labelfill: error: this is a bug in labelfill: {what}; {where}", file=sys.stderr)
    return EXIT_UNEXPECTED


def _report(error: LabelfillError) -> int:
    kind = "" if isinstance(error, Interrupted) else "error: "
    print(f"labelfill: {kind}{error}", file=sys.stderr)
    return error.exit_code


def _how_to_go_on(arguments: argparse.Namespace) -> str:
    if hasattr(arguments, "run_dir"):
        return "stopped; finished work is kept: run the same command again to resume"
    return "stopped; run the same command again to start over"


def _write_traceback(error: Exception) -> str:
    try:
        with tempfile.NamedTemporaryFile("w", prefix="labelfill-", suffix=".txt", delete=False) as file:
            traceback.print_exception(error, file=file)
            return f"the traceback is in {file.name}"
    except OSError:
        return "run the command again with -v to see the traceback"


def _print_whatever_bytes() -> None:
    """Names of files and columns that the terminal's encoding lacks must not end the program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class _StderrHandler(logging.Handler):
    """Log lines on stderr, above a progress bar if one is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"labelfill: {record.levelname.lower()}: "
        line = prefix + record.getMessage()
        if "tqdm" in sys.modules:  # without it no bar is drawn
            sys.modules["tqdm"].tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)


@contextmanager
def _logging_to_stderr(arguments: argparse.Namespace) -> Iterator[None]:
    logger = logging.getLogger("labelfill")
    handler = _StderrHandler()
    earlier, propagate = logger.level, logger.propagate
    level = logging.DEBUG if arguments.verbose else logging.WARNING if arguments.quiet else logging.INFO
    logger.setLevel(level)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(earlier)
        logger.propagate = propagate
