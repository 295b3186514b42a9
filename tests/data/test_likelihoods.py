"""Columns that state how sure each fill is, in every format; no other byte changes for them."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfill.data.formats import check_out, read_keypoints, write_found
from labelfill.data.formats.likelihoods import likelihoods
from labelfill.data.reading_options import ReadingOptions
from labelfill.data.table import FoundPoints, KeypointTable, read_header, read_table
from labelfill.data.table.tokenizer import Tokenizer
from labelfill.errors import DataError
from labelfill.final.filled_table import Filled, FilledRequest, read_training_table
from labelfill.runs import RunDirectory
from labelfill.settings import FinalModelSettings
from tests.drawn_points import write_images
from tests.drawn_tables import Drawn, blocks_of, tables
from tests.driving import PRIOR, content, done, labelfill
from tests.examples import drawing
from tests.trained_runs import Trained


def found_for(table: KeypointTable, seed: int = 0) -> FoundPoints:
    """Any coordinates and scores; a fifth of the coordinates is left blank."""
    generator = np.random.default_rng(seed)
    xy = generator.uniform(-9, 99, table.labels.shape)
    xy[generator.random(xy.shape) < 0.2] = np.nan
    score = generator.random(xy.shape[:2])
    return FoundPoints(xy, score, np.full((table.rows, 2), 100.0), "m")


def written(
    table: KeypointTable, found: FoundPoints, *, likelihood: bool = True, name: str = "f.csv"
) -> bytes:
    out = BytesIO()
    sha256 = write_found(table, found, out, name, likelihood=likelihood)
    if name == "f.csv":
        assert sha256 == hashlib.sha256(out.getvalue()).hexdigest()
    return out.getvalue()


def fields_of(path: Path) -> np.ndarray:
    """(n, C, 2): begin and end of every field of a table's records."""
    with open(path, "rb") as file:
        header, cursor = read_header(path, file.read, require_keypoints=True, require_images=False)
        blocks = Tokenizer(path, header.delimiter, header.columns, cursor).blocks(file.read)
        return np.concatenate([np.stack([b.starts, b.ends], -1) + b.offset for b in blocks])


def without_likelihoods(output: Path, plain: Path, names: bytes, stated: int, replaced: np.ndarray) -> bytes:
    """The bytes of `output` less its further fields, and with replaced ones as they are in `plain`.

    Parameters
    ----------
    names
        What was added to the header.
    stated
        The column in which fields were replaced, in rows (n,).
    """
    old, new, before, after = fields_of(plain), fields_of(output), plain.read_bytes(), output.read_bytes()
    begin = int(new[0, 0, 0])
    assert after[:begin].count(names) == 1
    pieces, position = [after[:begin].replace(names, b"")], begin
    for row in range(len(new)):
        if replaced[row]:
            pieces += [after[position : new[row, stated, 0]], before[slice(*old[row, stated])]]
            position = int(new[row, stated, 1])
        pieces.append(after[position : new[row, old.shape[1] - 1, 1]])
        position = int(new[row, -1, 1])
    return b"".join([*pieces, after[position:]])


@drawing(60)
@given(
    drawn=tables(),
    ending=st.sampled_from(["", "likelihood", "score", "confidence"]),
    block=st.sampled_from([1, 2, 3, 5, 8, 13, 1 << 20]),
    seed=st.integers(0, 99),
)
def test_scores_stand_in_their_columns_and_no_other_byte_changes(
    tmp_path: Path, drawn: Drawn, ending: str, block: int, seed: int
) -> None:
    """A column that is there, whatever it holds, gets the scores of fills alone; the others are new."""
    path, plain, output = (tmp_path / name for name in ("t.csv", "plain.csv", "f.csv"))
    column = f"{drawn.keypoints[0]}_{ending}" if ending else "note"
    path.write_bytes(drawn.raw.replace(b"note", column.encode(), 1))
    table = read_table(path, require_images=False)
    found = found_for(table, seed)
    plain.write_bytes(written(table, found, likelihood=False))
    with blocks_of(block):
        output.write_bytes(written(table, found))
    again = read_table(output, require_images=False)
    new = [f"{name}_likelihood" for name in drawn.keypoints[bool(ending) :]]
    assert again.columns == (*table.columns, *new)
    filled = found.new(table).any(axis=2)
    # A likelihood that was replaced may have been of several lines.
    if not any(set(note) & set("\r\n") for note in drawn.notes):
        assert again.lines.tolist() == table.lines.tolist()
    for k, name in enumerate(drawn.keypoints):
        there = ending and k == 0
        texts = again.extra[column if there else f"{name}_likelihood"]
        before = drawn.notes if there else [""] * table.rows
        assert texts == [
            f"{found.score[row, k]:.4f}" if filled[row, k] else before[row] for row in range(table.rows)
        ]
    names = b"".join(f"{drawn.delimiter}{name}".encode() for name in new)
    if new:
        stated, replaced = table.columns.index(column), filled[:, 0] & bool(ending)
        assert without_likelihoods(output, plain, names, stated, replaced) == plain.read_bytes()


