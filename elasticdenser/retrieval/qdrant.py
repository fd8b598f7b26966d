"""Search of a Qdrant collection with elastic queries."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from elasticdenser.encoders.query_encoder import ElasticQueryEncoder
from elasticdenser.errors import EncoderMismatchError, QueryError
from elasticdenser.index.qdrant import DOC_ID, encoder_of, explained_qdrant_errors
from elasticdenser.query_input import Queries, checked_k, query_records
from elasticdenser.retrieval.encoder_choice import load_query_encoder
from elasticdenser.retrieval.hits import Hit
from elasticdenser.retrieval.scores import strictly_decreasing
from elasticdenser.subnet import Subnet

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.models import Filter, SearchParams

_BATCH = 32
"""Queries of one request to Qdrant."""


class QdrantRetriever:
    """Search of a collection that `elasticdenser export --to qdrant` made, with vectors of any subnet.

    Args:
        encoder: Encodes queries; its full subnet must be the encoder of the collection's passages.
        client: Client of Qdrant; `elasticdenser.index.qdrant.connect` makes one.
        collection: Name of the collection.

    Raises:
        BuildError: There is no such collection, or Qdrant cannot be reached.
        EncoderMismatchError: Another encoder made the collection.
    """

    def __init__(self, encoder: ElasticQueryEncoder, client: QdrantClient, collection: str) -> None:
        passages = encoder_of(client, collection)
        if passages is not None and (differences := passages.differences(encoder.fingerprint)):
            raise EncoderMismatchError(
                f"the collection {collection!r} was made by another encoder than {encoder.fingerprint.name} "
                f"(collection against encoder: {'; '.join(differences)}): search it with {passages.name}"
            )
        self.encoder, self.client, self.collection = encoder, client, collection

    @classmethod
    def open(cls, client: QdrantClient, collection: str, *, encoder: str | None = None, **options: Any) -> Self:
        """Load the encoder of a collection, with trained subnets if there are some, and return the retriever.

        Args:
            client: As for the class.
            collection: As for the class.
            encoder: Folder or model id to use instead of the one that the collection names.
            options: `dtype`, `device` and `download` of the encoder.

        Raises:
            BuildError: There is no such collection, or Qdrant cannot be reached.
            ModelError: The encoder is not found.
            EncoderMismatchError: Another encoder made the collection.
            QueryError: The collection does not name its encoder.
        """
        passages = encoder_of(client, collection)
        if passages is None:
            raise QueryError(
                f"the collection {collection!r} does not name its encoder: use QdrantRetriever(ElasticQueryEncoder."
                "from_pretrained(NAME), client, collection)"
            )
        return cls(load_query_encoder(passages, encoder, **options)[0], client, collection)

    def search(
        self,
        queries: Queries,
        k: int = 10,
        *,
        subnet: str | Subnet | None = None,
        query_filter: Filter | None = None,
        search_params: SearchParams | None = None,
    ) -> Iterator[Hit]:
        """Search, streaming the hits query by query, best first.

        Args:
            queries: As for `Retriever.search`.
            k: Hits for each query.
            subnet: Subnet of the encoder, such as `w0.5-d3` or `level0`; None is the full encoder.
            query_filter: Filter of Qdrant, on the fields `doc_id`, `title` and `text` or others that you have added.
            search_params: Parameters of Qdrant, such as `SearchParams(exact=True)`.

        Yields:
            As `Retriever.search` does, ties in Qdrant's order.

        Raises:
            QueryError: A query is empty, k is out of range, or the subnet does not exist.
            BuildError: Qdrant cannot be reached, or refuses.
        """
        k, resolved = checked_k(k), self.encoder.resolve_subnet(subnet)
        options = {"limit": k, "with_payload": [DOC_ID], "filter": query_filter, "params": search_params}
        return self._search(query_records(queries), resolved, options)

    def _search(self, records: Iterator[tuple[str, str]], subnet: Subnet, options: dict[str, Any]) -> Iterator[Hit]:
        from qdrant_client.models import QueryRequest

        while batch := list(islice(records, _BATCH)):
            vectors = self.encoder.encode([text for _, text in batch], subnet)
            requests = [QueryRequest(query=vector.tolist(), **options) for vector in vectors]
            with explained_qdrant_errors():
                responses = self.client.query_batch_points(self.collection, requests)
            for (query_id, _), response in zip(batch, responses, strict=True):
                scores = strictly_decreasing(np.array([point.score for point in response.points], np.float32))
                for point, score in zip(response.points, scores.tolist(), strict=True):
                    yield Hit(query_id, (point.payload or {}).get(DOC_ID, str(point.id)), score, subnet)
