"""Atomic writes, file names and the lock, each against the real fault."""

from __future__ import annotations

import os
import re
import resource
import signal
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfill.errors import StorageError
from labelfill.runs import (
    RunDirectory,
    atomic_write,
    remove_orphans_of,
    safe_file_name,
    sha256_file,
    write_bytes,
)

ROOT = Path(__file__).parents[2]


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run Python code in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting a tmpfs is not possible here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """A failing block leaves the old bytes and no other file."""
    path = tmp_path / "table.csv"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_write_takes_effect_only_at_its_end(tmp_path: Path) -> None:
    """Inside the block the old bytes stand, after it the new ones."""
    path = tmp_path / "table.csv"
    write_bytes(path, b"old")
    with atomic_write(path) as file:
        file.write("grün\n".encode())
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == "grün\n".encode()


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    """A new file has 0666 less the umask, unlike those of tempfile."""
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "table.csv", b"")
        with RunDirectory.open(tmp_path / "run") as run:
            run.save()
    finally:
        os.umask(before)
    for path in ("table.csv", "run/manifest.json", "run/.lock"):
        assert (tmp_path / path).stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_link_is_followed(tmp_path: Path) -> None:
    """Writing to a link writes the file it points at and keeps the link."""
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "table.csv"
    link.symlink_to(tmp_path / "elsewhere" / "real.csv")
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "elsewhere" / "real.csv").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("missing/table.csv", "the folder does not exist"),
        ("plain/table.csv", "is a file, not a folder"),
        ("folder", "a folder exists there"),
        ("x" * 300, "the name is too long"),
    ],
)
def test_what_the_system_refuses_has_its_sentence(tmp_path: Path, path: str, sentence: str) -> None:
    """No such folder, a file in a folder's place, a folder in a file's place, a name too long."""
    (tmp_path / "plain").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=sentence), atomic_write(tmp_path / path) as file:
        file.write(b"new")


def test_a_device_is_never_replaced() -> None:
    """An output that is a device is refused: putting a file in its place would destroy it."""
    with pytest.raises(StorageError, match="a device or pipe exists there"):
        write_bytes(Path("/dev/null"), b"")


def test_a_read_only_file_system_has_its_sentence(small_disk: Path) -> None:
    """A file system that turns read-only leaves the file as it was."""
    write_bytes(small_disk / "table.csv", b"old")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StorageError, match="read-only"):
        write_bytes(small_disk / "table.csv", b"new")
    with pytest.raises(StorageError, match="read-only"):
        RunDirectory.open(small_disk)
    assert (small_disk / "table.csv").read_bytes() == b"old"


def test_a_full_disk_keeps_what_was_finished(small_disk: Path) -> None:
    """A full disk is named, earlier files keep their bytes, and writing succeeds once space is made."""
    with RunDirectory.open(small_disk / "run") as run:
        run.begin_stage("train", {})
        run.save_unit("train", "nose", {"nose.bin": b"n" * 100_000})
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"\0" * 700_000)
        before = (run.path / "manifest.json").read_bytes()
        with pytest.raises(StorageError, match=r"mouth\.bin: the disk is full"):
            run.save_unit("train", "mouth", {"mouth.bin": b"m" * 500_000})
        assert (run.path / "manifest.json").read_bytes() == before
        assert not list(run.path.rglob("*.tmp-*"))
        assert run.finished_unit("train", "nose") is not None
        assert run.finished_unit("train", "mouth") is None
        ballast.unlink()
        run.save_unit("train", "mouth", {"mouth.bin": b"m" * 500_000})
        assert run.finished_unit("train", "mouth") is not None


