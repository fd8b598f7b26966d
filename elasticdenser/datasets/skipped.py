"""Record of the lines and documents of a corpus that are skipped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from elasticdenser.datasets.records import BadLine

_MAX_MESSAGES = 5
"""Messages of skipped lines that are stored; thousands of lines may have the same fault."""


@dataclass
class SkippedLines:
    """Record of the lines that were skipped.

    Attributes:
        counts: How many lines, by reason.
        messages: The first few, in full.
        n_left_out: How many of them are documents, or parts of one, that are left out whatever the settings.
        left_out: The first few of these, with the reason.
    """

    counts: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)
    n_left_out: int = 0
    left_out: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of lines that were skipped."""
        return self.counts.total()

    def add(self, reason: str, message: str) -> None:
        """Count a line."""
        self.counts[reason] += 1
        if len(self.messages) < _MAX_MESSAGES:
            self.messages.append(message)

    def add_left_out(self, path: str, row: BadLine) -> None:
        """Note a document that is left out, besides counting it."""
        self.n_left_out += 1
        if len(self.left_out) < _MAX_MESSAGES:
            self.left_out.append(f"{path} ({row.reason})")

    def remarks(self) -> list[str]:
        """Return what a user should know about documents that were left out."""
        more = self.n_left_out - len(self.left_out)
        and_more = f" and {more:,} more" if more else ""
        return [f"left out: {', '.join(self.left_out)}{and_more}"] if self.left_out else []
