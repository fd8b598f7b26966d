"""PDF files, page by page, read through the optional package pypdf."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from elasticdenser.datasets.documents import BadDocument, open_document
from elasticdenser.datasets.records import BadLine, Record
from elasticdenser.datasets.schema import Schema
from elasticdenser.datasets.sections import title_of_name
from elasticdenser.errors import MissingExtraError

if TYPE_CHECKING:
    from pypdf import PdfReader

EXTRA, MODULE = "pdf", "pypdf"
"""The extra that installs what this format needs, and the module that it needs."""

_DIVIDED_WORD = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_A-Z])")
_DAMAGED = "damaged PDF"


class Pdf:
    """Pages of a PDF file that hold text; a `RecordFormat`. The id of a page is the link to it, `PATH#page=3`."""

    name: ClassVar[str] = "pdf"
    suffixes: ClassVar[tuple[str, ...]] = (".pdf",)
    has_fields: ClassVar[bool] = True
    is_document: ClassVar[bool] = True

    @staticmethod
    def records(path: str, prefix: str, schema: Schema) -> Iterator[tuple[int, Record | BadLine]]:
        """Stream the pages of a file, each with its number."""
        with open_document(path) as stream:
            reader, n_pages = _opened(stream)
            title = _title_of(reader) or title_of_name(prefix)
            has_text = False
            for number in range(1, n_pages + 1):
                page = _page_text(reader, number)
                if isinstance(page, BadLine):
                    yield number, page
                elif page:
                    has_text = True
                    yield number, {"_id": f"{prefix}#page={number}", "title": title, "text": page, "page": number}
        if not has_text:
            message = "no page holds text: recognise the text of scanned pages first (ocrmypdf, say)"
            raise BadDocument("PDF without text", message)


def _opened(stream: Any) -> tuple[PdfReader, int]:
    """Return a reader of a file, and the number of pages.

    Raises:
        BadDocument: The file is damaged, or encrypted with a password.
        MissingExtraError: pypdf is not installed.
    """
    try:
        import pypdf
        from pypdf.errors import DependencyError, FileNotDecryptedError
    except ImportError as error:
        raise MissingExtraError("reading PDF files", EXTRA) from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of every object that it mends
    encrypted = BadDocument("encrypted PDF", "the file is encrypted with a password: save a copy without one")
    try:
        reader = pypdf.PdfReader(stream)
        if reader.is_encrypted and not reader.decrypt(""):
            raise encrypted
        return reader, len(reader.pages)
    except (FileNotDecryptedError, DependencyError) as error:
        raise encrypted from error
    except BadDocument:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise BadDocument(_DAMAGED, f"cannot be read as PDF ({_reason(error)}): make or fetch it again") from error


def _title_of(reader: PdfReader) -> str:
    try:
        title = reader.metadata.title if reader.metadata is not None else None
    except Exception:  # as above; the file's name serves as well
        return ""
    return " ".join(title.split()) if isinstance(title, str) else ""


def _page_text(reader: PdfReader, number: int) -> str | BadLine:
    """Return the text of a page, with words that were divided at the end of a line in one piece."""
    try:
        text = reader.pages[number - 1].extract_text()
    except Exception as error:  # as above
        return BadLine("damaged page", f"the page cannot be read ({_reason(error)}): make or fetch the file again")
    # Half of a surrogate pair comes of wrong character maps.
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    return _DIVIDED_WORD.sub("", text).strip()


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
