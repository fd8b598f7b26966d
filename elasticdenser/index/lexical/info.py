"""Description of the postings of an index, as its manifest holds it."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

import msgspec

KEEP = "keep"
"""Stemmer that stands for the postings as they are."""

PREFIX = "lexical"
"""Beginning of the names of the files."""

TERMS, ENDS, PASSAGES, COUNTS, LENGTHS = "terms", "ends", "passages", "counts", "lengths"
ROLES = (TERMS, ENDS, PASSAGES, COUNTS, LENGTHS)
"""Contents of the files; each name ends in one of them."""

FILE_PATTERNS = tuple(f"{PREFIX}*.{role}" for role in ROLES)
"""Patterns of the names of all such files."""


def is_file_of_postings(path: str) -> bool:
    """Return whether a file of an index, given by its path in the folder, holds postings."""
    return any(fnmatch(Path(path).name, pattern) for pattern in FILE_PATTERNS)


@dataclass(frozen=True, kw_only=True)
class LexicalInfo:
    """Description of the postings by which passages are found by their words.

    Of several segments together, the numbers are those of the words of deleted passages too.

    Args:
        stemmer: Stemmer of the `Analyzer` that made words of the texts.
        n_terms: Number of different words; of several segments, that of the one with the most.
        n_postings: Number of pairs of a word and a passage that holds it.
        n_words: Number of words of all passages together, repeated ones included.
        name: Beginning of the names of the files.
    """

    stemmer: str
    n_terms: Annotated[int, msgspec.Meta(ge=0)]
    n_postings: Annotated[int, msgspec.Meta(ge=0)]
    n_words: Annotated[int, msgspec.Meta(ge=0)]
    name: str = PREFIX

    def __post_init__(self) -> None:
        if not self.name or set(self.name) & set("/\\\0."):
            raise ValueError(f"it names files outside of its folder: {self.name}")

    def file(self, role: str) -> str:
        """Return the name of a file."""
        return f"{self.name}.{role}"

    def other_name(self) -> str:
        """Return another beginning of names, for files that will replace these."""
        return PREFIX if self.name != PREFIX else f"{PREFIX}-again"

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files."""
        return tuple(map(self.file, ROLES))

    def sizes(self, n_passages: int) -> dict[str, int]:
        """Return the size in bytes of each file of an index of so many passages."""
        n_bytes = (8 * self.n_terms, 8 * self.n_terms, 4 * self.n_postings, 2 * self.n_postings, 4 * n_passages)
        return dict(zip(self.files, n_bytes, strict=True))
