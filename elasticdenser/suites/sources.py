"""Data that a suite names: local files and folders, data sets of ir_datasets, and finished indexes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from elasticdenser.artifacts import sha256_of
from elasticdenser.datasets import Corpus, load_irds, open_corpus, register_dpr_questions
from elasticdenser.datasets.sources import is_dataset_id, resolve_sources
from elasticdenser.datasets.sqlite import is_sqlite_source, split_sqlite_source
from elasticdenser.errors import BadInputError, DataMissingError
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.index.layout import MANIFEST
from elasticdenser.suites.options import SuiteOptions
from elasticdenser.suites.suite import Suite


class DataSources:
    """Data of a suite on this machine. Question files of the suite are registered with ir_datasets.

    Args:
        suite: The suite.
        options: Options of the evaluation.

    Raises:
        BadInputError: A question file that the suite registers is damaged.
    """

    def __init__(self, suite: Suite, options: SuiteOptions) -> None:
        self._corpora = suite.corpora
        self._folder, self._download = options.data, options.download
        self._unregistered: dict[str, str] = {}
        for dataset_id, file in suite.register.items():
            path = options.data / file
            if path.exists():
                register_dpr_questions(dataset_id, path)
            else:
                self._unregistered[dataset_id] = self._missing(file)
        # Computing it reads all files of a corpus.
        self.corpus_fingerprint = cache(self._corpus_fingerprint)

    def resolve(self, source: str) -> str:
        """Return the path of a source in the data folder, or the source itself if it is an ir_datasets id.

        Of `sqlite:PATH?query=...`, the path is one in the data folder too.

        Raises:
            DataMissingError: It is neither.
        """
        path = self._folder / source
        if path.exists():
            return str(path)
        if is_sqlite_source(source):
            return self._resolved_sqlite(source)
        if source in self._unregistered:
            raise DataMissingError(f"{source}: {self._unregistered[source]}")
        message = self._missing(source)
        if not is_dataset_id(source):
            raise DataMissingError(message)
        try:
            load_irds(source)
        except DataMissingError as error:
            raise DataMissingError(f"{message} (it is not an ir_datasets id either)") from error
        return source

    def _resolved_sqlite(self, source: str) -> str:
        path = split_sqlite_source(source)[0]
        if not (self._folder / path).is_file():
            raise DataMissingError(self._missing(path))
        return source.replace(path, str(self._folder / path), 1)

    def open_corpus(self, corpus: str) -> Corpus:
        """Open a corpus of the suite.

        Raises:
            BadInputError: The suite gives a finished index instead of sources.
            DataMissingError: A source is not on this machine.
        """
        return open_corpus(self._resolved_sources(corpus), download=self._download)

    def finished_index(self, corpus: str) -> Path | None:
        """Return the folder of the finished index that the suite gives for a corpus; None if it gives sources.

        Raises:
            DataMissingError: The index is not on this machine.
        """
        name = self._corpora[corpus].index
        if not name:
            return None
        path = self._folder / name
        if not (path / MANIFEST).is_file():
            raise DataMissingError(self._missing(name))
        return path

    def run_file(self, name: str) -> Path:
        """Return the path of a finished run.

        Raises:
            DataMissingError: The run is not on this machine.
        """
        path = self._folder / name
        if not path.is_file():
            raise DataMissingError(self._missing(f"the run {name}"))
        return path

    def _corpus_fingerprint(self, corpus: str) -> str:
        """Return the SHA-256 over the sources of a corpus, or over the manifest of its finished index.

        A data set of ir_datasets is identified by its id and its size in bytes, as a local copy may be a part of it.
        """
        if index := self.finished_index(corpus):
            return sha256_of(index / MANIFEST)
        parts = resolve_sources(self._resolved_sources(corpus), "auto")
        return fingerprint_of(
            [
                [part.path, load_irds(part.path).docs_bytes()]
                if part.format == "irds"
                else [part.format, part.prefix or part.query, sha256_of(part.path)]
                for part in parts
            ]
        )

    def _resolved_sources(self, corpus: str) -> list[str]:
        sources = self._corpora[corpus].sources
        if not sources:
            raise BadInputError(f"corpora.{corpus} is a finished index, but BM25 needs texts: give 'sources' instead")
        return [self.resolve(source) for source in sources]

    def _missing(self, name: str) -> str:
        return f"{name} is missing in {self._folder}: put it there, or set the folder with --data DIR"
