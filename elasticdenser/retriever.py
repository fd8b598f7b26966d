"""Retriever: queries to hits. Encodes, searches, and names the documents."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Self

from ir_measures import ScoredDoc

from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.index.records import Positions
from elasticdenser.subnet import Subnet

Queries = str | Mapping[str, str] | Iterable[Any]

_BATCH = 32


class Retriever:
    """Searches an index with a query encoder; safe to use from several threads.

    Args:
        encoder: Encodes queries; its full size must be the encoder that made the index.
        index: The passages.

    Raises:
        EncoderMismatchError: The index was made by another encoder.
    """

    def __init__(self, encoder: ElasticQueryEncoder, index: PassageIndex) -> None:
        index.check_encoder(encoder.fingerprint)
        self.encoder, self.index = encoder, index

    @classmethod
    def open(cls, path: str | Path, *, encoder: str | None = None, download: bool = True, **options: Any) -> Self:
        """Open an index together with the encoder that made it.

        Args:
            path: The index folder.
            encoder: Folder or model id to use instead of the name in the index's manifest.
            download: Whether the hub may be asked for the encoder.
            options: `dtype` and `device` of the encoder.

        Raises:
            IndexFormatError: The index is missing or damaged.
            ModelError: The encoder is not found.
            EncoderMismatchError: It is not the one that made the index.
        """
        index = PassageIndex.open(path)
        made_by = index.manifest.encoder
        prompts = {name: getattr(made_by.settings, name) for name in ("query_prompt", "passage_prompt", "max_length")}
        loaded = ElasticQueryEncoder.from_pretrained(encoder or made_by.name, download=download, **prompts, **options)
        return cls(loaded, index)

    def search(
        self,
        queries: Queries,
        k: int = 10,
        *,
        subnet: str | Subnet | None = None,
        doc_ids: Collection[str] | None = None,
        exact: bool = False,
    ) -> Iterator[ScoredDoc]:
        """Search, streaming the hits query by query, best first.

        Args:
            queries: One string; or a mapping of query ids to texts; or an iterable of strings or of records with
                `query_id` and `text` (those of ir_datasets). Strings get the ids "0", "1", ...
            k: Hits a query, capped at the number of passages.
            subnet: Size of the encoder, such as `w1-d6`; None is the full size.
            doc_ids: Search only these documents, exactly.
            exact: Scan all vectors instead of using the index's structure.

        Yields:
            `ScoredDoc(query_id, doc_id, score)`, ties in the order of the index.

        Raises:
            QueryError: A query is empty, k is below 1, the subnet does not exist, or an id is unknown.
        """
        if k < 1:
            raise QueryError(f"got k = {k}; expected at least 1")
        within = None if doc_ids is None else self.index.positions(doc_ids)
        return self._search(_records(queries), k, subnet, within, exact)

    def _search(
        self,
        records: Iterator[tuple[str, str]],
        k: int,
        subnet: str | Subnet | None,
        within: Positions | None,
        exact: bool,
    ) -> Iterator[ScoredDoc]:
        while batch := list(islice(records, _BATCH)):
            vectors = self.encoder.encode([text for _, text in batch], subnet)
            scores, positions = self.index.search(vectors, k, within=within, exact=exact)
            for (query_id, _), its_scores, its_positions in zip(batch, scores, positions, strict=True):
                for score, position in zip(its_scores.tolist(), its_positions.tolist(), strict=True):
                    if position >= 0:
                        yield ScoredDoc(query_id, self.index.doc_ids[position], score)


def _records(queries: Queries) -> Iterator[tuple[str, str]]:
    if isinstance(queries, str):
        queries = [queries]
    if isinstance(queries, Mapping):
        yield from queries.items()
        return
    for number, query in enumerate(queries):
        if isinstance(query, str):
            yield str(number), query
        elif hasattr(query, "query_id"):
            text = getattr(query, "text", None)
            yield query.query_id, query.default_text() if text is None else text
        else:
            raise QueryError(
                f"query number {number + 1} is of type {type(query).__name__}; expected a string or a record with "
                "query_id and text"
            )
