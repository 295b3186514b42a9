"""Rows computed a chunk at a time, in smaller chunks once the device's memory did not suffice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from labelfill.errors import OutOfMemory

T = TypeVar("T")

_ALONE = threading.Lock()

_log = logging.getLogger("labelfill")


class RowsAtOnce:
    """How many rows of one kind of work are computed together; what fitted is remembered.

    Smaller chunks are the one exception to results that are the same byte for byte: the last digits of
    a sum may depend on how many rows are computed together.
    """

    def __init__(self, what: str, rows: int) -> None:
        self.what, self.rows = what, rows
        self._told = False

    def halve(self, error: BaseException) -> None:
        """Make do with half as many rows.

        Raises
        ------
        OutOfMemory
            If a single row does not fit either.
        """
        if self.rows <= 1:
            raise OutOfMemory(
                f"the memory does not suffice for a single row of {self.what} "
                f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
                "close other programs, or use --device cpu"
            )
        self.rows //= 2
        if not self._told:
            _log.warning(
                "the memory does not suffice for %s as planned; going on with fewer rows at once", self.what
            )
            self._told = True


def in_chunks(total: int, at_once: RowsAtOnce, compute: Callable[[slice, int], T]) -> Iterator[T]:
    """What `compute` gives for each chunk of `total` rows, in order.

    It gets the chunk's rows and how many rows a full chunk has (to which the last may be padded). A chunk
    for which the memory does not suffice is halved, and so are all that follow.
    """
    begin = 0
    while begin < total:
        rows = at_once.rows
        part = slice(begin, min(begin + rows, total))
        failure: BaseException | None = None
        try:
            result = compute(part, rows)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError, OutOfMemory) as error:
            if not is_out_of_memory(error):
                raise
            failure = error.with_traceback(None)
        if failure is None:
            yield result
            del result  # or it would take memory beside the next
            begin = part.stop
            continue
        # Only here, outside the handler, nothing refers to the failed chunk's tensors any more.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        elif torch.backends.mps.is_available():
            torch.mps.empty_cache()
        at_once.halve(failure)


@contextmanager
def alone(threads: int) -> Iterator[None]:
    """Compute with so many threads, and nothing else in this process meanwhile.

    A cluster's worker may be given several units at once; they would share one source of random numbers.
    """
    with _ALONE:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that the memory of a device, or of the machine, does not suffice."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError | OutOfMemory)
    named = ("DefaultCPUAllocator", "MPS backend out of memory")
    return known or (isinstance(error, RuntimeError) and any(name in str(error) for name in named))
