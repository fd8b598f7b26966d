"""Passages, the documents of a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Passage:
    """Text that can be retrieved.

    Attributes:
        doc_id: Id, unique in its corpus.
        text: The body; may be empty if there is a title.
        title: Title of the document that the passage is a part of, or nothing.
        metadata: Further fields by name: text, numbers, true and false, dates as text of ISO 8601, and lists of these;
            None if there are none.
    """

    doc_id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def content(self) -> str:
        """The text that is encoded: title, space, body, as in BEIR."""
        return f"{self.title} {self.text}".strip()
