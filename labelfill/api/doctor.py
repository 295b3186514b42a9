"""Whether this installation works: versions, devices, a tiny train and fill on each, free disk and memory."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from labelfill.api.stages import impute, train_keypoint_models
from labelfill.arrays import Array
from labelfill.data.synthetic import DrawnTable, draw_table, write_table
from labelfill.data.table import read_table
from labelfill.errors import DeviceError, LabelfillError, StorageError
from labelfill.networks.devices import processors
from labelfill.regressors.scores import score
from labelfill.runs import atomic_write, versions
from labelfill.schema import ImageSize
from labelfill.settings import KeypointModelSettings

_PACKAGES = ("scipy", "scikit-image", "safetensors", "filelock", "joblib", "pandas", "shtab", "tqdm")
_OPTIONAL = (
    "scikit-learn",
    "matplotlib",
    "dask",
    "onnx",
    "onnxruntime",
    "pyarrow",
    "sleap-io",
    "tensorboard",
)
# What a run on a table of Kaggle's size takes at most: the cache, the models, two filled tables.
_DISK_WANTED = 2 << 30
_MEMORY_WANTED = 2 << 30
_KEYPOINTS = ("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip")
# How far fills of two devices may lie apart, px: their sums are rounded otherwise, batch after batch.
_APART = 1.0


@dataclass(frozen=True)
class Check:
    """One thing looked at, what was found, and the error if it is not as it should be."""

    name: str
    found: str
    problem: LabelfillError | None = None


def examine(run_dir: Path, device: str = "auto") -> Iterator[Check]:
    """Look at everything in turn; a problem with one thing does not keep from looking at the next.

    Parameters
    ----------
    run_dir
        Where runs are to be kept: its disk is looked at.
    device
        ``auto`` tries every device there is, ``cuda:1`` or ``mps`` the CPU and that one.
    """
    yield Check("versions", ", ".join(f"{name} {version}" for name, version in versions().items()))
    yield Check("packages", _installed(_PACKAGES))
    yield Check("optional packages", _installed(_OPTIONAL))
    yield Check("system", f"{platform.platform()}, {processors()} processors")
    yield _memory()
    yield _disk(run_dir)
    on_cpu: Array | None = None
    for name in _devices(device):
        check, filled = _trial(name, on_cpu)
        on_cpu = filled if name == "cpu" else on_cpu
        yield check


def _installed(packages: tuple[str, ...]) -> str:
    found = []
    for package in packages:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def _memory() -> Check:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return Check("memory", "not reported by this system")
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):  # no Linux: what the system calls free
        pass
    found = f"{free / 2**30:.1f} GB free of {total / 2**30:.1f} GB"
    short = DeviceError("less than 2 GB of memory is free; close other programs")
    return Check("memory", found, None if free >= _MEMORY_WANTED else short)


def _disk(run_dir: Path) -> Check:
    folder = run_dir.absolute()
    while not os.path.lexists(folder):  # a link that leads nowhere is no place for a new folder
        folder = folder.parent
    name = f"disk of {run_dir}"
    try:
        free = shutil.disk_usage(folder).free
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".labelfill-") as scratch,
            atomic_write(Path(scratch) / "probe") as file,
        ):
            file.write(b"whole")
    except OSError as error:
        problem = StorageError(f"{folder} cannot be written: {error.strerror}; choose another --run-dir")
        return Check(name, "not writable", problem)
    except LabelfillError as error:
        return Check(name, "not writable", error)
    found = f"{free / 2**30:.1f} GB free, files are replaced atomically"
    short = StorageError("less than 2 GB of disk space is free; free some, or choose another --run-dir")
    return Check(name, found, None if free >= _DISK_WANTED else short)


def _devices(device: str) -> list[str]:
    if device != "auto":
        return ["cpu"] if device == "cpu" else ["cpu", device]
    apple = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count())), *apple]


def _trial(device: str, on_cpu: Array | None) -> tuple[Check, Array | None]:
    """Train and fill a tiny drawn table on a device; compare with its truth and with the CPU."""
    name = f"train and fill on {device}"
    if device.startswith("cuda") and torch.cuda.is_available():
        name += f" ({torch.cuda.get_device_name(torch.device(device))})"
    drawn = draw_table(60, 5, keypoints=_KEYPOINTS, image_size=ImageSize(24, 24), gaps=0.1)
    begun = time.perf_counter()
    try:
        with _silence():
            filled = _filled(drawn, device)
    except LabelfillError as error:
        return Check(name, "failed", error), None
    except Exception as error:  # whatever a broken driver makes of it is what is to be told
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return Check(name, "failed", DeviceError(f"{device} does not work: {what}")), None
    blank, problem = np.isnan(drawn.labels), None
    rmse = score((filled - drawn.truth)[blank]).rmse
    found = f"{time.perf_counter() - begun:.1f} s, RMSE {rmse:.2f} px"
    size = 24 / 4  # no fill of a drawn face may be a quarter of the image off, on average
    if not np.isfinite(filled[blank]).all() or rmse > size:
        problem = DeviceError(f"fills on {device} are off by {rmse:.2f} px on a drawn table")
    elif on_cpu is not None:
        apart = float(np.abs(filled - on_cpu)[blank].max())
        found += f", at most {apart:.4f} px from the CPU's fills"
        if apart > _APART:
            problem = DeviceError(f"{device} and the CPU disagree by {apart:.2f} px")
    return Check(name, found, problem), filled


def _filled(drawn: DrawnTable, device: str) -> Array:
    with tempfile.TemporaryDirectory(prefix="labelfill-doctor-") as scratch:
        table, filled, run = (Path(scratch) / name for name in ("t.csv", "filled.csv", "run"))
        write_table(table, drawn)
        models = KeypointModelSettings(epochs=1, patch_size=8)
        train_keypoint_models(table, run, settings=models, device=device)
        impute(table, filled, run, device=device)
        return read_table(filled, require_images=False).labels


@contextmanager
def _silence() -> Iterator[None]:
    """What the trial says of its drawn table concerns nobody."""
    logger = logging.getLogger("labelfill")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