def text_table(tmp_path: Path, raw: bytes) -> KeypointTable:
    (tmp_path / "t.csv").write_bytes(raw)
    return read_keypoints(tmp_path / "t.csv", require_images=False)


def ones(table: KeypointTable, score: float = 0.51239) -> FoundPoints:
    shape = table.labels.shape
    return FoundPoints(np.ones(shape), np.full(shape[:2], score), np.full((table.rows, 2), 9.0), "m")


def test_names_are_quoted_where_needed(tmp_path: Path) -> None:
    """A delimiter or a quote in a keypoint's name; other names stand bare, as the scores do."""
    raw = b'"a;b_x";"a;b_y";"c""_x";"c""_y";d_x;d_y\r\n;;1;2;;4\r\n'
    output = written(text_table(tmp_path, raw), ones(text_table(tmp_path, raw)))
    header, row, rest = output.split(b"\r\n")
    assert header == raw.split(b"\r\n")[0] + b';"a;b_likelihood";"c""_likelihood";d_likelihood'
    assert (row, rest) == (b"1.0000;1.0000;1;2;1.0000;4;0.5124;;0.5124", b"")


def test_quotes_around_a_likelihood_stay(tmp_path: Path) -> None:
    """And so does the text of points that are observed or left blank."""
    table = text_table(tmp_path, b'a_x,a_y,a_score\n,,"0.1"\n1,,0.1\n1,2,sure\n,,\n')
    found = ones(table)
    found.xy[3] = np.nan
    output = written(table, found)
    rows = b'1.0000,1.0000,"0.5124"\n1,1.0000,0.5124\n1,2,sure\n,,\n'
    assert output == b"a_x,a_y,a_score\n" + rows


def test_new_columns_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Models may know the keypoints in another order; each column keeps its own keypoint's scores."""
    from labelfill.data.dataset_reading import TableRequest, read_dataset

    (tmp_path / "t.csv").write_bytes(b"b_x,b_y,a_x,a_y\n,,,\n3,4,5,6\n")
    dataset = read_dataset(tmp_path / "t.csv", TableRequest(require_images=False))
    table = dataset.in_order_of(("a", "b")).table
    found = FoundPoints(np.ones((2, 2, 2)), np.array([[0.25, 0.5]] * 2), np.full((2, 2), 9.0), "m")
    assert written(table, found) == (
        b"b_x,b_y,a_x,a_y,b_likelihood,a_likelihood\n1.0000,1.0000,1.0000,1.0000,0.5000,0.2500\n3,4,5,6,,\n"
    )


@pytest.mark.parametrize("name", ["f.csv.gz", "f.zip"])
def test_packed_tables(tmp_path: Path, name: str) -> None:
    """The same bytes when unpacked."""
    raw = b"\xef\xbb\xbfa_x,a_y\r,\r\n\r\n1,2"
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(raw))
    table = read_keypoints(tmp_path / "t.csv.gz", require_images=False)
    (tmp_path / name).write_bytes(written(table, ones(table), name=name))
    expected = b"\xef\xbb\xbfa_x,a_y,a_likelihood\r1.0000,1.0000,0.5124\r\n\r\n1,2,"
    assert content(tmp_path / name) == expected


@pytest.mark.parametrize("change", [b"a_x,a_y\n1,\n,\n", b"a_x,a_y\n1,\n", b"a_x,a_y,n\n1,,\n,,\n,,\n"])
def test_a_table_that_changed_is_not_filled(tmp_path: Path, change: bytes) -> None:
    """More rows, fewer, or other columns than were read."""
    table = text_table(tmp_path, b"a_x,a_y\n1,\n,\n,\n")
    (tmp_path / "t.csv").write_bytes(change)
    with pytest.raises(DataError, match="has changed since it was read"):
        written(table, ones(table))


def test_a_name_with_a_line_end_is_refused_beforehand(tmp_path: Path) -> None:
    """A further line in the header would move all rows from the lines that the sidecar names."""
    table = text_table(tmp_path, b'"a\nb_x","a\nb_y"\n,\n')
    check_out(table, tmp_path / "f.csv")
    with pytest.raises(DataError, match=r"the name of keypoint 'a\\nb' holds a line end"):
        check_out(table, tmp_path / "f.csv", likelihood=True)


