"""Every failure a person can cause or meet, each knowing the exit code it ends the program with.

Exit codes: 0 done, 2 usage, 3 bad data, 4 device or memory, 5 input/output, 6 finished but some
cells had to stay blank (returned by a command, never raised), 130 interrupted.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_CELLS_LEFT_BLANK = 6


class LabelfillError(Exception):
    """Base of all errors that are meant to be read by a person."""

    exit_code = 1


class UsageError(LabelfillError):
    """The command line or a setting asks for something that cannot be done."""

    exit_code = 2


class DataError(LabelfillError):
    """A table, an image or a stored artefact does not hold what it should."""

    exit_code = 3


class ModelError(DataError):
    """Trained models are missing, unfinished, damaged or made for other data."""


class DeviceError(LabelfillError):
    """The device asked for is not there, or its memory does not suffice."""

    exit_code = 4


class OutOfMemory(DeviceError):
    """The memory does not suffice, even for one row at a time."""


class StorageError(LabelfillError):
    """A file or folder cannot be read, written or locked."""

    exit_code = 5


class Interrupted(LabelfillError):
    """The job was asked to stop and has stopped at a safe point."""

    exit_code = 130
