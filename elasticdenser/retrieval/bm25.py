"""BM25, the lexical baseline, through pyserini's Lucene: the extra `elasticdenser[pyserini]`.

An index `NAME` holds a manifest and, in `lucene/`, what pyserini and Anserini open as they would one of their
own. It is built in `NAME.bm25-building`, which takes the name when it is complete; nothing of a killed build is
used again.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from ir_measures import ScoredDoc

from elasticdenser.artifacts import explained_os_errors, write_json
from elasticdenser.datasets import Corpus, CorpusScan, open_corpus, scan_corpus, unique_passages
from elasticdenser.errors import BadInputError, BuildError, IndexFormatError, QueryError
from elasticdenser.index.layout import MANIFEST, replaced_folder
from elasticdenser.index.locking import only_builder, recover, settled, swap_in
from elasticdenser.progress import Progress, silent
from elasticdenser.query_input import Queries, query_records, strictly_falling
from elasticdenser.retrieval.lucene import (
    ANALYZER,
    FORMAT,
    LUCENE,
    Bm25Manifest,
    as_document,
    open_searcher,
    sizes_of,
    start_lucene,
    write_documents,
)

_PROGRESS_EVERY = 1000


class Bm25Index:
    """Passages searched by the words they share with a query; safe to use from several threads.

    Use `Bm25Index.open` or `Bm25Index.build`. Java starts with the first build or search of a process, which
    takes some seconds; pyserini makes some hundred MB resident.

    Attributes:
        path: The folder.
        manifest: What it is.
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
        there = sizes_of(path / LUCENE)
        damaged = sorted(name for name, size in manifest.files.items() if there.get(name) != size)
        if damaged or not manifest.files:
            what = f"{damaged[0]} is missing or has another size" if damaged else "it has no files"
            raise IndexFormatError(f"{path} is damaged ({what}): build it again with overwrite")
        return cls(path, manifest)

    @classmethod
    def build(
        cls,
        corpus: Corpus | str | Path | Sequence[str | Path],
        path: str | Path,
        *,
        threads: int = 1,
        overwrite: bool = False,
        progress: Progress = silent,
    ) -> Bm25Index:
        """Index the words of a corpus, and open the index; one of the same content is left as it is.

        What is indexed is a passage's title and text, as for an encoder. Lucene also keeps both, parted by a line
        break, in the form in which pyserini's tools for DPR expect them.

        Args:
            corpus: What `open_corpus` takes or gave.
            path: The folder to make.
            threads: Threads of Lucene; the hits do not depend on them.
            overwrite: Replace a BM25 index of that name, once the new one is complete.
            progress: Called with (what, done, of how many).

        Raises:
            BuildError: Something else stands there, another build is running, or Lucene or the disk refuses.
            BadInputError: The corpus has a fault.
            MissingExtraError: pyserini or a Java for it is not installed.
        """
        if threads < 1:
            raise BuildError(f"got threads = {threads}; expected at least 1")
        if not isinstance(corpus, Corpus):
            corpus = open_corpus([corpus] if isinstance(corpus, str | Path) else corpus)
        path = settled(Path(path))
        work = path.with_name(f"{path.name}.bm25-building")
        with only_builder(path):
            if replaced_folder(path).exists():
                recover(path)
            standing = _standing(path, overwrite)
            try:
                with explained_os_errors(work):
                    shutil.rmtree(work, ignore_errors=True)
                    work.mkdir()
                if standing is None or overwrite:
                    start_lucene()  # what is lacking should show before the corpus is read
                scan = scan_corpus(corpus, work, progress=lambda done: progress("reading", done, 0))
                if not overwrite and standing is not None and _is_same(standing, scan, path):
                    return cls.open(path)
                _index(corpus, scan, work, threads, progress)
                swap_in(work, path)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return cls.open(path)

    def __len__(self) -> int:
        return self.manifest.n_passages

    def search(self, queries: Queries, k: int = 10, *, k1: float = 0.9, b: float = 0.4) -> Iterator[ScoredDoc]:
        """Search, streaming the hits query by query, best first.

        The score is BM25 (Robertson & Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009) as
        Lucene computes it, without the constant factor k1 + 1 and with lengths kept to one byte. Anserini rounds
        it to four decimals.

        Args:
            queries: One string; or a mapping of query ids to texts; or an iterable of strings or of records with
                `query_id` and `text` (those of ir_datasets). Strings get the ids "0", "1", ... A query is a bag
                of words: no character of it is an operator.
            k: Hits a query, at most. A query without a word of the corpus that is no stop word has none.
            k1: How much a word's repetition counts, from 0. The defaults of k1 and b are Anserini's.
            b: How much long passages are marked down, from 0 to 1.

        Yields:
            `ScoredDoc(query_id, doc_id, score)`, ties by document id. Equal scores are told apart by the least
            step of float32, so that whoever sorts by score keeps this order.

        Raises:
            QueryError: A query is empty, k is below 1, or k1 or b is out of range. It is raised by the call
                itself; for a query of a stream, when its turn comes.
            IndexFormatError: Lucene finds the index damaged.
            MissingExtraError: pyserini or a Java for it is not installed.
        """
        if k < 1:
            raise QueryError(f"got k = {k}; expected at least 1")
        if not (math.isfinite(k1) and k1 >= 0):
            raise QueryError(f"got k1 = {k1}; expected a number from 0, such as 0.9")
        if not 0 <= b <= 1:
            raise QueryError(f"got b = {b}; expected a number from 0 to 1, such as 0.4")
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
            # The parameters belong to the searcher, so nobody may change them between these two lines.
            with self._lock:
                self._searcher.set_bm25(k1, b)
                hits = [(str(hit.docid), float(hit.score)) for hit in self._searcher.search(text, k=k)]
            scores = strictly_falling(np.array([score for _, score in hits], np.float32)).tolist()
            for (doc_id, _), score in zip(hits, scores, strict=True):
                yield ScoredDoc(query_id, doc_id, score)