INDIVIDUALS = b"individuals,,,m,m,m,m\r\n"


@pytest.mark.parametrize("individuals", [b"", INDIVIDUALS])
def test_deeplabcut_without_likelihoods(tmp_path: Path, individuals: bytes) -> None:
    """Each row of the header names the new columns; pandas reads them as DeepLabCut does."""
    write_images(tmp_path)
    raw = (
        b'scorer,,,"A, B","A, B","A, B","A, B"\r\n' + individuals + b"bodyparts,,,nose,nose,tail,tail\r\n"
        b"coords,,,x,y,x,y\r\nlabeled-data,v,0.png,,,3,4\r\nlabeled-data,v,1.png,1.50,2,3,"
    )
    path = tmp_path / "CollectedData_A.csv"
    path.write_bytes(raw)
    table = read_keypoints(path)
    output = written(table, ones(table))
    added = [b',"A, B","A, B"', *([b",m,m"] if individuals else []), b",nose,tail", b",likelihood,likelihood"]
    lines = [a + b for a, b in zip(raw.split(b"\r\n")[:-2], added, strict=True)]
    lines += [
        b"labeled-data,v,0.png,1.0000,1.0000,3,4,0.5124,",
        b"labeled-data,v,1.png,1.50,2,3,1.0000,,0.5124",
    ]
    assert output == b"\r\n".join(lines)
    path.write_bytes(output)
    again = read_keypoints(path, reading=ReadingOptions(min_likelihood=0.6))
    np.testing.assert_array_equal(again.observed[..., 0], [[False, True], [True, False]])
    import pandas as pd

    frame = pd.read_csv(path, header=list(range(len(added))), index_col=[0, 1, 2])
    scores = frame.xs("likelihood", axis=1, level="coords")
    np.testing.assert_array_equal(scores, [[0.5124, np.nan], [np.nan, 0.5124]])


def test_deeplabcut_with_likelihoods(tmp_path: Path) -> None:
    """What a network was not sure of is filled, and stands there with the fill's score."""
    write_images(tmp_path)
    begin = b"scorer,A,A,A\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\n"
    path = tmp_path / "p.csv"
    path.write_bytes(begin + b"0.png,7,8,0.11\n1.png,7,8,0.91\n")
    table = read_keypoints(path, reading=ReadingOptions(min_likelihood=0.6))
    assert written(table, ones(table)) == begin + b"0.png,1.0000,1.0000,0.5124\n1.png,7,8,0.91\n"


def test_parquet(tmp_path: Path) -> None:
    """Columns of numbers and of text get scores of fills alone; new ones are null elsewhere."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    import pandas as pd

    frame = pd.DataFrame({"a_x": [1.0, np.nan], "a_y": [2.0, np.nan], "b_x": [None, 3], "b_y": [4.0, 5.0]})
    frame["a_likelihood"], frame["b_score"] = np.float32([0.7, 0.1]), ["0.10", "sure"]
    frame["c_y"], frame["c_x"] = [1.0, np.nan], [1.0, 2.0]
    path, output = tmp_path / "t.parquet", tmp_path / "f.parquet"
    pq.write_table(pa.Table.from_pandas(frame), path)
    table = read_keypoints(path, require_images=False)
    output.write_bytes(written(table, ones(table), name="f.parquet"))
    again = pq.read_table(output)
    assert again.column_names == [*pq.read_table(path).column_names, "c_likelihood"]
    assert again.column("a_likelihood").to_pylist() == [float(np.float32(0.7)), 0.5124]
    assert again.column("b_score").to_pylist() == ["0.5124", "sure"]
    assert again.column("c_likelihood").to_pylist() == [None, 0.5124]
    assert pd.read_parquet(output)["c_likelihood"].tolist()[1] == 0.5124
    assert again.schema.metadata == pq.read_schema(path).metadata
    read = read_keypoints(output, require_images=False)
    assert read.observed.all()
    with pytest.raises(DataError, match="column 'b_score': found 'sure'"):
        likelihoods(read)


def test_parquet_of_something_else_in_a_column_of_the_name(tmp_path: Path) -> None:
    """Lists and dates are no likelihoods."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path, coordinates = tmp_path / "t.parquet", {"a_x": [None], "a_y": [1.0]}
    pq.write_table(pa.table({**coordinates, "a_likelihood": [[0.5]]}), path)
    with pytest.raises(DataError, match="column 'a_likelihood': found values that are no numbers"):
        check_out(read_keypoints(path, require_images=False), tmp_path / "f.parquet", likelihood=True)
    pq.write_table(pa.table({**coordinates, "a_likelihood": pa.array([0], pa.date32())}), path)
    table = read_keypoints(path, require_images=False)
    with pytest.raises(DataError, match="column 'a_likelihood': found values that are no numbers"):
        written(table, ones(table), name="f.parquet")


