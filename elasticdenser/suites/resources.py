"""What a suite's systems search: corpora, encoders and indexes, made where they are missing, opened once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from elasticdenser.artifacts import sha256_of
from elasticdenser.datasets import (
    Corpus,
    load_answers,
    load_irds,
    load_qrels,
    load_queries,
    open_corpus,
    register_dpr_questions,
)
from elasticdenser.datasets.sources import is_dataset_id, resolve_sources
from elasticdenser.errors import BadInputError, DataMissingError
from elasticdenser.evaluation.measures import AnswerMatch, parse_measures
from elasticdenser.evaluation.query_sets import QuerySet
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.index.layout import MANIFEST
from elasticdenser.progress import Progress
from elasticdenser.retrieval.bm25 import Bm25Index
from elasticdenser.suites.encoders import encoder_of_passages
from elasticdenser.suites.mistyped_queries import mistyped, title_of
from elasticdenser.suites.reading import Suite
from elasticdenser.suites.settings import Bm25Settings, DenseSettings
from elasticdenser.suites.subnets import at_sizes

if TYPE_CHECKING:
    from elasticdenser.encoders import ElasticQueryEncoder
    from elasticdenser.index import PassageIndex


@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """What the suite file leaves to the caller.

    Args:
        data: Folder that names of local data in the suite start from.
        indexes: Where indexes are made and kept; None is `indexes` in the output folder.
        download: Let ir_datasets fetch what is missing.
        offline: Never ask the hub for an encoder.
        workers: Cores to encode passages on; None is all usable ones.
        device: Where passages are encoded.
        timed_queries: How many queries of each set are timed; 0 for none.
    """

    data: Path = Path()
    indexes: Path | None = None
    download: bool = False
    offline: bool = False
    workers: int | None = None
    device: str = "auto"
    timed_queries: int = 50


class Resources:
    """The corpora, encoders, indexes and query sets of a suite; `suite` has a system for each size then.

    Args:
        suite: What is wanted.
        indexes: Where indexes are made and kept.
        options: See there.
        progress: Called with (what, done, of how many).

    Raises:
        BadInputError: A question file to register is not as it should be, or an encoder lacks a size.
        ModelError: An encoder whose sizes are wanted is not found.
    """

    def __init__(self, suite: Suite, indexes: Path, options: SuiteOptions, progress: Progress) -> None:
        self.options = options
        self._indexes, self._progress = indexes, progress
        # Each is opened once: these hold files, weights and memory maps.
        self.query_encoder = cache(self._query_encoder)
        self.dense_index = cache(self._dense_index)
        self.bm25_index = cache(self._bm25_index)
        self.corpus_fingerprint = cache(self._corpus_fingerprint)
        self._unregistered: dict[str, str] = {}
        for dataset_id, file in suite.register.items():
            path = options.data / file
            if path.exists():
                register_dpr_questions(dataset_id, path)
            else:
                self._unregistered[dataset_id] = _absent(file, options.data)
        self.suite = at_sizes(suite, lambda encoder: self.query_encoder(encoder).subnets)

    def query_set(self, name: str) -> QuerySet:
        """Load queries with their judgements and answers; no index is needed yet.

        Raises:
            DataMissingError: Something is not on this machine.
            BadInputError: Something is not as it should be.
        """
        settings = self.suite.query_sets[name]
        source, split, download = self.resolve(settings.source), settings.split or None, self.options.download
        measures = parse_measures(settings.measures)
        of_answers = [measure for measure in measures if measure.NAME == AnswerMatch.NAME]
        queries = {query.query_id: query.text for query in load_queries(source, split=split, download=download)}
        return QuerySet(
            name=name,
            title=title_of(name, settings),
            queries=mistyped(queries, settings.typing_errors),
            qrels=load_qrels(source, split=split, download=download) if len(of_answers) < len(measures) else (),
            answers=load_answers(source, split=split, download=download) if of_answers else {},
            measures=settings.measures,
            regex=settings.regex,
            ignore_identical_ids=settings.ignore_identical_ids,
            k=settings.k or self.suite.k,
            text_of=lambda doc_id: self._text_of(settings.corpus)(doc_id),
            has_document=lambda doc_id: self._has_document(settings.corpus)(doc_id),
            typing_errors=settings.typing_errors,
            origin=fingerprint_of([settings.corpus, settings.source, settings.split]),
        )

    def n_passages(self, corpus: str) -> int | None:
        """Return how many passages a corpus has, where some system of the suite searches them."""
        dense = self._dense_settings()
        if dense is not None:
            return len(self.dense_index(corpus, dense.encoder))
        return len(self.bm25_index(corpus)) if self._has_bm25() else None

    def resolve(self, source: str) -> str:
        """Return a path below the data folder, or an ir_datasets id, or say what is missing.

        Raises:
            DataMissingError: It is neither.
        """
        path = self.options.data / source
        if path.exists():
            return str(path)
        if source in self._unregistered:
            raise DataMissingError(f"{source}: {self._unregistered[source]}")
        message = _absent(source, self.options.data)
        if not is_dataset_id(source):
            raise DataMissingError(message)
        try:
            load_irds(source)
        except DataMissingError as error:
            raise DataMissingError(f"{message} (it is no ir_datasets id either)") from error
        return source

    def _dense_settings(self) -> DenseSettings | None:
        return next((its for its in self.suite.systems.values() if isinstance(its, DenseSettings)), None)

    def _has_bm25(self) -> bool:
        return any(isinstance(its, Bm25Settings) for its in self.suite.systems.values())

    def _text_of(self, corpus: str) -> Callable[[str], str]:
        """Return what looks up texts: in the vectors' index where there is one, else in Lucene's."""
        dense = self._dense_settings()
        if dense is not None:
            return self.dense_index(corpus, dense.encoder).text
        if self._has_bm25():
            return self.bm25_index(corpus).text
        raise BadInputError("AnswerMatch needs texts: add a system of type dense or bm25, whose index holds them")

    def _has_document(self, corpus: str) -> Callable[[str], bool]:
        def has(doc_id: str) -> bool:
            try:
                text_of(doc_id)
            except KeyError:
                return False
            return True

        text_of = self._text_of(corpus)
        return has

    def _query_encoder(self, name: str) -> ElasticQueryEncoder:
        from elasticdenser.encoders import ElasticQueryEncoder
        from elasticdenser.models.locate import DEFAULT_MODEL

        return ElasticQueryEncoder.from_pretrained(
            # The reference: figures do not depend on what this machine's fastest arithmetic is.
            name or DEFAULT_MODEL,
            dtype="float32",
            download=not self.options.offline,
        )

    def _dense_index(self, corpus: str, encoder: str) -> PassageIndex:
        """Open the vectors of a corpus by an encoder, made now if they are not there."""
        from elasticdenser.encoders import PassageEncoder
        from elasticdenser.index import PassageIndex

        if given := self._given_index(corpus):
            return PassageIndex.open(given, encoder=self.query_encoder(encoder).fingerprint)
        fingerprint = encoder_of_passages(self.query_encoder(encoder))
        key = fingerprint_of([self.corpus_fingerprint(corpus), fingerprint.to_json()])
        path = self._indexes / f"{corpus}.{key[:12]}"
        if path.exists():
            return PassageIndex.open(path, encoder=fingerprint)
        passage_encoder = PassageEncoder.from_pretrained(
            fingerprint.name, download=not self.options.offline, device=self.options.device
        )
        progress = partial(_prefixed, self._progress, corpus)
        return PassageIndex.build(
            self._open(corpus), path, passage_encoder, workers=self.options.workers, progress=progress
        )

    def _bm25_index(self, corpus: str) -> Bm25Index:
        """Open the Lucene index of a corpus, made now if it is not there."""
        path = self._indexes / f"{corpus}.bm25.{self.corpus_fingerprint(corpus)[:12]}"
        if path.exists():
            return Bm25Index.open(path)
        return Bm25Index.build(
            self._open(corpus), path, progress=partial(_prefixed, self._progress, f"{corpus} (bm25)")
        )

    def _given_index(self, corpus: str) -> Path | None:
        """Return the finished index that the suite names for a corpus, if it does."""
        name = self.suite.corpora[corpus].index
        if not name:
            return None
        path = self.options.data / name
        if not (path / MANIFEST).is_file():
            raise DataMissingError(_absent(name, self.options.data))
        return path

    def _open(self, corpus: str) -> Corpus:
        sources = [self.resolve(source) for source in self._sources(corpus)]
        return open_corpus(sources, download=self.options.download)

    def _sources(self, corpus: str) -> tuple[str, ...]:
        settings = self.suite.corpora[corpus]
        if not settings.sources:
            raise BadInputError(f"corpora.{corpus} is a finished index, but BM25 needs texts: give 'sources' instead")
        return settings.sources

    def _corpus_fingerprint(self, corpus: str) -> str:
        """Return the SHA-256 over what a corpus is read from, or over the manifest of a finished index.

        A data set of ir_datasets is known by its id and, as a local copy may be a part of it, by its size.
        """
        if given := self._given_index(corpus):
            return sha256_of(given / MANIFEST)
        parts = resolve_sources([self.resolve(source) for source in self._sources(corpus)], "auto")
        return fingerprint_of(
            [
                [part.path, load_irds(part.path).docs_bytes()]
                if part.format == "irds"
                else [part.format, part.prefix, sha256_of(part.path)]
                for part in parts
            ]
        )


def _absent(name: str, folder: Path) -> str:
    return f"{name} is missing in {folder}: put it there, or give --data DIR"


def _prefixed(progress: Progress, name: str, what: str, done: int, total: int) -> None:
    progress(f"{name}: {what}", done, total)
