"""Files of other tools, mutated: a sentence, or a filled file with every label as it was."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import drawing
from tests.hostile_files import SEEDS, check_refused_or_kept, mutated

FINDINGS = Path(__file__).parent / "fuzz_findings"


@pytest.mark.parametrize("reader", SEEDS)
def test_the_files_to_begin_with_are_filled(tmp_path: Path, reader: str) -> None:
    suffix, contents = SEEDS[reader]
    for content in contents:
        path = tmp_path / f"t{suffix}"
        path.write_bytes(content)
        assert check_refused_or_kept(path) == ""


@pytest.mark.parametrize("reader", ["coco", "label-studio"])
@drawing(200)
@given(seed=st.integers(0, 2**32))
def test_json_with_other_values(tmp_path: Path, reader: str, seed: int) -> None:
    suffix, contents = SEEDS[reader]
    random = Random(seed)
    path = tmp_path / f"t{suffix}"
    path.write_bytes(mutated(random.choice(contents), random))
    check_refused_or_kept(path)
