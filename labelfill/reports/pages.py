"""Self-contained HTML pages: markup that escapes whatever comes from a table.

Text becomes markup in one way only, through `text`, which escapes it; `element` does so with every
child and attribute that is not markup already. Pages load nothing, and run no script but the one of ours
that stands in the page of the review.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources

from labelfill.errors import counted


class Markup(str):
    """Text that is markup already and must not be escaped again."""

    __slots__ = ()


Child = str | float | int | None

_VOID = frozenset({"img", "meta", "br", "hr", "image", "circle", "path", "rect", "line", "use", "link"})
# What a page may load: its own styles and the pictures that it holds. No script runs that is not named.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def text(value: Child) -> Markup:
    """A value as text of a page: escaped unless it is markup."""
    if isinstance(value, Markup):
        return value
    return Markup() if value is None else Markup(html.escape(plain(value), quote=True))


def plain(value: str | float) -> str:
    """A value as pages and plots can hold it: control characters and lone surrogates as escapes."""
    shown = "".join(c if c in "\n\t" or (c >= " " and c != "\x7f") else ascii(c)[1:-1] for c in str(value))
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def element(tag: str, *children: Child, **attributes: Child | bool) -> Markup:
    """One element. Attributes: ``class_`` for class, ``_`` for ``-``; None and False are left out."""
    written = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        written.append(name if value is True else f'{name}="{text(value)}"')
    opening = " ".join(written)
    if tag in _VOID and not children:
        return Markup(f"<{opening}/>")
    return Markup(f"<{opening}>{joined(children)}</{tag}>")


def joined(children: Iterable[Child], between: str = "") -> Markup:
    """Children one after the other, escaped where need be."""
    return Markup(text(between).join(text(child) for child in children))


def section(title: str, *children: Child) -> Markup:
    return element("section", element("h2", title), *children)


def paragraph(*children: Child, **attributes: Child | bool) -> Markup:
    return element("p", *children, **attributes)


def note(*children: Child) -> Markup:
    """A paragraph in small print."""
    return element("p", *children, class_="note")


def and_more(count: int, noun: str) -> Markup | None:
    """A note on how many more there are than are shown, if there are any."""
    return note(f"{counted(count, noun)} not shown.") if count > 0 else None


def figure(picture: Markup, *caption: Child, class_: str | None = None) -> Markup:
    """A picture with its caption."""
    return element("figure", picture, element("figcaption", *caption), class_=class_)


def table(header: Sequence[Child], rows: Iterable[Sequence[Child]], *, numbers: Sequence[int] = ()) -> Markup:
    """A table that scrolls sideways where the page is too narrow; columns `numbers` are set to the right."""
    right = dict.fromkeys(numbers, "number")
    head = element("tr", *(element("th", cell, class_=right.get(i)) for i, cell in enumerate(header)))
    body = [
        element("tr", *(element("td", cell, class_=right.get(i)) for i, cell in enumerate(row)))
        for row in rows
    ]
    whole = element("table", element("thead", head), element("tbody", *body))
    return element("div", whole, class_="scroll")


def tiles(figures: Iterable[tuple[str, str]]) -> Markup:
    """Figures to see at a glance: (value, what it is)."""
    return element(
        "dl",
        *(element("div", element("dt", label), element("dd", value)) for value, label in figures),
        class_="tiles",
    )


def share_bar(share: float) -> Markup:
    """A bar that fills a share of its cell; decoration, the figure stands beside it."""
    inner = element("span", style=f"width: {100 * min(max(share, 0), 1):.1f}%")
    return element("span", inner, class_="bar", aria_hidden="true")


def page(
    title: str, summary: str, *children: Child, style: str = "", script: str = "", served: bool = False
) -> str:
    """A whole document: readable in light and dark, printed, and without a network.

    Parameters
    ----------
    style, script
        Our own, never text of a table: further rules, and a script that runs when the page is there.
    served
        Whether the script may talk to the server that the page came from.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(script, served=served)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href="data:,") if served else None,  # no browser asks for one
        element("style", Markup(_style() + style)),
    )
    main = element("main", element("h1", title), paragraph(summary, class_="lead"), *children)
    body = element("body", main, element("script", Markup(script)) if script else None)
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _policy(script: str, *, served: bool) -> str:
    if not script:
        return _POLICY
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    connect = "; connect-src 'self'" if served else ""
    return f"{_POLICY}; script-src 'sha256-{sha256}'{connect}"


@cache
def _style() -> str:
    return resources.files("labelfill.reports").joinpath("page.css").read_text("utf-8")
