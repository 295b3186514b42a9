"""Rows computed a chunk at a time, in smaller chunks once the device's memory did not suffice."""

from __future__ import annotations

import ctypes
import logging
import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from labelfill.errors import OutOfMemory
from labelfill.networks.devices import arithmetic

T = TypeVar("T")

_ALONE = threading.Lock()
# glibc's malloc: parameters of `mallopt`, and what is kept of freed memory rather than handed back.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST_KEPT = 256 << 20, 32 << 20

_log = logging.getLogger("labelfill")


def in_chunks(total: int, rows: int, compute: Callable[[slice, int], T], what: str) -> Iterator[T]:
    """What `compute` gives for each chunk of `total` rows, in order.

    It gets the chunk's rows and how many rows a full chunk has (to which the last may be padded). A chunk
    for which the memory does not suffice is halved, and so are all that follow: the one exception to results
    that are the same byte for byte, because the last digits of a sum may depend on how many rows are computed
    together.

    Parameters
    ----------
    rows
        Of a chunk.
    what
        Is computed, for messages.

    Raises
    ------
    OutOfMemory
        If a single row does not fit either.
    """
    begin = 0
    while begin < total:
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
        if rows <= 1:
            raise OutOfMemory(
                f"not enough memory for a single row of {what} "
                f"({str(failure).splitlines()[0] if str(failure) else type(failure).__name__}); "
                "close other programs, or use --device cpu"
            )
        rows //= 2
        _warn_of_little_memory(what)


@cache
def _warn_of_little_memory(what: str) -> None:
    _log.warning("not enough memory for %s; continuing with fewer rows at a time", what)


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


@cache
def keep_freed_memory() -> None:
    """Let a training step use the memory that the step before has freed.

    By default glibc hands freed tensors of some size back to the system, and takes them anew at the next
    step: clearing their pages takes a sixth of a step's time. Other systems are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that the memory of a device, or of the machine, does not suffice."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError | OutOfMemory)
    named = ("DefaultCPUAllocator", "MPS backend out of memory")
    return known or (isinstance(error, RuntimeError) and any(name in str(error) for name in named))


ANSWERED_AT_ONCE = 64
# A GPU would be idle between chunks of so few.
_ANSWERED_AT_ONCE_BY_GPU = 512


def answers(network: nn.Module, inputs: Tensor, evidence: Tensor, *, padded: bool = True) -> Tensor:
    """The network's answers (n, K, 3) in evaluation mode, in chunks of fixed size, each by one thread.

    The last chunk is padded, so that a row's answer does not depend on how many rows come with it; rows
    that always come together may do without.
    """
    network.eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it

    @torch.inference_mode()  # of this thread
    def answer_part(part: slice) -> list[Tensor]:
        def answer(rows: slice, chunk: int) -> Tensor:
            piece, facts = inputs[part][rows], evidence[part][rows]
            missing = chunk - len(piece) if padded else 0
            if missing:
                piece = torch.cat([piece, piece.new_zeros(missing, *piece.shape[1:])])
                facts = torch.cat([facts, facts.new_zeros(missing, facts.shape[1])])
            answered: Tensor = network(piece, facts)[: len(piece) - missing]
            return answered

        return list(in_chunks(part.stop - part.start, at_once, answer, "the networks' answers"))

    at_once = _ANSWERED_AT_ONCE_BY_GPU if inputs.device.type == "cuda" else ANSWERED_AT_ONCE
    threads = torch.get_num_threads() if inputs.device.type == "cpu" else 1
    with arithmetic(inputs.device, tf32=False):
        parts = _parts(len(inputs), at_once, threads)
        pieces = [piece for part in _by_threads(answer_part, parts) for piece in part]
    if not pieces:
        with torch.inference_mode():
            nothing: Tensor = network(
                inputs.new_zeros(1, *inputs.shape[1:]), evidence.new_zeros(1, evidence.shape[1])
            )
        return nothing[:0]
    return torch.cat(pieces)


def _parts(total: int, rows: int, count: int) -> list[slice]:
    """At most so many parts of `total` rows, each of whole chunks but for the last chunk of all."""
    each = -(-total // (rows * count)) * rows
    return [slice(begin, min(begin + each, total)) for begin in range(0, total, each or 1)]


def _by_threads(compute: Callable[[slice], T], parts: Sequence[slice]) -> list[T]:
    """What `compute` gives for each part, each by one thread.

    Several threads that share the work of one layer wait for each other after each; threads that share rows
    do not.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # MKL has one number for all threads of the process
    try:
        if len(parts) < 2:
            return [compute(part) for part in parts]
        return list(_pool(threads).map(compute, parts))
    finally:
        torch.set_num_threads(threads)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
