"""Settings of chunking, and ids of chunks.

The chunks of the document `d7` are the passages `d7#0`, `d7#1`, ... of the index, at consecutive positions. A document
that fits into one chunk is `d7#0`. So every id of such an index names its document, whatever the document's id is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from elasticdenser.errors import BadInputError

_SEPARATOR = "#"


@dataclass(frozen=True, kw_only=True)
class Chunking:
    """Settings of the cutting of documents into chunks, at the ends of sentences.

    Args:
        tokens: Maximum number of tokens of a chunk as it is encoded, with title, prompt and special tokens.
        overlap: Maximum number of tokens of the sentences that a chunk repeats from the end of the chunk before.
    """

    tokens: Annotated[int, msgspec.Meta(ge=1)]
    overlap: Annotated[int, msgspec.Meta(ge=0)] = 0

    @classmethod
    def parse(cls, text: str) -> Chunking:
        """Return the chunking that `TOKENS` or `TOKENS/OVERLAP` describes.

        Raises:
            BadInputError: The text has another form, or the overlap is not shorter than a chunk.
        """
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:/\s*(\d{1,9})\s*)?", text, re.ASCII)
        if match is None:
            raise BadInputError(f"got {text!r} for the length of chunks, expected TOKENS or TOKENS/OVERLAP: use 128/32")
        tokens, overlap = int(match[1]), int(match[2] or 0)
        if not tokens:
            raise BadInputError("got chunks of 0 tokens, expected more: use 128/32")
        if overlap >= tokens:
            raise BadInputError(f"got chunks of {tokens} tokens that repeat {overlap}, expected fewer: use 128/32")
        return cls(tokens=tokens, overlap=overlap)

    def __str__(self) -> str:
        return f"{self.tokens}/{self.overlap}" if self.overlap else str(self.tokens)


def chunk_id(doc_id: str, number: int) -> str:
    """Return the id of a document's chunk; numbers start from 0."""
    return f"{doc_id}{_SEPARATOR}{number}"


def n_documents_of(passage_ids: Iterable[str]) -> int:
    """Return how many documents chunks are of; all chunks of each document are among them."""
    return sum(passage_id == chunk_id(document_of(passage_id), 0) for passage_id in passage_ids)


def document_of(passage_id: str) -> str:
    """Return the id of the document of a chunk."""
    return passage_id.rpartition(_SEPARATOR)[0]
