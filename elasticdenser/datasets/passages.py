"""What a corpus is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that can be found.

    Attributes:
        doc_id: The name under which it is found, unique in its corpus.
        text: The body; may be empty where there is a title.
        title: The title of what it was cut from, or nothing.
    """

    doc_id: str
    text: str
    title: str = ""

    @property
    def content(self) -> str:
        """What is encoded: title, space, text, as in BEIR."""
        return f"{self.title} {self.text}".strip()
