"""A filled table whose sidecar is none is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelfill.data.dataset_reading import TableRequest
from labelfill.errors import DataError
from labelfill.filling.provenance import PROVENANCE_COLUMNS
from labelfill.final.filled_table import read_filled

HEADER = ",".join(PROVENANCE_COLUMNS)
OTHERS = {
    "renamed": (HEADER.replace("keypoint", "landmark"), "field 3 is 'landmark', expected 'keypoint'"),
    "one less": (HEADER.removesuffix(",flags"), "field 12 is missing, expected 'flags'"),
    "one more": (f"{HEADER},note", "field 13 is 'note', expected none"),
    "semicolons": ("row;line", "field 1 is 'row;line', expected 'row'"),
    "empty": ("", "field 1 is missing, expected 'row'"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_sidecar_with_another_header_is_told_by_the_column(tmp_path: Path, case: str) -> None:
    """The first column that differs, and what is expected in its place."""
    header, words = OTHERS[case]
    (tmp_path / "t.csv").write_text("a_x,a_y,Image\n1,1,0 0 0 0\n")
    sidecar = tmp_path / "t.provenance.csv"
    sidecar.write_text(f"{header}\n")
    with pytest.raises(DataError) as caught:
        read_filled(tmp_path / "t.csv", None, TableRequest(), None)
    assert str(caught.value) == (
        f"{sidecar}, line 1: {words}; it is not a sidecar of labelfill, or has been changed: "
        "run `labelfill impute` again"
    )
