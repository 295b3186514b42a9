"""Files of other tools, mutated: a sentence, or a filled file with every label as it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.driving import PRIOR, done, labelfill
from tests.examples import drawing
from tests.hostile_files import SEEDS, check_refused_or_kept, mutated
from tests.trained_runs import Trained

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


def test_a_field_that_pythons_reader_does_not_take(tmp_path: Path, small_prior: Trained) -> None:
    """It takes 131,072 characters: a DeepLabCut header, a sidecar and mirror pairs with more are refused."""
    long = "n" * 200_000
    (tmp_path / "d.csv").write_text(f"scorer,A,A\nbodyparts,{long},{long}\ncoords,x,y\na/0.png,1.5,2\n")
    (tmp_path / "pairs").write_text(f"{long},nose\n")
    filled = tmp_path / "f.csv"
    done("impute", "--run-dir", small_prior.run, "--out", filled)
    with open(tmp_path / "f.provenance.csv", "a") as sidecar:
        sidecar.write(long)
    train = ("train-keypoint-models", "--data", small_prior.table, "--run-dir", tmp_path / "run", *PRIOR)
    for command, code in (
        (("inspect", tmp_path / "d.csv"), 3),
        ((*train, "--mirror-pairs", tmp_path / "pairs"), 2),
        (("train-final", "--run-dir", small_prior.run, "--filled", filled), 3),
    ):
        refused = labelfill(*command)
        assert (refused.code, "field larger than field limit" in refused.sentence) == (code, True)


@pytest.mark.parametrize("finding", sorted(FINDINGS.iterdir()), ids=lambda finding: finding.name)
def test_what_a_fuzzer_once_found_is_refused(tmp_path: Path, finding: Path) -> None:
    assert check_refused_or_kept(Path(shutil.copy(finding, tmp_path)))
