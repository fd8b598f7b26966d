"""The files of a BM25 index, and what is asked of pyserini's Lucene: to write and to open them.

Nothing of Java or pyserini is imported before it is needed; both come with the extra `elasticdenser[pyserini]`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

from elasticdenser.datasets import Passage
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index.layout import MANIFEST
from elasticdenser.retrieval.java import start_jvm

FORMAT = "elasticdenser-bm25"
VERSION = 1
ANALYZER = "english: Porter stemmer, stop words"
LUCENE = "lucene"

_BATCH = 1000
_BLANK = "".join(map(chr, range(33)))
"""What Java's String.trim() takes away."""


@dataclass(frozen=True, kw_only=True)
class Bm25Manifest:
    """What a BM25 index is.

    Args:
        created: UTC, ISO 8601.
        n_passages: Passages that can be found.
        corpus: Where they came from: `name`, `sha256` of the content, `skipped` by reason.
        files: Size in bytes of each file in `lucene/`.
        pyserini: Version that built it.
        analyzer: How texts become words.
        version: Of the format.
    """

    created: str
    n_passages: int
    corpus: dict[str, Any]
    files: dict[str, int]
    pyserini: str
    analyzer: str = ANALYZER
    version: int = VERSION

    @classmethod
    def read(cls, folder: Path) -> Bm25Manifest:
        """Read the manifest in `folder`.

        Raises:
            IndexFormatError: There is none, it is damaged, or of another format or version.
        """
        path = folder / MANIFEST
        again = "build the index again with overwrite"
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            what = f"holds no {MANIFEST}" if folder.exists() else "does not exist"
            message = f"{folder} {what}; expected a BM25 index: build one there with Bm25Index.build"
            raise IndexFormatError(message) from None
        except (OSError, ValueError) as error:
            raise IndexFormatError(f"{path} cannot be read ({error}): {again}") from None
        if not isinstance(value, dict) or value.pop("format", None) != FORMAT:
            raise IndexFormatError(f"{path} is not the manifest of an {FORMAT}: give the folder of a BM25 index")
        if value.get("version") != VERSION:
            raise IndexFormatError(
                f"{folder} has format version {value.get('version')}, this elasticdenser reads {VERSION}: {again}"
            )
        if set(value) != {field.name for field in fields(cls)} or not isinstance(value["files"], dict):
            raise IndexFormatError(f"{path} is damaged (other fields than expected): {again}")
        return cls(**value)


def as_document(passage: Passage) -> str | None:
    """Return what Lucene is to index and keep, as JSON, or None where it would leave the passage out.

    Title and text are parted by the one line break, as pyserini's tools for DPR expect.
    """
    title, text = (part.replace("\n", " ") for part in (passage.title, passage.text))
    contents = f"{title}\n{text}"
    return json.dumps({"id": passage.doc_id, "contents": contents}) if contents.strip(_BLANK) else None


def write_documents(documents: Iterator[str], folder: Path, threads: int) -> int:
    """Index documents with Anserini's default English analyzer, and return how many there were.

    Args:
        documents: As of `as_document`.
        folder: To be made.
        threads: Of Lucene.

    Raises:
        BuildError: Lucene cannot write, or left documents out.
        MissingExtraError: pyserini or a Java for it is not installed.
    """
    start_lucene()
    from jnius import JavaException
    from pyserini.index.lucene import LuceneIndexer

    n_done = 0
    try:
        indexer = LuceneIndexer(args=["-index", str(folder), "-storeRaw"], threads=threads)
        try:
            while batch := list(islice(documents, _BATCH)):
                indexer.add_batch_raw(batch)
                n_done += len(batch)
        finally:
            indexer.close()
    except JavaException as error:
        raise BuildError(f"Lucene cannot write {folder}: {_told(error)}; look whether the disk is full") from error
    try:
        open_searcher(folder, n_done).object.close()
    except IndexFormatError as error:
        raise BuildError(f"what Lucene wrote is not whole, look whether the disk is full: {error}") from error
    return n_done


def open_searcher(folder: Path, n_documents: int) -> Any:
    """Return pyserini's LuceneSearcher of an index.

    Raises:
        IndexFormatError: Lucene cannot read it, or it does not hold `n_documents`.
        MissingExtraError: pyserini or a Java for it is not installed.
    """
    start_lucene()
    from jnius import JavaException
    from pyserini.search.lucene import LuceneSearcher

    try:
        searcher = LuceneSearcher(str(folder))
    except JavaException as error:
        raise IndexFormatError(f"Lucene cannot open {folder} ({_told(error)}): build the index again") from error
    if searcher.num_docs != n_documents:
        raise IndexFormatError(
            f"{folder} holds {searcher.num_docs:,} documents, expected {n_documents:,}: build the index again"
        )
    return searcher


def start_lucene() -> None:
    """Start Java, and lift two habits: chatting, on stdout too, and refusing queries of more than 1,024 words.

    Raises:
        MissingExtraError: pyserini or a Java for it is not installed.
    """
    start_jvm()
    from jnius import autoclass

    configurator = autoclass("org.apache.logging.log4j.core.config.Configurator")
    configurator.setAllLevels("io.anserini", autoclass("org.apache.logging.log4j.Level").WARN)
    autoclass("java.util.logging.Logger").getLogger("").setLevel(autoclass("java.util.logging.Level").WARNING)
    autoclass("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(2**31 - 1)


def _told(error: Exception) -> str:
    """Return the first line of what Java says."""
    return (str(error).splitlines() or [""])[0].removeprefix("JVM exception occurred: ")


def sizes_of(folder: Path) -> dict[str, int]:
    """Return the size of each file in a folder, as far as there is one."""
    if not folder.is_dir():
        return {}
    return {entry.name: entry.stat().st_size for entry in sorted(folder.iterdir()) if entry.name != "write.lock"}
