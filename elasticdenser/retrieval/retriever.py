"""Retriever: queries to hits. Encodes, searches, and names the documents."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from functools import partial
from itertools import compress, islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from ir_measures import ScoredDoc

from elasticdenser.arrays import Positions, Scores, Vectors
from elasticdenser.encoders.query_encoder import ElasticQueryEncoder
from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.index.efforts import pick
from elasticdenser.models.locate import shipped_elastic
from elasticdenser.models.manifest import is_elastic
from elasticdenser.query_input import Queries, query_records, strictly_falling
from elasticdenser.subnet import Subnet

Find = Callable[[Vectors], tuple[Scores, Positions]]

_BATCH = 32


class Hit(ScoredDoc):  # type: ignore[misc]  # ir_measures is not typed
    """A `ScoredDoc` of ir_measures, (query_id, doc_id, score), that also says which size of the encoder answered.

    Attributes:
        subnet: The size.
    """

    subnet: Subnet

    def __new__(cls, query_id: str, doc_id: str, score: float, subnet: Subnet) -> Self:
        """Make a hit of its four values."""
        hit: Self = tuple.__new__(cls, (query_id, doc_id, score))  # the shortest way: many are made
        hit.subnet = subnet
        return hit

    def __getnewargs__(self) -> tuple[Any, ...]:
        # What copies and pickles are made of.
        return (*self, self.subnet)

    def _replace(self, **changes: Any) -> Hit:
        subnet = changes.pop("subnet", self.subnet)
        return Hit(*super()._replace(**changes), subnet)


class Retriever:
    """Searches an index with a query encoder; safe to use from several threads.

    Args:
        encoder: Encodes queries; its full size must be the encoder that made the index.
        index: The passages.

    Attributes:
        opener: Opens the same once more, in another process, too; None unless `open` made this one.

    Raises:
        EncoderMismatchError: The index was made by another encoder.
    """

    def __init__(self, encoder: ElasticQueryEncoder, index: PassageIndex) -> None:
        index.check_encoder(encoder.fingerprint)
        self.encoder, self.index = encoder, index
        self.opener: Callable[[], Retriever] | None = None

    @classmethod
    def open(cls, path: str | Path, *, encoder: str | None = None, download: bool = True, **options: Any) -> Self:
        """Open an index together with the encoder that made it: as an elastic one, where this package has its sizes.

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
        settings = asdict(made_by.settings)
        del settings["dim"]
        # The index's own encoder, where it has sizes; else this package's sizes of it, where it has them.
        own = made_by.name if is_elastic(Path(made_by.name).expanduser()) else None
        name = encoder or own or shipped_elastic(made_by.weights_sha256) or made_by.name
        loaded = ElasticQueryEncoder.from_pretrained(name, download=download, **settings, **options)
        made = cls(loaded, index)
        made.opener = partial(cls.open, Path(path).absolute(), encoder=name, download=download, **options)
        return made

    def search(
        self,
        queries: Queries,
        k: int = 10,
        *,
        subnet: str | Subnet | None = None,
        doc_ids: Collection[str] | None = None,
        exact: bool = False,
        recall: float | None = None,
    ) -> Iterator[Hit]:
        """Search, streaming the hits query by query, best first.

        Args:
            queries: One string; or a mapping of query ids to texts; or an iterable of strings or of records with
                `query_id` and `text` (those of ir_datasets). Strings get the ids "0", "1", ...
            k: Hits a query, capped at the number of passages.
            subnet: Size of the encoder, such as `w0.5-d3` or `level0`; None is the full size.
            doc_ids: Search only these documents, exactly.
            exact: Scan all vectors instead of using the index's structure.
            recall: Search the structure with the least effort of such a recall@10, such as 0.98, which takes less
                time; None is the greatest effort. See `PassageIndex.search`.

        Yields:
            A `Hit`, which is a `ScoredDoc(query_id, doc_id, score)` with the `subnet` that answered; ties in the order
            of the index. Equal scores are told apart by the least step of float32, so that whoever sorts by score
            keeps this order.

        Raises:
            QueryError: A query is empty, k or recall is out of range, the subnet does not exist, or an id is unknown.
                It is raised by the call itself; for a query of a stream, when its turn comes.
        """
        if k < 1:
            raise QueryError(f"got k = {k}; expected at least 1")
        size = self.encoder.resolve_subnet(subnet)
        if isinstance(doc_ids, str):
            raise QueryError(f"got doc_ids = {doc_ids!r}; expected a collection of document ids, such as [{doc_ids!r}]")
        within = None if doc_ids is None else self.index.positions(doc_ids)
        pick(self.index.manifest.structure.efforts, recall)  # refuses what is out of range, now
        find = partial(self.index.search, k=k, within=within, exact=exact, recall=recall)
        return self._search(query_records(queries), size, find)

    def _search(self, records: Iterator[tuple[str, str]], size: Subnet, find: Find) -> Iterator[Hit]:
        while batch := list(islice(records, _BATCH)):
            vectors = self.encoder.encode([text for _, text in batch], size)
            yield from self._hits([query_id for query_id, _ in batch], *find(vectors), size)

    def _hits(self, query_ids: list[str], scores: Scores, positions: Positions, size: Subnet) -> Iterator[Hit]:
        """Name what was found for a batch of queries: (n_queries, k) each."""
        if not (scores[:, 1:] < scores[:, :-1]).all():
            scores = np.stack([strictly_falling(its) for its in scores])
        found = positions >= 0
        doc_ids = iter(self.index.doc_ids.at(positions[found]))
        for query_id, its_scores, are_found in zip(query_ids, scores.tolist(), found.tolist(), strict=True):
            for score in compress(its_scores, are_found):
                yield Hit(query_id, next(doc_ids), score, size)
