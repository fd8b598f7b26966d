"""Lucene, as pyserini offers it: writing and opening an index of documents.

Neither Java nor pyserini is imported before it is needed; both come with the extra `elasticdenser[pyserini]`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from elasticdenser.datasets import Passage
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.retrieval.java import start_jvm

_BATCH = 1000
"""Documents that are passed to Java in one call, as every call has a cost."""

_BLANK = "".join(map(chr, range(33)))
"""The characters that Java's String.trim() removes."""


def as_document(passage: Passage) -> str | None:
    """Return the JSON document that Lucene indexes and stores, or None for a passage that it would leave out.

    The only line break separates title and text, as pyserini's tools for DPR expect.
    """
    title, text = (part.replace("\n", " ") for part in (passage.title, passage.text))
    contents = f"{title}\n{text}"
    return json.dumps({"id": passage.doc_id, "contents": contents}) if contents.strip(_BLANK) else None


def write_documents(documents: Iterator[str], folder: Path, threads: int) -> int:
    """Index documents with Anserini's default English analyzer, and return how many there were.

    Args:
        documents: Made by `as_document`.
        folder: The folder to create.
        threads: Threads of Lucene.

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
        raise BuildError(
            f"Lucene cannot write {folder}: {_java_message(error)}; check whether the disk is full"
        ) from error
    try:
        open_searcher(folder, n_done).object.close()
    except IndexFormatError as error:
        raise BuildError(f"Lucene wrote an incomplete index, check whether the disk is full: {error}") from error
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
        raise IndexFormatError(
            f"Lucene cannot open {folder} ({_java_message(error)}): build the index again"
        ) from error
    if searcher.num_docs != n_documents:
        raise IndexFormatError(
            f"{folder} holds {searcher.num_docs:,} documents, expected {n_documents:,}: build the index again"
        )
    return searcher


def start_lucene() -> None:
    """Start Java; silence its messages, some on stdout, and lift Lucene's limit of 1,024 words for a query.

    Raises:
        MissingExtraError: pyserini or a Java for it is not installed.
    """
    start_jvm()
    from jnius import autoclass

    configurator = autoclass("org.apache.logging.log4j.core.config.Configurator")
    configurator.setAllLevels("io.anserini", autoclass("org.apache.logging.log4j.Level").WARN)
    autoclass("java.util.logging.Logger").getLogger("").setLevel(autoclass("java.util.logging.Level").WARNING)
    autoclass("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(2**31 - 1)


def file_sizes(folder: Path) -> dict[str, int]:
    """Return the size in bytes of each file of Lucene in a folder; nothing if the folder does not exist."""
    if not folder.is_dir():
        return {}
    return {entry.name: entry.stat().st_size for entry in sorted(folder.iterdir()) if entry.name != "write.lock"}


def _java_message(error: Exception) -> str:
    """Return the first line of the message of a Java exception."""
    return (str(error).splitlines() or [""])[0].removeprefix("JVM exception occurred: ")
