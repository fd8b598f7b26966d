"""Passages, the documents of a corpus."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passage:
    """A text that can be retrieved.

    Attributes:
        doc_id: Id, unique in its corpus.
        text: The body; may be empty if there is a title.
        title: Title of the document that the passage is a part of, or nothing.
    """

    doc_id: str
    text: str
    title: str = ""

    @property
    def content(self) -> str:
        """The text that is encoded: title, space, body, as in BEIR."""
        return f"{self.title} {self.text}".strip()
