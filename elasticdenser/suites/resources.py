"""Resources that the systems of a suite share: query sets, encoders and indexes, built if missing and opened once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from elasticdenser.datasets import load_answers, load_qrels, load_queries
from elasticdenser.datasets.collected_texts import CollectedTexts, collect_texts
from elasticdenser.encoders.precision import dtype_of
from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import AnswerMatch, QuerySet, parse_measures
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.progress import Progress
from elasticdenser.retrieval.bm25 import Bm25Index
from elasticdenser.retrieval.reranking.runs import IndexTexts
from elasticdenser.suites.encoders import passage_encoder_fingerprint
from elasticdenser.suites.options import SuiteOptions
from elasticdenser.suites.perturbed_queries import perturbed_queries, query_set_title
from elasticdenser.suites.settings import Bm25Settings, DenseSettings
from elasticdenser.suites.sources import DataSources
from elasticdenser.suites.suite import Suite

if TYPE_CHECKING:
    from elasticdenser.encoders import ElasticQueryEncoder
    from elasticdenser.index import PassageIndex
    from elasticdenser.models.activation_cache import ActivationCache
    from elasticdenser.rankers import AnyRanker

_FINGERPRINT_LENGTH = 12
"""Characters of a fingerprint in the name of an index folder."""


class Resources:
    """Query sets, encoders and indexes of a suite.

    Args:
        suite: The suite, as it was read.
        indexes: Folder for indexes.
        options: Options of the evaluation.
        progress: Called with (activity, done, total).

    Attributes:
        progress: As given.
        suite: The suite with a system for each subnet.
        sources: Data of the suite on this machine.

    Raises:
        BadInputError: A question file to register is damaged, or an encoder lacks a subnet.
        ModelError: An encoder of a system with several subnets is not found.
    """

    def __init__(self, suite: Suite, indexes: Path, options: SuiteOptions, progress: Progress) -> None:
        self.options, self._suite = options, suite
        self._indexes, self.progress = indexes, progress
        self._token_vectors: list[ActivationCache] = []
        # Opened once each: encoders hold weights, indexes hold open files and memory maps.
        self.query_set = cache(self._query_set)
        self.ranker = cache(self._ranker)
        self.texts = cache(self._texts)
        self.query_encoder = cache(self._query_encoder)
        self.dense_index = cache(self._dense_index)
        self.bm25_index = cache(self._bm25_index)
        self.sources = DataSources(suite, options)
        self.suite = suite.expanded(lambda encoder: self._encoder_of(encoder).subnets)

    def _query_set(self, name: str) -> QuerySet:
        """Load queries with their judgements and answers; indexes are opened only when texts are needed.

        Raises:
            DataMissingError: A data set is not on this machine.
            BadInputError: A file is damaged, or a measure cannot be computed.
        """
        settings = self.suite.query_sets[name]
        source, split = self.sources.resolve(settings.source), settings.split or None
        download = self.options.download
        measures = parse_measures(settings.measures)
        answer_measures = [measure for measure in measures if measure.NAME == AnswerMatch.NAME]
        needs_qrels = len(answer_measures) < len(measures)
        queries = {query.query_id: query.text for query in load_queries(source, split=split, download=download)}
        return QuerySet(
            name=name,
            title=query_set_title(name, settings),
            queries=perturbed_queries(queries, settings),
            qrels=load_qrels(source, split=split, download=download) if needs_qrels else (),
            answers=load_answers(source, split=split, download=download) if answer_measures else {},
            measures=settings.measures,
            regex=settings.regex,
            ignore_identical_ids=settings.ignore_identical_ids,
            k=settings.k or self.suite.k,
            # Functions, because texts need an index, which may not be built yet.
            text_of=lambda doc_id: self._text_of(settings.corpus)(doc_id),
            has_document=lambda doc_id: self._has_document(settings.corpus, doc_id),
            typing_errors=settings.typing_errors,
            perturbation=settings.perturbation,
            origin=fingerprint_of([settings.corpus, settings.source, settings.split]),
        )

    def flush(self) -> None:
        """Write the vectors of tokens that are not on the disk yet.

        Raises:
            BuildError: The disk refuses.
        """
        for token_vectors in self._token_vectors:
            token_vectors.flush()

    def n_passages(self, corpus: str) -> int | None:
        """Return the number of passages in a corpus; None if no system of the suite searches it."""
        dense = self._dense_settings()
        if dense is not None:
            return len(self.dense_index(corpus, dense.encoder))
        return len(self.bm25_index(corpus)) if self._has_bm25() else None

    def _is_hybrid(self) -> bool:
        systems = self.suite.systems.values()
        return any(isinstance(settings, DenseSettings) and settings.word_weight is not None for settings in systems)

    def _dense_settings(self) -> DenseSettings | None:
        return next((settings for settings in self.suite.systems.values() if isinstance(settings, DenseSettings)), None)

    def _has_bm25(self) -> bool:
        return any(isinstance(settings, Bm25Settings) for settings in self.suite.systems.values())

    def _text_of(self, corpus: str) -> Callable[[str], str]:
        """Return a function from document id to text, of the index of vectors if there is one, otherwise of Lucene."""
        dense = self._dense_settings()
        if dense is not None:
            return self.dense_index(corpus, dense.encoder).text
        if self._has_bm25():
            return self.bm25_index(corpus).text
        raise BadInputError("AnswerMatch needs texts: add a system of type dense or bm25, whose index contains them")

    def _has_document(self, corpus: str, doc_id: str) -> bool:
        if self._dense_settings() is None and not self._has_bm25():
            return doc_id in self.texts(corpus)
        try:
            self._text_of(corpus)(doc_id)
        except KeyError:
            return False
        return True

    def _encoder_of(self, name: str) -> ElasticQueryEncoder:
        """Return an encoder of any precision: of the first system that uses it, so that it is loaded only once."""
        dense = [system for system in self._suite.systems.values() if isinstance(system, DenseSettings)]
        precisions = (system.precision for system in dense if system.encoder == name)
        return self.query_encoder(
            name, next(precisions, dense[0].precision)
        )  # systems may leave out the default encoder

    def _query_encoder(self, name: str, precision: str) -> ElasticQueryEncoder:
        from elasticdenser.encoders import ElasticQueryEncoder
        from elasticdenser.models.locate import DEFAULT_MODEL

        return ElasticQueryEncoder.from_pretrained(
            name or DEFAULT_MODEL,
            dtype=dtype_of(precision),
            download=not self.options.offline,
        )

    def _ranker(self, folder: str) -> AnyRanker:
        from elasticdenser.models.ranker_manifest import is_late_interaction
        from elasticdenser.models.shipped_ranker import shipped_ranker
        from elasticdenser.rankers import LateInteractionRanker, load_ranker
        from elasticdenser.rankers.late_interaction import MAX_BYTES

        path = Path(folder) if folder else shipped_ranker()
        if is_late_interaction(path):
            stored = self._indexes / "token-vectors"
            ranker = LateInteractionRanker.from_pretrained(path, token_vectors=stored, max_bytes=MAX_BYTES)
            self._token_vectors.append(ranker.stored_vectors)
            return ranker
        return load_ranker(path)

    def _texts(self, corpus: str) -> IndexTexts | CollectedTexts:
        """Return the texts of a corpus with their titles, as rankers read them."""
        dense = self._dense_settings()
        if dense is not None:
            return IndexTexts(self.dense_index(corpus, dense.encoder))
        if finished := self.sources.finished_index(corpus):
            from elasticdenser.index import PassageIndex

            return IndexTexts(PassageIndex.open(finished))
        return collect_texts(
            self.sources.open_corpus(corpus), progress=partial(_report_prefixed, self.progress, corpus)
        )

    def _dense_index(self, corpus: str, encoder: str) -> PassageIndex:
        """Open the vectors of a corpus from an encoder; build them if they do not exist."""
        from elasticdenser.encoders import PassageEncoder
        from elasticdenser.index import PassageIndex, rebuild

        if finished := self.sources.finished_index(corpus):
            return PassageIndex.open(finished, encoder=self._encoder_of(encoder).fingerprint)
        # The arithmetic of the queries is no part of it: the index is the same.
        fingerprint = replace(passage_encoder_fingerprint(self._encoder_of(encoder)), dtype="float32")
        key = fingerprint_of([self.sources.corpus_fingerprint(corpus), fingerprint.to_json()])
        path = self._indexes / f"{corpus}.{key[:_FINGERPRINT_LENGTH]}"
        progress = partial(_report_prefixed, self.progress, corpus)
        if path.exists():
            index = PassageIndex.open(path, encoder=fingerprint)
            return rebuild(path, hybrid=True, progress=progress) if self._is_hybrid() and not index.lexical else index
        passage_encoder = PassageEncoder.from_pretrained(
            fingerprint.name, download=not self.options.offline, device=self.options.device
        )
        return PassageIndex.build(
            self.sources.open_corpus(corpus),
            path,
            passage_encoder,
            workers=self.options.workers,
            hybrid=self._is_hybrid(),
            progress=progress,
        )

    def _bm25_index(self, corpus: str) -> Bm25Index:
        """Open the Lucene index of a corpus; build it if it does not exist."""
        path = self._indexes / f"{corpus}.bm25.{self.sources.corpus_fingerprint(corpus)[:_FINGERPRINT_LENGTH]}"
        if path.exists():
            return Bm25Index.open(path)
        progress = partial(_report_prefixed, self.progress, f"{corpus} (bm25)")
        return Bm25Index.build(self.sources.open_corpus(corpus), path, progress=progress)


def _report_prefixed(progress: Progress, prefix: str, activity: str, done: int, total: int) -> None:
    progress(f"{prefix}: {activity}", done, total)
