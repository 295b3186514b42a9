"""The compiled loops over bytes do what numpy does."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill import scanning

needs_compiled = pytest.mark.skipif(
    scanning.compiled_find is None, reason="labelfill was installed without a C compiler"
)


@needs_compiled
@settings(deadline=None)
@given(
    buffer=st.lists(
        st.sampled_from([b",", b"\n", b"\r", b"a" * 63, b"12 34 " * 11, b"\xff\0"]), max_size=20
    ).map(b"".join),
    wanted=st.lists(st.sampled_from(b',\n\r"\0\xff'), min_size=1, max_size=4),
)
def test_positions_are_those_that_numpy_finds(buffer: bytes, wanted: list[int]) -> None:
    """Wherever they stand, whole stretches without any of them in between or not."""
    with mock.patch.object(scanning, "compiled_find", None):
        expected = scanning.positions(buffer, *wanted)
    found = scanning.positions(buffer, *wanted)
    assert found.dtype == expected.dtype == np.int64
    assert found.tolist() == expected.tolist() == [i for i, byte in enumerate(buffer) if byte in wanted]


@needs_compiled
def test_no_more_is_written_than_there_is_room_for() -> None:
    """What did not fit is counted; bytes other than four to look for are refused."""
    assert scanning.compiled_find is not None
    found = np.full(4, -1)
    assert scanning.compiled_find(b",,,,", b",,,,", found[:2]) == 4
    assert found.tolist() == [0, 1, -1, -1]
    with pytest.raises(ValueError, match="four bytes"):
        scanning.compiled_find(b",", b",", found)
