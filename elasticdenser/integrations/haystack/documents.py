"""Documents of Haystack as passages of an index, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from haystack import Document

from elasticdenser.datasets.metadata import FieldType
from elasticdenser.datasets.metadata.values import plain_value
from elasticdenser.datasets.passages import Passage
from elasticdenser.errors import BadInputError

OTHER_META = "haystack_meta"
"""Field with the rest of a document's metadata in JSON: nested objects and other values that are no fields."""


def passage_of(document: Document) -> Passage:
    """Return a document as a passage, whose title is the metadata `title`.

    Raises:
        BadInputError: The document has no text, or metadata that JSON cannot hold.
    """
    text, title = document.content or "", document.meta.get("title")
    title = title if isinstance(title, str) else ""
    if not text.strip() and not title.strip():
        raise BadInputError(f"document {document.id!r} has no text, expected some to encode: leave it out")
    fields: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in document.meta.items():
        field = None if name == OTHER_META else _field_value(value)
        if field is None:
            others[name] = value
        else:
            fields[name] = field
    if others:
        try:
            fields[OTHER_META] = json.dumps(others)
        except (TypeError, ValueError) as error:
            raise BadInputError(
                f"document {document.id!r}: got metadata that JSON cannot hold ({error}): convert it"
            ) from None
    return Passage(document.id, text, title, fields or None)


def document_of(passage: Passage, embedding: list[float] | None = None) -> Document:
    """Return a passage as a document."""
    title = {"title": passage.title} if passage.title else {}
    return Document(
        id=passage.doc_id,
        content=passage.text,
        meta=meta_of({**title, **(passage.metadata or {})}),
        embedding=embedding,
    )


def meta_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a passage as that of its document."""
    meta = dict(metadata)
    return {**meta, **json.loads(meta.pop(OTHER_META))} if OTHER_META in meta else meta


def _field_value(value: Any) -> Any:
    """Return a value as a field of metadata holds it; None if no field holds it as it is."""
    try:
        plain = plain_value(value)
        if isinstance(plain, list):
            FieldType.of(plain)  # refuses lists of several types
            return plain if plain == list(value) else None
    except ValueError:
        return None
    return plain
