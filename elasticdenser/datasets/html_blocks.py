"""Headings and paragraphs of an HTML page, without scripts, styles and navigation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from elasticdenser.datasets.documents import BadDocument
from elasticdenser.datasets.sections import Block

if TYPE_CHECKING:
    from lxml.etree import _Element

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    (
        *_HEADINGS,
        *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt"),
        *("fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "li", "main", "menu", "ol", "p", "pre"),
        *("section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul"),
    )
)
_CELLS = ("td", "th")
_NEVER_TEXT = frozenset(
    (
        *(
            "annotation",
            "audio",
            "button",
            "canvas",
            "datalist",
            "dialog",
            "embed",
            "footer",
            "iframe",
            "input",
            "link",
        ),
        *("map", "meta", "nav", "noscript", "object", "script", "select", "style", "svg", "template", "textarea"),
        *("title", "video"),
    )
)
_NOT_BESIDE_TEXT = ("aside", "form", "header")
"""Elements that are navigation where a page does not mark its main part, unless they hold its first heading."""
_ROLES = ("banner", "complementary", "contentinfo", "dialog", "navigation", "search")
_PERMALINKS = ("headerlink", "anchor", "anchorjs-link", "header-anchor", "hash-link")
_WHITE_SPACE = re.compile(r"\s+")


def parse_html(html: str) -> _Element | None:
    """Return the root of a page or of a part of one, with mistakes mended as browsers do; None if nothing is in it.

    Raises:
        BadDocument: The elements are nested too deeply.
    """
    from lxml import etree

    # Bytes, because lxml refuses a `str` with a declaration of its encoding.
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        page = etree.fromstring(html.encode("utf-8", "replace"), parser)
    except etree.ParserError:  # no element at all
        return None
    if any(error.level == etree.ErrorLevels.FATAL for error in parser.error_log):
        raise BadDocument("damaged HTML", f"cannot be read as HTML ({parser.error_log[-1].message}): mend or remove it")
    return page


def html_blocks(page: _Element) -> Iterator[Block]:
    """Yield the blocks of a page: of its `main` element or only article, if it has one.

    Entities are decoded, pictures are their description, cells of a table row are separated by `|`.
    """
    main = _main_part(page)
    yield from _Blocks(main, is_page=main is page).blocks()


def html_title(page: _Element) -> str:
    """Return the title in the head of a page; empty if it has none."""
    return _spaced(page.findtext(".//head/title") or "")


def _main_part(page: _Element) -> _Element:
    for path in (".//main", ".//*[@role='main']", ".//article"):
        found = page.findall(path)
        if len(found) == 1:
            return found[0]
    return page


class _Blocks:
    """Blocks of a part of a page, collected in the order of its text.

    Args:
        root: The part.
        is_page: Whether it may hold navigation beside the text.
    """

    def __init__(self, root: _Element, is_page: bool) -> None:
        self._root, self._is_page = root, is_page
        self._parts: list[str] = []
        self._anchor = ""
        self._level, self._n_preformatted = 0, 0

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks."""
        from lxml import etree

        walker = etree.iterwalk(self._root, events=("start", "end"))
        left_out: Any = None
        for event, element in walker:
            if event == "start":
                if self._is_left_out(element):
                    left_out = element
                    walker.skip_subtree()
                else:
                    yield from self._start(element)
            else:
                if element is not left_out:
                    yield from self._end(element)
                if element is not self._root:
                    self._add(element.tail)

    def _start(self, element: _Element) -> Iterator[Block]:
        tag = element.tag
        if tag in _BLOCKS:
            yield from self._flush(element)
            if tag in _HEADINGS:
                self._level = _HEADINGS[tag]
        if name := element.get("id") or (element.get("name") if tag == "a" else None):
            self._anchor = name if not self._level or tag in _HEADINGS else self._anchor or name
        self._n_preformatted += tag == "pre"
        if tag == "br":
            self._parts.append("\n" if self._n_preformatted else " ")
        elif tag == "img":
            self._add(element.get("alt"))
        elif tag in _CELLS and _has_text(self._parts):
            self._parts.append(" | ")
        self._add(element.text)

    def _end(self, element: _Element) -> Iterator[Block]:
        if element.tag in _BLOCKS:
            yield from self._flush(element)
            self._level = 0
        self._n_preformatted -= element.tag == "pre"

    def _flush(self, element: _Element) -> Iterator[Block]:
        """Yield the text collected so far, if there is any."""
        text = "".join(self._parts)
        self._parts = []
        text = text.strip("\n").rstrip() if self._n_preformatted else _spaced(text)
        if text.strip():
            yield Block(text, element.sourceline or 1, self._level, self._anchor if self._level else "")
            self._anchor = ""

    def _add(self, text: str | None) -> None:
        if text:
            self._parts.append(text if self._n_preformatted else _WHITE_SPACE.sub(" ", text))

    def _is_left_out(self, element: _Element) -> bool:
        if element is self._root:
            return False
        tag = element.tag
        if tag in _NEVER_TEXT or element.get("role") in _ROLES or element.get("aria-hidden") == "true":
            return True
        if element.get("hidden") is not None or "display:none" in (element.get("style") or "").replace(" ", ""):
            return True
        if tag == "a" and any(name in _PERMALINKS for name in (element.get("class") or "").split()):
            return True
        return self._is_page and tag in _NOT_BESIDE_TEXT and element.find(".//h1") is None


def _has_text(parts: list[str]) -> bool:
    return any(part.strip() for part in parts)


def _spaced(text: str) -> str:
    return _WHITE_SPACE.sub(" ", text).strip()
