"""BM25, the lexical baseline, by pyserini's Lucene: the extra `elasticdenser[pyserini]`.

An index is a folder with a manifest and the folder `lucene`, which pyserini and Anserini open as an index of their own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from ir_measures import ScoredDoc

from elasticdenser.datasets import as_corpus
from elasticdenser.datasets.in_memory import AnyCorpus
from elasticdenser.errors import BuildError, IndexFormatError, QueryError
from elasticdenser.index.locking import resolve_path
from elasticdenser.progress import Progress, silent
from elasticdenser.query_input import Queries, checked_k, query_records
from elasticdenser.retrieval.bm25_build import LUCENE, build_bm25
from elasticdenser.retrieval.bm25_manifest import Bm25Manifest
from elasticdenser.retrieval.lucene import file_sizes, open_searcher
from elasticdenser.retrieval.scores import strictly_decreasing


class Bm25Index:
    """BM25 index of passages, searched by the words that they share with a query; safe to use from several threads.

    Use `Bm25Index.open` or `Bm25Index.build`. Java starts with the first build or search of a process, which takes
    some seconds; pyserini takes some hundred MB of memory.

    Attributes:
        path: The folder.
        manifest: Description of the index.
    """

    def __init__(self, path: Path, manifest: Bm25Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._lock = Lock()
        self._searcher: Any = None

    @classmethod
    def open(cls, path: str | Path) -> Bm25Index:
        """Open an index; Java is not started yet.

        Args:
            path: Its folder.

        Raises:
            IndexFormatError: It is missing, damaged, or of another format.
        """
        path = Path(path)
        manifest = Bm25Manifest.read(path)
        sizes = file_sizes(path / LUCENE)
        damaged = sorted(name for name, size in manifest.files.items() if sizes.get(name) != size)
        if damaged or not manifest.files:
            damage = f"{damaged[0]} is missing or has another size" if damaged else "it has no files"
            raise IndexFormatError(f"{path} is damaged ({damage}): build it again with overwrite")
        return cls(path, manifest)

    @classmethod
    def build(
        cls,
        corpus: AnyCorpus,
        path: str | Path,
        *,
        threads: int = 1,
        overwrite: bool = False,
        progress: Progress = silent,
    ) -> Bm25Index:
        """Index the words of a corpus, and open the index; an index of the same content is left as it is.

        Title and text of a passage are indexed, as for an encoder. Lucene also stores both, separated by a line break,
        in the form that pyserini's tools for DPR expect.

        Args:
            corpus: What `PassageIndex.build` takes.
            path: The folder to create.
            threads: Threads of Lucene; the hits do not depend on them.
            overwrite: Replace a BM25 index of that name, once the new one is complete.
            progress: Called with (step, done, in all).

        Raises:
            BuildError: Something else is in that place, another build is running, or Lucene or the disk refuses.
            BadInputError: The corpus has a fault.
            MissingExtraError: pyserini or a Java for it is not installed.
        """
        if threads < 1:
            raise BuildError(f"got threads = {threads}, expected at least 1")
        path = resolve_path(Path(path))
        build_bm25(as_corpus(corpus), path, threads, overwrite, progress)
        return cls.open(path)

    def __repr__(self) -> str:
        return f"<Bm25Index {str(self.path)!r}: {len(self):,} passages>"

    def __len__(self) -> int:
        return self.manifest.n_passages

    def search(self, queries: Queries, k: int = 10, *, k1: float = 0.9, b: float = 0.4) -> Iterator[ScoredDoc]:
        """Search, streaming the hits query by query, best first.

        The score is BM25 (Robertson & Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009) as
        Lucene computes it, without the constant factor k1 + 1 and with lengths stored in one byte. Anserini rounds
        it to four decimals.

        Args:
            queries: One string; or a mapping of query ids to texts; or an iterable of strings or of records with
                `query_id` and `text` (those of ir_datasets). Strings get the ids "0", "1", ... A query is a bag
                of words: no character of it is an operator.
            k: Hits for each query, at most. A query has none if all of its words are stop words or not in the corpus.
            k1: Weight of repetitions of a word, from 0. The defaults of k1 and b are Anserini's.
            b: Strength of the length normalisation, from 0 to 1.

        Yields:
            `ScoredDoc(query_id, doc_id, score)`, ties by document id. Equal scores are made distinct by the least step
            of float32, so that every tool that sorts by score keeps this order.

        Raises:
            QueryError: A query is empty, k is below 1, or k1 or b is out of range. It is raised by the call itself; for
                a query of a stream, when the stream reaches it.
            IndexFormatError: Lucene finds the index damaged.
            MissingExtraError: pyserini or a Java for it is not installed.
        """
        k = checked_k(k)
        if not (math.isfinite(k1) and k1 >= 0):
            raise QueryError(f"got k1 = {k1}, expected a number from 0, such as 0.9")
        if not 0 <= b <= 1:
            raise QueryError(f"got b = {b}, expected a number from 0 to 1, such as 0.4")
        records = query_records(queries)
        with self._lock:
            self._open_searcher()
        return self._search(records, min(k, len(self)), k1, b)

    def text(self, doc_id: str) -> str:
        """Return the text of a passage, without its title, line breaks turned into spaces.

        Raises:
            KeyError: There is no such passage.
        """
        with self._lock:
            document = self._open_searcher().doc(doc_id)
        if document is None:
            raise KeyError(doc_id)
        return str(json.loads(document.raw())["contents"]).partition("\n")[2]

    def _open_searcher(self) -> Any:
        if self._searcher is None:
            self._searcher = open_searcher(self.path / LUCENE, len(self))
        return self._searcher

    def _search(self, records: Iterator[tuple[str, str]], k: int, k1: float, b: float) -> Iterator[ScoredDoc]:
        for query_id, text in records:
            # k1 and b are state of the searcher, which another thread must not change before this search is done.
            with self._lock:
                self._searcher.set_bm25(k1, b)
                hits = [(str(hit.docid), float(hit.score)) for hit in self._searcher.search(text, k=k)]
            scores = strictly_decreasing(np.array([score for _, score in hits], np.float32)).tolist()
            for (doc_id, _), score in zip(hits, scores, strict=True):
                yield ScoredDoc(query_id, doc_id, score)
