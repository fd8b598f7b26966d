"""Queries made from the passages of an index, for users who have no queries."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from random import Random
from typing import TYPE_CHECKING

from elasticdenser.errors import QueryError

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Retriever

_WORDS = 8
"""Words in a query: about as many as in a typical question of Natural Questions or MS MARCO."""
_SPECIAL_TOKENS = 2
"""Tokens that the tokenizer adds to each text, [CLS] and [SEP]."""


def sample_queries(retriever: Retriever, n: int = 200, seed: int = 0) -> list[str]:
    """Return the first words of random passages of the index.

    Raises:
        QueryError: The index holds no texts.
    """
    index = retriever.index
    if not index.has_texts:
        raise QueryError("the index holds no texts to make queries of: give a file of queries (--queries)")
    positions = Random(seed).sample(range(len(index)), min(n, len(index)))
    queries = (" ".join(index.passage_at(position).text.split()[:_WORDS]) for position in sorted(positions))
    return [query for query in queries if query] or ["a query"]


def text_of_length(queries: Sequence[str], tokens: int) -> str:
    """Return words of the queries that together have about as many tokens, counting the special ones."""
    words = cycle(" ".join(queries).split())
    return " ".join(islice(words, max(1, tokens - _SPECIAL_TOKENS)))
