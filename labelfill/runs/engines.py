"""Where independent units of work are computed: worker processes of this machine, or those of a Dask cluster.

A unit is a pure function of what all units share and of its own job, so its result does not depend on where
it is computed, or how often a worker had to begin it again. Workers of a cluster read and write no files:
they need this version of labelfill, and no file system in common.

joblib and Dask hand objects on as pickles, between this process and workers that it trusts.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from labelfill.errors import DeviceError, UsageError
from labelfill.runs import versions
from labelfill.settings import Backend

Shared = TypeVar("Shared")
Job = TypeVar("Job")
Result = TypeVar("Result")

_PATIENCE = 30  # seconds in which a scheduler has to answer, and to have a worker


class WorkersLost(Exception):
    """Workers were killed, or the cluster is gone; what they have not given back is still to be done."""


@dataclass(frozen=True)
class Engine:
    """What computes units of work.

    Attributes
    ----------
    backend
        joblib's name of it.
    scheduler
        Address of a Dask cluster's scheduler; None: a cluster of this machine's cores, while it is needed.
    """

    backend: Backend = "loky"
    scheduler: str | None = None

    @property
    def cluster(self) -> bool:
        """Whether workers may be other machines'."""
        return self.backend != "loky"

    def results(
        self, work: Callable[[Shared, Job], Result], shared: Shared, jobs: Mapping[int, Job], workers: int,
        *, gpus: int = 0,
    ) -> Iterator[tuple[int, Result]]:  # fmt: skip
        """What `work` gives for each job, by its number, as they are finished.

        Parameters
        ----------
        work
            A function of a module.
        shared
            Handed to each worker once, where that is possible.
        workers
            Processes, where they are this machine's.
        gpus
            CUDA devices here, if a job needs one; 0 if it does not. Each process of this machine sees one of
            several.

        Raises
        ------
        WorkersLost
            If workers are killed again and again.
        UsageError
            If the backend is not installed.
        DeviceError
            If there is no such cluster, or its workers have other versions.
        """
        from joblib import delayed

        local = (None, 0) if self.cluster else (os.getpid(), gpus)
        calls = (delayed(_numbered)(work, shared, number, job, *local) for number, job in jobs.items())
        with _dask(self.scheduler, shared, workers) if self.cluster else _processes(workers) as parallel:
            yield from parallel(calls)


LOCAL = Engine()


@contextmanager
def _processes(workers: int) -> Iterator[Any]:
    """What computes calls of joblib in worker processes of this machine."""
    from joblib import Parallel
    from joblib.externals.loky import get_reusable_executor

    try:
        yield Parallel(
            n_jobs=workers, backend="loky", return_as="generator_unordered", batch_size=1,
            pre_dispatch=workers,
        )  # fmt: skip
    except BrokenProcessPool as error:
        raise WorkersLost("a worker process was killed, most likely for lack of memory") from error
    finally:
        get_reusable_executor().shutdown(wait=True)  # idle workers would keep hold of their memory


@contextmanager
def _dask(scheduler: str | None, shared: Any, workers: int) -> Iterator[Any]:
    """What computes calls of joblib on a Dask cluster."""
    from joblib import Parallel, parallel_config

    try:
        from distributed import Client, KilledWorker
        from distributed.comm.core import CommClosedError
    except ImportError:
        raise UsageError(
            "--backend dask needs the package distributed, which is not installed: "
            "pip install 'labelfill[dask]'"
        ) from None
    try:
        if scheduler is None:
            client = Client(n_workers=workers, threads_per_worker=1, dashboard_address=None)
        else:
            client = Client(scheduler, timeout=_PATIENCE, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise DeviceError(
            f"no Dask scheduler answers at {scheduler} ({error}); start one with `dask scheduler` "
            "and workers "
            "with `dask worker ADDRESS`, or leave out --scheduler to start a local cluster"
        ) from error
    with client:
        _check_workers(client)
        # Handed on once, to all workers: if one is killed another still has it.
        with parallel_config(backend="dask", client=client, scatter=[shared]):
            try:
                yield Parallel(return_as="generator_unordered", batch_size=1)
            except (KilledWorker, CommClosedError, CancelledError, OSError, TimeoutError) as error:
                raise WorkersLost(f"workers of the Dask cluster were lost ({error})") from error


def _check_workers(client: Any) -> None:
    """Refuse workers that would come to other results.

    Raises
    ------
    DeviceError
        If there is no worker, labelfill is not installed there, or one has other versions.
    """
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
        found = _versions_of_workers(client)
    except (OSError, TimeoutError, ImportError) as error:
        raise DeviceError(
            f"the Dask cluster has no worker that runs labelfill ({error}); start workers with "
            "`dask worker ADDRESS` in an environment where labelfill is installed"
        ) from error
    wanted = versions()
    for worker, theirs in found.items():
        if theirs != wanted:
            raise DeviceError(
                f"the Dask worker {worker} has {theirs}, but this command {wanted}; results would "
                "differ: install "
                "the same versions there"
            )


def _versions_of_workers(client: Any) -> dict[str, dict[str, str]]:
    """What runs on each worker; asked again if one is lost meanwhile that the scheduler still counts."""
    for _ in range(_PATIENCE):
        try:
            found: dict[str, dict[str, str]] = client.run(versions)
        except OSError:
            time.sleep(1)
        else:
            return found
    return client.run(versions)  # type: ignore[no-any-return]  # untyped


def _numbered(
    work: Any, shared: Any, number: int, job: Any, parent: int | None, gpus: int
) -> tuple[int, Any]:
    if parent is not None:
        _end_with(parent)
    if gpus > 1:
        _see_one(gpus)
    return number, work(shared, job)


@cache
def _see_one(gpus: int) -> None:
    """Let this worker see one of several GPUs, as its name's number says; nothing has looked for them yet."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible else [str(number) for number in range(gpus)]
    worker = int(re.sub(r"\D", "", multiprocessing.current_process().name) or 0)
    os.environ["CUDA_VISIBLE_DEVICES"] = devices[worker % len(devices)]


@cache
def _end_with(parent: int) -> None:
    """Let this worker end when its parent does: a program that is killed leaves no work behind."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
