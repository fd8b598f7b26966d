"""First stage of a retrieval: encodes a batch of queries and searches, by meaning or by words too."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from elasticdenser.arrays import Positions, Scores, Vectors
from elasticdenser.index import PassageIndex
from elasticdenser.index.filters import Filter
from elasticdenser.retrieval.by_document import retrieve_documents
from elasticdenser.retrieval.escalation import N_COMPARED, Escalation, Retrieved, retrieve
from elasticdenser.retrieval.hybrid import search_hybrid
from elasticdenser.subnet import Subnet

if TYPE_CHECKING:
    from elasticdenser.encoders.query_encoder import ElasticQueryEncoder


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstStage:
    """First stage of a search, with all its settings; call it with a batch of queries.

    Args:
        encoder: Encodes the queries.
        index: The passages.
        subnet: Subnet that encodes all queries.
        n_retrieved: Hits for each query, at least 1.
        within: int64, (n,): positions of the passages to search; None is all.
        filter: Condition on the metadata of the passages; None in a search by words, which takes `within` alone.
        exact: Scan all vectors.
        recall: Search effort, as `PassageIndex.search` takes it.
        by_document: Retrieve enough chunks for `n_retrieved` documents.
        word_weight: Weight of words; None is search by meaning alone.
        escalation: Which queries are encoded and searched again; without effect in a search by words.
    """

    encoder: ElasticQueryEncoder
    index: PassageIndex
    subnet: Subnet
    n_retrieved: int
    within: Positions | None = None
    filter: Filter | None = None
    exact: bool = False
    recall: float | None = None
    by_document: bool = False
    word_weight: float | None = None
    escalation: Escalation | None = None

    def __call__(self, texts: list[str]) -> Retrieved:
        """Return the hits of a batch of queries; with `by_document` several may be chunks of one document."""
        found = retrieve(self.encoder, self.subnet, self._search, texts, self._escalation)
        if self.by_document:
            return found
        n = self.n_retrieved
        return found._replace(scores=found.scores[:, :n], positions=found.positions[:, :n])

    @property
    def _escalation(self) -> Escalation | None:
        return self.escalation if self.word_weight is None else None

    def _search(self, texts: list[str], vectors: Vectors) -> tuple[Scores, Positions]:
        """Return scores and positions of encoded queries, best first."""
        options: dict[str, Any] = {"within": self.within, "exact": self.exact, "recall": self.recall}
        if self.word_weight is None:
            one_search = partial(self.index.search, vectors, filter=self.filter, **options)
        else:
            one_search = partial(search_hybrid, self.index, texts, vectors, weight=self.word_weight, **options)
        n_searched = self.n_retrieved if self._escalation is None else max(self.n_retrieved, N_COMPARED)
        if self.by_document:
            return retrieve_documents(one_search, self.index, self.n_retrieved, n_least=n_searched)
        return one_search(k=n_searched)
