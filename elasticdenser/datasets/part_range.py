"""Range of a part of a corpus, which is read apart from the rest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PartRange:
    """Range of whole lines of a file, or of documents of a data set.

    Attributes:
        start: Where it begins: an offset in bytes, or the position of a document, from 0.
        stop: Where it ends, in the same unit; it is not part of the range.
        first: Number of its first line or document, from 1.
    """

    start: int
    stop: int
    first: int = 1