def test_json_states_scores_either_way(tmp_path: Path) -> None:
    """The option changes nothing in COCO."""
    import json

    write_images(tmp_path)
    path = tmp_path / "c.json"
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "0.png", "height": 20, "width": 30}],
                "categories": [{"id": 1, "name": "p", "keypoints": ["a"]}],
                "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": [0, 0, 0]}],
            }
        )
    )
    table = read_keypoints(path)
    check_out(table, tmp_path / "f.json", likelihood=True)
    either = [written(table, ones(table), likelihood=asked, name="f.json") for asked in (False, True)]
    assert either[0] == either[1]
    assert b"0.5124" in either[0]


def read_by_later_stages(run: Path, filled: Path) -> None:
    """Trained on, reviewed and reported."""
    final = done("train-final", "--run-dir", run, "--filled", filled, "--force")
    assert np.isfinite(final["evaluation rmse"])
    page = ("--out", filled.with_suffix(".html"), "--force")
    assert done("review", "--run-dir", run, "--filled", filled, *page)["rows"] > 0
    done("report", "--run-dir", run, "--filled", filled, *page)


@pytest.mark.parametrize("name", ["f.csv", "CollectedData_A.csv"])
def test_later_stages_read_a_table_with_likelihoods(faces: Trained, tmp_path: Path, name: str) -> None:
    """By `impute --likelihood`; a second run has nothing to do, one without the option is another."""
    original, out = faces.table, tmp_path / name
    if name != "f.csv":
        original = faces.table.parent / name
        done("convert", original.parent / "t.csv", original, "--to", "deeplabcut")
    command = ("impute", "--run-dir", faces.run, "--data", original, "--out", out)
    assert done(*command, "--likelihood")["filled"] > 0
    table = read_keypoints(out, filled=True, require_images=False)
    scores, new = likelihoods(table), ~read_keypoints(original).observed.any(axis=2)
    new &= table.labelled
    np.testing.assert_array_equal(np.isfinite(scores), new)
    assert ((scores[new] > 0) & (scores[new] < 1)).all()
    read_by_later_stages(faces.run, out)
    assert done(*command, "--likelihood")["state"] == "done before"
    outcome = labelfill(*command)
    assert outcome.code == 2
    assert "settings.likelihood: was true, is false" in outcome.sentence


@pytest.mark.parametrize("option", [(), ("--likelihood",)])
def test_later_stages_know_fills_of_points_that_were_not_sure(
    faces: Trained, tmp_path: Path, option: tuple[str, ...]
) -> None:
    """The likelihood beside a fill may be small, the old one or its own: it is a fill, whatever it says."""
    table = read_keypoints(faces.table)
    likely = np.random.default_rng(2).random(table.labels.shape[:2])
    folder = tmp_path / "in"
    shutil.copytree(faces.table.parent, folder, ignore=shutil.ignore_patterns("run", "*.csv"))
    lines = faces.table.read_text().splitlines()
    lines[0] += "".join(f",{name}_likelihood" for name in table.keypoints)
    for row, values in enumerate(likely.tolist()):
        lines[row + 1] += "".join(f",{value:.3f}" for value in values)
    (folder / "t.csv").write_text("\n".join(lines))
    run, out = tmp_path / "run", tmp_path / "f.csv"
    original = ("--data", folder / "t.csv")
    done("train-keypoint-models", *original, "--run-dir", run, *PRIOR, "--min-likelihood", 0.3)
    outcome = labelfill("impute", "--run-dir", run, "--out", out, "--max-radius", 2, *option)
    assert "left blank, too uncertain" in outcome.out
    read_by_later_stages(run, out)
    trained = [read_training_table_of(run, out, by) for by in (None, folder / "t.csv")]
    before = read_keypoints(folder / "t.csv", reading=ReadingOptions(min_likelihood=0.3))
    for filled in trained:
        np.testing.assert_array_equal(filled.observed, before.observed)
        known = before.observed | (filled.dataset.labels == trained[0].dataset.labels)
        np.testing.assert_array_equal(np.isfinite(filled.dataset.labels), known)
        assert filled.dataset.reading.min_likelihood == 0.3
    assert 0 < np.isnan(trained[0].dataset.labels).sum() < np.isnan(before.labels).sum()


def read_training_table_of(folder: Path, filled: Path, original: Path | None) -> Filled:
    run = RunDirectory.read_only(folder)
    request = FilledRequest(filled, original, images_beside=filled.parent / "in" / "t.csv")
    return read_training_table(run, run, request, FinalModelSettings())[0]
