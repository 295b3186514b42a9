"""Pages: whatever comes from a table shows as text, and nothing is loaded or run."""

from __future__ import annotations

import base64
import html
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelfill.data.dataset import dataset_of_arrays
from labelfill.data.synthetic import draw_table
from labelfill.reports import plots
from labelfill.reports.faces import Points, data_uri, face, key
from labelfill.reports.inspection.inspected_table import InspectedTable
from labelfill.reports.inspection.inspection import inspect
from labelfill.reports.inspection.inspection_page import inspection_page
from labelfill.reports.pages import Markup, element, joined, page, share_bar, table, text, tiles
from labelfill.schema import ImageSize
from labelfill.sources.groups import find_groups

EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "&lt;b&gt; $x_{2}$ \\frac",
    "</style></title></svg><svg onload=alert(1)>",
    "左の目 👁",
    "tab\tnull\0bell\a\x1b[31m byte \udcff",
)


class Reader(HTMLParser):
    """Tags, attributes and text of a page as a browser takes them; fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    assert not reader._open
    return reader


# -- escaping ---------------------------------------------------------------------------------------


@given(st.text())
@settings(deadline=None)
def test_text_is_never_markup(value: str) -> None:
    """Any text comes out of a browser's parser as the text it was, as child and as attribute."""
    reader = read(element("p", value, title=value))
    assert reader.tags == ["p"]
    shown = "".join(reader.texts)
    assert [name for name, _ in reader.attributes] == ["title"]
    assert reader.attributes[0][1] == shown
    if all(c >= " " and c != "\x7f" and not "\ud800" <= c <= "\udfff" for c in value):
        assert shown == value
    shown.encode("utf-8")


@pytest.mark.parametrize("value", EVIL)
def test_hostile_names_show_as_text(value: str) -> None:
    """Scripts, quotes, closing tags, control characters and lone surrogates are harmless everywhere."""
    parts = [
        element("p", value, title=value),
        table((value,), [(value, value)], numbers=(1,)),
        tiles([(value, value)]),
        key([("label", value)]),
        face(None, ImageSize(9, 9), [Points(np.ones((1, 2)), [value], "doubtful")], value),
        plots.bars([1, 2], value, value, value),
    ]
    reader = read(page(value, value, *parts))
    assert "script" not in reader.tags
    assert "img" not in reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert (
        reader.tags.count("style") == reader.tags.count("title") - 1 == 1
    )  # the page's, and the point's name
    shown = html.unescape(text(value))
    assert sum(shown in piece for piece in reader.texts) >= 5


def test_markup_is_not_escaped_twice() -> None:
    """Elements nest; None and False leave nothing behind."""
    inner = element("b", "a < b")
    assert element("p", inner, None, 3, class_="x", hidden=False, open=True) == (
        '<p class="x" open><b>a &lt; b</b>3</p>'
    )
    assert joined(["<", Markup("<br/>")], " ") == "&lt; <br/>"
    assert element("meta", http_equiv="a") == '<meta http-equiv="a"/>'


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    """The policy forbids scripts and loading; light, dark and print have their colours."""
    whole = page("Title", "Summary.", share_bar(1.7))
    reader = read(whole)
    assert whole.startswith("<!DOCTYPE html>")
    policy = dict(reader.attributes)["content"]
    assert policy is not None
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in whole.replace("&#x27;", "'")
    for wanted in ("prefers-color-scheme: dark", "@media print", 'charset="utf-8"', "width: 100.0%"):
        assert wanted in whole
    assert not re.search(r"https?://|url\(|@import", whole)


# -- pictures and plots -----------------------------------------------------------------------------


def test_points_lie_on_their_pixels() -> None:
    """A label at (2, 3) is drawn in the middle of that pixel; points that are not there are not drawn."""
    points = np.array([[2.0, 3.0], [np.nan, np.nan]])
    drawn = face(np.zeros((6, 8), np.uint8), ImageSize(6, 8), [Points(points, ["a", "b"], "label")])
    assert 'viewBox="0 0 8 6"' in drawn
    assert 'cx="2.50" cy="3.50"' in drawn
    assert drawn.count("<circle") == 1
    assert "<title>a</title>" in drawn


def test_pictures_survive_as_png() -> None:
    """A small picture is kept as it is, a large one shrunk."""
    rng = np.random.default_rng(0)
    for shape, kept in (((40, 30), (40, 30)), ((400, 800), (96, 192))):
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        kind, _, data = data_uri(image).partition(",")
        assert kind == "data:image/png;base64"
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert picture.shape == kept
        if shape == kept:
            assert (picture == image).all()


def test_plots_take_the_pages_colours() -> None:
    """A plot is inline SVG with text, in colours of the page; the same plot is the same bytes."""
    drawn = plots.bars([3, 0, 5], "labels", "rows", "3 and 5")
    assert drawn == plots.bars([3, 0, 5], "labels", "rows", "3 and 5")
    assert "var(--accent)" in drawn
    assert "var(--ink)" in drawn
    assert not re.search("#0(10203|40506|70809)", drawn)
    reader = read(drawn)
    assert "style" not in reader.tags
    assert {"labels", "rows"} <= {piece.strip() for piece in reader.texts}
    two = plots.histograms([(np.arange(9.0), "one"), (np.zeros(9), "two")], "images", "about")
    assert "one" in two
    assert "two" in two


# -- the page of an inspection ----------------------------------------------------------------------


def test_the_inspection_page_escapes_names_and_paths() -> None:
    """Keypoint names and the table's name show as text in a whole page; it stays small and loads nothing."""
    drawn = draw_table(60, 1)
    names = (*EVIL, *drawn.schema.keypoints[len(EVIL) :])
    labels = drawn.labels.copy()
    labels[5, 0] += 20.0
    labels[6, :, 0] = np.nan
    images = drawn.images.copy()
    images[1], images[2] = 0, images[3]
    dataset = dataset_of_arrays(labels, names, images, "<script>'\".csv")
    sources = find_groups(dataset.table.labelled)
    inspected = InspectedTable(dataset, sources, sources.assign(dataset.table.labelled))
    whole = inspection_page(inspect(inspected))
    reader = read(whole)
    assert "script" not in reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert not re.search(r'(href|src)="(?!data:image/png;base64,|#)', whole)
    everything = " ".join(reader.texts)
    for name in names:
        assert html.unescape(text(name)) in everything
    for heading in (
        "Labels worth a second look",
        "Missing labels",
        "Labels per row, and missing patterns",
        "Label sources",
        "Duplicate images",
        "Brightness and contrast",
        "Examples",
        "Contrast equalisation, before and after",
    ):
        assert heading in everything
    assert len(whole) < 2_000_000
    whole.encode("utf-8")
