"""Retriever: an encoder, an index, and the settings of searches, which `hit_stream` carries out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from elasticdenser.encoders.query_encoder import ElasticQueryEncoder
from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.index.efforts import select_effort
from elasticdenser.index.filters import AnyFilter
from elasticdenser.query_input import Queries, checked_k, query_records
from elasticdenser.rankers import AnyRanker, Ranker
from elasticdenser.retrieval.by_document import check_has_documents
from elasticdenser.retrieval.encoder_choice import is_same_encoder, load_query_encoder
from elasticdenser.retrieval.escalation import Escalation
from elasticdenser.retrieval.first_stage import FirstStage
from elasticdenser.retrieval.hit_stream import stream_hits
from elasticdenser.retrieval.hits import Hit
from elasticdenser.retrieval.hybrid import Hybrid, weight_of, words_of
from elasticdenser.retrieval.reranking import NO_RERANKER, ElasticReranker, Reranker, make_reranker, needs_ranker
from elasticdenser.retrieval.snippets import Snippet, make_snippets
from elasticdenser.retrieval.token_vectors import load_ranker_for
from elasticdenser.subnet import Subnet


class Retriever:
    """Search in an index with a query encoder, and optionally a reranker; safe to use from several threads.

    Args:
        encoder: Encodes queries; its full subnet must be the encoder that made the index.
        index: The passages.
        reranker: Second stage that gives the best hits a new order: a `Reranker`, or a spelling such as `mmr:0.7`, or
            `50:w0.5-d3` for 50 candidates by this subnet of the ranker.
        ranker: Ranker of spellings, here and in `search`, or its folder; None is the one that comes with this package.
            Without `reranker` it reranks 50 candidates by its largest subnet.
        hybrid: Search by words too: True, or the weight of words from 0 to 1; the index needs postings.

    Attributes:
        word_weight: Weight of words in a search that says nothing else; None for search by meaning alone.
        opener: Opens the same retriever again, also in another process; None if it was not opened by `open`.

    Raises:
        EncoderMismatchError: The index was made by another encoder.
        ModelError: There is no such ranker.
        QueryError: There is no such reranker, the index lacks what it needs, or postings, or an argument is something
            else.
    """

    def __init__(
        self,
        encoder: ElasticQueryEncoder,
        index: PassageIndex,
        *,
        reranker: Reranker | str | None = None,
        ranker: AnyRanker | str | Path | None = None,
        hybrid: Hybrid = None,
    ) -> None:
        _check_parts(encoder, index)
        index.check_encoder(encoder.fingerprint)
        self.encoder, self.index = encoder, index
        if isinstance(ranker, str | Path):
            ranker = load_ranker_for(index.path, ranker, query_encoder=encoder)
        self.ranker = ranker
        if not isinstance(self.ranker, Ranker | None):
            raise QueryError(f"got the ranker {ranker!r}, expected the folder of one, or what load_ranker returns")
        if reranker is None:
            reranker = NO_RERANKER if self.ranker is None else ElasticReranker(self.ranker)
        elif isinstance(reranker, ElasticReranker) and self.ranker is None:
            self.ranker = reranker.ranker
        self.reranker = self._resolve_reranker(reranker)
        self.word_weight: float | None = None
        self.word_weight = self._resolve_hybrid(False if hybrid is None else hybrid)
        self.opener: Callable[[], Retriever] | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: str | Path | None = None,
        download: bool = True,
        reranker: Reranker | str | None = None,
        ranker: AnyRanker | str | Path | None = None,
        hybrid: Hybrid = None,
        beside: Collection[Retriever] = (),
        open_index: Callable[[Path], PassageIndex] | None = None,
        **options: Any,
    ) -> Self:
        """Open an index and the encoder that made it, with trained subnets if the encoder or this package has them.

        Where the trained subnets do not serve the index, because it was made with another pooling, say, a warning says
        so, and queries are encoded by the full encoder alone.

        Args:
            path: The index folder.
            encoder: Folder or model id to use instead of the name in the index's manifest.
            download: Whether the encoder may be downloaded from the hub.
            reranker: As for the class.
            ranker: As for the class; a folder is loaded on the encoder's device.
            hybrid: As for the class.
            beside: Retrievers that were opened with the same arguments for other indexes; the encoder of one of them
                is shared if it would be loaded again.
            open_index: Opens the index instead of `PassageIndex.open`; no other process can then open the retriever.
            options: `dtype` and `device` of the encoder.

        Raises:
            IndexFormatError: The index is missing or damaged.
            ModelError: The encoder or the ranker is not found.
            EncoderMismatchError: The encoder is not the one that made the index.
            QueryError: There is no such reranker, or the index lacks what it needs.
        """
        index = PassageIndex.open(path) if open_index is None else open_index(Path(path))
        same = (other for other in beside if is_same_encoder(other.index.manifest.encoder, index.manifest.encoder))
        if (other := next(same, None)) is not None and isinstance(other.opener, partial):
            query_encoder, name = other.encoder, other.opener.keywords["encoder"]
        else:
            query_encoder, name = load_query_encoder(index.manifest.encoder, encoder, download=download, **options)
        loaded = ranker
        if isinstance(ranker, str | Path):
            # Opened again, the ranker shares the encoder that is opened again: a pickled one would have its own.
            ranker = Path(ranker).expanduser().absolute()
            loaded = load_ranker_for(path, ranker, device=options.get("device", "auto"), query_encoder=query_encoder)
        retriever = cls(query_encoder, index, reranker=reranker, ranker=loaded, hybrid=hybrid)
        again: dict[str, Any] = {
            "encoder": name,
            "download": download,
            "reranker": reranker,
            "ranker": ranker,
            "hybrid": hybrid,
        }
        again |= options
        if open_index is None:
            retriever.opener = partial(cls.open, Path(path).absolute(), **again)
        return retriever

    def __repr__(self) -> str:
        reranker = "" if self.reranker is None else f", reranker {self.reranker}"
        return f"<Retriever: {self.index!r}, encoder {self.encoder.fingerprint.name}{reranker}>"

    def __reduce__(self) -> tuple[Callable[[], Retriever], tuple[()]]:
        # Pickled by path: index and encoder are opened again.
        if self.opener is None:
            raise TypeError(
                "this Retriever cannot be pickled, because it was made of objects that only this process has: open it "
                "with Retriever.open(path)"
            )
        return self.opener, ()

    def refresh(self) -> Self:
        """Return a retriever of the newest generation of the index, with the same encoder; see `PassageIndex.refresh`.

        Raises:
            IndexFormatError: The index is missing, damaged, or of a newer format.
            EncoderMismatchError: It was replaced by one of another encoder.
            QueryError: This retriever searches by words, and the index has lost them.
        """
        index = self.index.refresh()
        if index is self.index:
            return self
        index.check_encoder(self.encoder.fingerprint)
        if self.reranker is not None:
            self.reranker.check_index(index)
        if self.word_weight is not None:
            words_of(index)
        retriever = object.__new__(type(self))  # `copy` would open the encoder again, as for a pickle
        retriever.__dict__.update(self.__dict__, index=index)
        return retriever

    def search(
        self,
        queries: Queries,
        k: int = 10,
        *,
        subnet: str | Subnet | None = None,
        doc_ids: Collection[str | int] | None = None,
        filter: AnyFilter | None = None,
        exact: bool = False,
        recall: float | None = None,
        reranker: Reranker | str | None = None,
        by_document: bool = False,
        hybrid: Hybrid = None,
        escalation: Escalation | str | None = None,
    ) -> Iterator[Hit]:
        """Search, streaming the hits query by query, best first.

        Args:
            queries: One string; or a mapping of query ids to texts; or an iterable of strings or of records with
                `query_id` and `text` (those of ir_datasets). Strings get the ids "0", "1", ...
            k: Hits for each query, capped at the number of passages.
            subnet: Subnet of the encoder, such as `w0.5-d3` or `level0`; None is the full encoder.
            doc_ids: Search only these documents, exactly; in an index of chunks, ids of documents or chunks. An integer
                is taken as its text.
            filter: Search only passages whose metadata meets it, such as `section = 'ops' and date >= '2026-01-01'`, or
                its form in JSON. There are always k hits if as many passages meet it.
            exact: Scan all vectors instead of using the index's search structure.
            recall: Search with the least effort that reaches such a recall@10, such as 0.98, which takes less time;
                None is the greatest effort. See `PassageIndex.search`.
            reranker: For this call, instead of the retriever's own; `none` is no reranker.
            by_document: Rank the documents of an index of chunks, each by its best chunk: `doc_id` is then the
                document's id, and `passage_id` that of the chunk.
            hybrid: Search by words too: True, or the weight of words from 0 to 1; False is meaning alone, None as the
                retriever was made, whose weight True takes too. Scores are then those of `search_hybrid`.
            escalation: Encode and search again by a larger subnet where the best hits score nearly alike, such as
                `0.08:w1-d6`; without effect in a search by words too, whose scores are of another kind.

        Yields:
            A `Hit`, which is a `ScoredDoc(query_id, doc_id, score)`, with the `subnet` that encoded the query; ties in
            the order of the index. Equal scores are made distinct by the least step of float32, so that every tool
            that sorts by score keeps this order. With a reranker, scores are on its scale.

        Raises:
            QueryError: A query is empty, k or recall is out of range, a subnet, reranker or id does not exist, or the
                filter does not fit the index. It is raised by the call itself; for a query of a stream, when the stream
                reaches it.
        """
        k = checked_k(k)
        if by_document:
            check_has_documents(self.index)
        subnet = self.encoder.resolve_subnet(subnet)
        second_stage = self._resolve_reranker(reranker)
        within = None if doc_ids is None else self.index.positions(doc_ids)
        filter = None if filter is None else self.index.check_filter(filter)
        select_effort(self.index.manifest.structure.efforts, recall)  # so that the call itself refuses a wrong recall
        weight = self._resolve_hybrid(hybrid)
        if escalation is not None:
            escalation = Escalation.parse(escalation, self.encoder)
        if weight is not None and filter is not None:
            # Words are counted for any passages, but for a filter only exactly.
            matching = self.index.matches(filter).positions
            within, filter = matching if within is None else np.intersect1d(within, matching), None
        first_stage = FirstStage(
            encoder=self.encoder,
            index=self.index,
            subnet=subnet,
            n_retrieved=k if second_stage is None else max(k, second_stage.n_candidates),
            within=within,
            filter=filter,
            exact=exact,
            recall=recall,
            by_document=by_document,
            word_weight=weight,
            escalation=escalation,
        )
        return stream_hits(query_records(queries), k, first_stage, second_stage)

    def snippets(self, query: str, hits: Iterable[Hit]) -> list[Snippet]:
        """Return the sentence of each hit that matches the query best, by the full encoder.

        Args:
            query: The query.
            hits: Hits of this retriever's index.

        Raises:
            IndexFormatError: The index was built without texts.
        """
        texts = [self.index.passage(hit.passage_id).text for hit in hits]
        return make_snippets(self.encoder, self.index, query, texts)

    def load_ranker(self) -> AnyRanker:
        """Return the ranker; where none was given, that of this package, which is loaded once.

        Raises:
            ModelError: None was given, and that of this package cannot be used here.
        """
        if self.ranker is None:
            self.ranker = load_ranker_for(self.index.path, query_encoder=self.encoder)
        return self.ranker

    def _resolve_reranker(self, reranker: Reranker | str | None) -> Reranker | None:
        """Return a reranker, given as an object or a spelling; None is the retriever's own."""
        if reranker is None:
            return self.reranker
        if needs_ranker(reranker):
            self.load_ranker()
        resolved = make_reranker(reranker, self.ranker) if isinstance(reranker, str) else reranker
        if not isinstance(resolved, Reranker | None):
            message = f"got reranker {reranker!r}, expected a Reranker, or a spelling such as 'mmr:0.7' or '50:w0.5-d3'"
            raise QueryError(message)
        if resolved is not None:
            resolved.check_index(self.index)
        return resolved

    def _resolve_hybrid(self, hybrid: Hybrid) -> float | None:
        """Return the weight of words; None for search by meaning alone."""
        if hybrid is None or (hybrid is True and self.word_weight is not None):
            return self.word_weight
        weight = weight_of(hybrid)
        if weight is not None:
            words_of(self.index)
        return weight


def _check_parts(encoder: object, index: object) -> None:
    """Refuse what is no encoder of queries, or no index.

    Raises:
        QueryError: One of them is something else.
    """
    if not isinstance(encoder, ElasticQueryEncoder):
        raise QueryError(f"got {encoder!r} to encode queries, expected an ElasticQueryEncoder")
    if not isinstance(index, PassageIndex):
        raise QueryError(f"got the index {index!r}, expected a PassageIndex: open its folder by Retriever.open")
