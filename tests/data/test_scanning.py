"""The one loop over every byte of a table."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfill.data.table import tokenizer


@settings(deadline=None)
@given(
    buffer=st.lists(
        st.sampled_from([b",", b"\n", b"\r", b"a" * 63, b"12 34 " * 11, b"\xff\0"]), max_size=20
    ).map(b"".join),
    wanted=st.lists(st.sampled_from(b',\n\r"\0\xff'), min_size=1, max_size=4),
)
def test_positions_are_those_that_python_finds(buffer: bytes, wanted: list[int]) -> None:
    """Wherever they stand, whole stretches without any of them in between or not."""
    found = tokenizer.positions(buffer, *wanted)
    assert found.dtype == np.int64
    assert found.tolist() == [i for i, byte in enumerate(buffer) if byte in wanted]
