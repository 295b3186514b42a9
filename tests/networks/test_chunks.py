"""Memory that does not suffice: fewer rows at once, and a sentence where one row is too many."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from labelfill.errors import OutOfMemory
from labelfill.networks import memory
from labelfill.networks.architectures import PatchRegressor
from labelfill.networks.folding import folded
from labelfill.networks.memory import answers, in_chunks

ROOT = Path(__file__).parents[2]


class Greedy(nn.Module):
    """Doubles its input, and needs more memory than there is for more than `fits` rows."""

    def __init__(self, fits: int) -> None:
        super().__init__()
        self.fits = fits
        self.asked: list[int] = []

    def forward(self, inputs: Tensor, evidence: Tensor) -> Tensor:
        self.asked.append(len(inputs))
        if len(inputs) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return torch.stack([inputs[:, 0, 0, :3]] * 2, dim=1) * 2


@pytest.fixture
def threads() -> Iterator[int]:
    """How many threads PyTorch has, which it has again afterwards."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [1, 5, 8, 9, 50])
@pytest.mark.parametrize("padded", [True, False])
def test_answers_are_the_same_by_any_number_of_threads(
    threads: int, rows: int, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, in their order; and PyTorch has as many threads as before."""
    monkeypatch.setattr(memory, "ANSWERED_AT_ONCE", 8)
    torch.manual_seed(0)
    network = folded(PatchRegressor(16, 3))
    inputs = torch.randn(rows, 1, 16, 16)
    found = []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        found.append(answers(network, inputs, inputs.new_zeros(rows, 0), padded=padded))
        assert torch.get_num_threads() == number
    assert found[0].shape == (rows, 3, 3)
    assert len(torch.unique(found[0][:, 0, 0])) == rows
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_chunk_that_does_not_fit_is_halved(
    threads: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answers are the same, all that follow are as small, and it is said once."""
    torch.set_num_threads(1)
    monkeypatch.setattr(memory, "ANSWERED_AT_ONCE", 8)
    memory._warn_of_little_memory.cache_clear()
    inputs = torch.arange(11 * 9.0).reshape(11, 1, 3, 3)
    network = Greedy(fits=2)
    with caplog.at_level(logging.WARNING, "labelfill"):
        found = answers(network, inputs, inputs.new_zeros(11, 0))
        answers(network, inputs, inputs.new_zeros(11, 0))
    torch.testing.assert_close(found, torch.stack([inputs[:, 0, 0, :3]] * 2, dim=1) * 2)
    assert network.asked == 2 * ([8, 4] + [2] * 6)
    assert [record.getMessage() for record in caplog.records] == [
        "not enough memory for the networks' answers; continuing with fewer rows at a time"
    ]


def test_a_single_row_that_does_not_fit_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 4 at one row, naming what was asked for."""
    monkeypatch.setattr(memory, "ANSWERED_AT_ONCE", 4)
    with pytest.raises(
        OutOfMemory, match=r"not enough memory for a single row of the networks' answers .*20.00 GiB"
    ) as raised:
        answers(Greedy(fits=0), torch.zeros(3, 1, 3, 3), torch.zeros(3, 0))
    assert raised.value.exit_code == 4


def test_outer_chunks_shrink_where_inner_ones_cannot() -> None:
    """What one row of the inner work lacks, fewer rows of the outer work may free."""
    sizes = []

    def work(part: slice, rows: int) -> list[int]:
        sizes.append(rows)
        if rows > 2:
            raise OutOfMemory("one row of the inner work does not fit")
        return list(range(part.start, part.stop))

    assert [row for piece in in_chunks(5, 8, work, "outer work") for row in piece] == [0, 1, 2, 3, 4]
    assert sizes == [8, 4, 2, 2, 2]


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    """A mistake in the work is not tried again with fewer rows."""

    def work(part: slice, rows: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        list(in_chunks(3, 4, work, "it"))


LIMITED = """
import resource, sys, torch
from labelfill.networks.memory import in_chunks
torch.zeros(1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), -1))
sizes = []
def work(part, rows):
    sizes.append(rows)
    return torch.ones(rows, 1 << 20)[:, :1].clone()
print(sum(float(piece.sum()) for piece in in_chunks(1024, 1024, work, "the work")), sizes[-1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="no /proc to tell the memory used")
def test_memory_that_the_system_refuses_is_met_the_same_way() -> None:
    """A real limit of the machine's memory: chunks of 4 GB become chunks that fit."""
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ended.returncode == 0, ended.stderr
    total, rows = ended.stdout.split()
    assert float(total) == 1024
    assert 1 <= int(rows) <= 256