def test_a_file_over_the_systems_limit_is_a_sentence(tmp_path: Path) -> None:
    """A short write (here by a limit on the size of files) is reported and leaves nothing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(StorageError, match="larger than the system allows"):
            write_bytes(tmp_path / "table.csv", b"x" * 20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


HALF_WRITTEN = """
import os, signal, sys
from pathlib import Path
from labelfill.runs import RunDirectory, atomic_write
run = RunDirectory.open(Path(sys.argv[1]))
with atomic_write(run.path / "table.csv") as inside, atomic_write(Path(sys.argv[2])) as outside:
    inside.write(b"half")
    outside.write(b"half")
    inside.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_is_cleaned_up(tmp_path: Path) -> None:
    """SIGKILL in the middle of a write leaves a temporary file, which the next run removes."""
    out = tmp_path / "out.csv"
    with start(HALF_WRITTEN, tmp_path / "run", out) as killed:
        killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.rglob("*.tmp-*"))) == 2
    with RunDirectory.open(tmp_path / "run"):
        assert not list((tmp_path / "run").rglob("*.tmp-*"))
    remove_orphans_of(out)
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_what_a_living_run_writes_is_left_alone(tmp_path: Path) -> None:
    """Temporary files of a process that lives, this one included, are no orphans."""
    with atomic_write(tmp_path / "out.csv") as file:
        remove_orphans_of(tmp_path / "out.csv")
        with RunDirectory.open(tmp_path):
            file.write(b"new")
    assert (tmp_path / "out.csv").read_bytes() == b"new"


HOLD = """
import sys, time
from pathlib import Path
from labelfill.runs import RunDirectory
run = RunDirectory.open(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_the_second_run_is_told_who_holds_the_run_directory(tmp_path: Path) -> None:
    """Two runs at once: the second names the holder; a holder that died does not block."""
    with start(HOLD, tmp_path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        who = rf"in use by process {holder.pid} on \S+ \(since \d{{4}}-.*--run-dir"
        with pytest.raises(StorageError, match=who):
            RunDirectory.open(tmp_path)
        holder.kill()
    with RunDirectory.open(tmp_path):
        pass  # the lock of the killed process is gone with it


def test_the_lock_is_free_after_the_run(tmp_path: Path) -> None:
    """Closing lets the next run in, in the same process too; until then it is held."""
    with RunDirectory.open(tmp_path), pytest.raises(StorageError, match=f"process {os.getpid()} "):
        RunDirectory.open(tmp_path)
    with RunDirectory.open(tmp_path):
        pass


def test_a_lock_file_of_a_dead_process_does_not_block(tmp_path: Path) -> None:
    """Whatever an earlier run left in the lock's files, only a living holder counts."""
    (tmp_path / ".lock").write_text("99999")
    (tmp_path / ".lock-holder.json").write_text('{"pid": 1, "host": "x", "since": "2001"}')
    with RunDirectory.open(tmp_path):
        pass


@given(
    st.lists(
        st.text(st.characters(exclude_categories=()), max_size=200), min_size=2, max_size=20, unique=True
    )
)
def test_different_names_give_different_file_names(names: list[str]) -> None:
    """File names are one-to-one even where the file system ignores case, and hold no special character."""
    files = [safe_file_name(name) for name in names]
    assert len({file.casefold() for file in files}) == len(files)
    for file in files:
        assert re.fullmatch(r"[a-z0-9_=~-]{1,150}", file)


@pytest.mark.parametrize(
    "name", ["CON", "con", "nul", "com1", "../../x", "a/b", "..", ".", "", " ", "a\0b", "é" * 300]
)
def test_hostile_names_become_usable_file_names(tmp_path: Path, name: str) -> None:
    """Reserved names, paths and control characters become plain files in the folder itself."""
    safe = safe_file_name(name)
    (tmp_path / safe).write_bytes(b"")
    assert os.listdir(tmp_path) == [safe]
    assert safe not in {"con", "nul", "com1"}


def test_ordinary_names_stay_readable() -> None:
    """Kaggle's names stay as they are."""
    assert safe_file_name("left_eye_center") == "left_eye_center"
    assert safe_file_name("LeftEye") == "=left=eye"
    assert set(safe_file_name(string.digits + "-")) == set(string.digits + "-")


def test_a_missing_file_has_no_hash(tmp_path: Path) -> None:
    """Hashing a file that is not there is a sentence."""
    with pytest.raises(StorageError, match=r"cannot read .*gone: there is no such file"):
        sha256_file(tmp_path / "gone")
