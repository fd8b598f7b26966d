"""Passages as frameworks take them: text, score and metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elasticdenser.retrieval.retriever import Retriever


@dataclass(frozen=True, slots=True)
class FoundPassage:
    """Hit with its passage.

    Attributes:
        doc_id: Id of the hit.
        text: Text of the passage, without its title.
        score: Score of the hit.
        metadata: Metadata of the passage, and its id and title under the names `doc_id` and `title`.
    """

    doc_id: str
    text: str
    score: float
    metadata: dict[str, Any]


def find_passages(retriever: Retriever, query: str, k: int, **options: Any) -> list[FoundPassage]:
    """Return the best passages for a query, best first.

    Args:
        retriever: The retriever, whose index has texts.
        query: The query.
        k: How many.
        options: Further options of `Retriever.search`, such as `subnet`, `filter` or `by_document`.

    Raises:
        QueryError: The query is empty, or an option is not valid.
        IndexFormatError: The index was built without texts.
    """
    found = []
    for hit in retriever.search(query, k, **options):
        passage = retriever.index.passage(hit.passage_id)
        metadata = {**(passage.metadata or {}), "doc_id": hit.doc_id, "title": passage.title}
        found.append(FoundPassage(doc_id=hit.doc_id, text=passage.text, score=hit.score, metadata=metadata))
    return found
