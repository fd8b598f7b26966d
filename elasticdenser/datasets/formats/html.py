"""HTML pages, cut into sections at their headings."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import ClassVar

from elasticdenser.datasets.documents import BadDocument, read_bytes
from elasticdenser.datasets.files import not_utf8
from elasticdenser.datasets.html_blocks import html_blocks, html_title, parse_html
from elasticdenser.datasets.records import Record
from elasticdenser.datasets.schema import Schema
from elasticdenser.datasets.sections import section_records, title_of_name

_CHARSET = re.compile(
    rb"""<(?:meta\b[^>]*?\bcharset|\?xml\b[^>]*?\bencoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)
_HEAD_BYTES = 4096


class Html:
    """Sections of an HTML page; a `RecordFormat`."""

    name: ClassVar[str] = "html"
    suffixes: ClassVar[tuple[str, ...]] = (".html", ".htm", ".xhtml")
    has_fields: ClassVar[bool] = True
    is_document: ClassVar[bool] = True

    @staticmethod
    def records(path: str, prefix: str, schema: Schema) -> Iterator[tuple[int, Record]]:
        """Yield the sections of a page."""
        page = parse_html(_decoded(read_bytes(path)))
        if page is not None:
            name = html_title(page) or title_of_name(prefix)
            yield from section_records(list(html_blocks(page)), prefix, name=name)


def _decoded(raw: bytes) -> str:
    """Decode a page: in UTF-8, or else in the encoding that it declares.

    Raises:
        BadDocument: It is in neither.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        declared = _CHARSET.search(raw[:_HEAD_BYTES])
        fault = not_utf8(error)
    if declared is not None:
        try:
            # Browsers read this wider encoding where a page declares one of the narrower.
            name = codecs.lookup(declared[1].decode()).name
            return raw.decode("cp1252" if name in ("iso8859-1", "ascii") else name, "replace")
        except (LookupError, UnicodeError, ValueError):
            fault = f"the encoding {declared[1].decode()!r} that it declares is unknown: convert the file to UTF-8"
    raise BadDocument("bad encoding", fault)