def _standing(path: Path, overwrite: bool) -> Bm25Manifest | None:
    """Return the manifest of the index that stands at `path`; refuse whatever else does."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    try:
        return Bm25Manifest.read(path)
    except IndexFormatError as error:
        # A damaged one, or one of another version, is still what may be replaced.
        if overwrite and (path / MANIFEST).exists() and (path / LUCENE).is_dir():
            return None
        raise BuildError(f"{path} exists and is not a BM25 index to be used ({error}): choose another place") from None


def _is_same(standing: Bm25Manifest, scan: CorpusScan, path: Path) -> bool:
    """Tell whether the index that stands holds just what is wanted, and refuse if it holds something else."""
    if (standing.corpus.get("sha256"), standing.analyzer) == (scan.sha256, ANALYZER):
        return True
    raise BuildError(
        f"{path} is already a BM25 index of another corpus, {standing.corpus.get('name')!r} of {standing.n_passages:,} "
        "passages: choose another place, or replace it with overwrite"
    )


def _index(corpus: Corpus, scan: CorpusScan, work: Path, threads: int, progress: Progress) -> None:
    """Index what was scanned in `work`, and write the manifest that makes it whole."""
    n_read = 0

    def documents() -> Iterator[str]:
        nonlocal n_read
        for n_read, passage in enumerate(unique_passages(corpus, scan), start=1):
            if n_read % _PROGRESS_EVERY == 0 or n_read == scan.n_passages:
                progress("indexing", n_read, scan.n_passages)
            if document := as_document(passage):
                yield document

    n_passages = write_documents(documents(), work / LUCENE, threads)
    if n_read != scan.n_passages:
        raise BuildError(
            f"the corpus changed while it was read: {n_read:,} passages, before it was {scan.n_passages:,}; build again"
        )
    if not n_passages:
        raise BadInputError(f"no passage of the corpus {corpus.name} has a visible character: look for a wrong file")
    n_blank = n_read - n_passages
    skipped = {**scan.skipped, **({"no visible character": n_blank} if n_blank else {})}
    manifest = Bm25Manifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        n_passages=n_passages,
        corpus={"name": corpus.name, "sha256": scan.sha256, "skipped": skipped},
        files=sizes_of(work / LUCENE),
        pyserini=metadata.version("pyserini"),
    )
    write_json(work / MANIFEST, {"format": FORMAT, **asdict(manifest)})
