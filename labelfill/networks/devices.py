"""Which device computes, with how many threads, and in which arithmetic."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from joblib import cpu_count

from labelfill.errors import DeviceError
from labelfill.runs import RunDirectory
from labelfill.runs.engines import LOCAL, Engine

_log = logging.getLogger("labelfill")


@dataclass(frozen=True)
class Computing:
    """Where a stage computes, and whether it draws bars; none of it has a say in what comes out.

    Attributes
    ----------
    engine
        What trains models and answers for blocks of rows.
    """

    device: torch.device
    progress: bool = False
    engine: Engine = LOCAL


def processors() -> int:
    """How many processors this program may use: within the limits of a container, or of a job in a queue."""
    return int(cpu_count())


def choose_device(name: str) -> torch.device:
    """The device asked for: ``auto``, ``cpu``, ``cuda``, ``cuda:NUMBER``, or ``mps``, which `auto` never is.

    From then on PyTorch uses no more threads than this program may use processors.

    Raises
    ------
    DeviceError
        If it is not there.
    """
    torch.set_num_threads(min(torch.get_num_threads(), processors()))  # it does not know a container's limit
    if name == "auto":
        return _automatic_device()
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(
                f"--device {name} was requested, but PyTorch {torch.__version__} finds no CUDA device; "
                "use --device cpu or auto"
            )
        if (device.index or 0) >= torch.cuda.device_count():
            raise DeviceError(
                f"--device {name} was requested, but there are only {torch.cuda.device_count()} CUDA devices"
            )
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError(
                f"--device {name} was requested, but PyTorch {torch.__version__} finds none; "
                "use --device cpu or auto"
            )
        _warn_of_untested(name)
    return device


@cache
def _warn_of_untested(name: str) -> None:
    _log.warning("labelfill has not been tested on %s; `labelfill doctor --device %s` compares "
                 "it with the CPU", name, name)  # fmt: skip


def keep_threads(run: RunDirectory, stage: str) -> None:
    """Compute with as many threads as when the stage was begun: sums are rounded by how they are divided."""
    torch.set_num_threads(run.settled(stage, "threads", torch.get_num_threads()))


@cache
def _automatic_device() -> torch.device:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    named = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    _log.info("computing on %s%s (chosen by --device auto)", device, named)  # once: the choice is kept
    return device


@contextmanager
def arithmetic(device: torch.device, *, tf32: bool) -> Iterator[None]:
    """How a GPU convolves: in TF32 while it learns, else in float32; and the same at each run."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
        yield


def half_precision(device: torch.device, wanted: bool) -> torch.autocast:
    """bfloat16 for the layers' products where the processor computes with it; weights stay float32.

    Half as costly, and as accurate within what seeds differ by (docs/accuracy.md). Answers are always
    computed in float32, so that a fill does not depend on the processor that makes it.
    """
    # Only where it is native: elsewhere it is emulated, and slower than float32.
    native = device.type == "cpu" and native_bfloat16()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted and native)


@cache
def native_bfloat16() -> bool:
    """Whether the processor computes with bfloat16; elsewhere it is emulated."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
