"""Building a BM25 index: in `NAME.bm25-building`, which is renamed when it is complete; a killed build starts over."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from elasticdenser.artifacts import explained_os_errors
from elasticdenser.datasets import Corpus, CorpusScan, scan_corpus, unique_passages
from elasticdenser.errors import BadInputError, BuildError, IndexFormatError
from elasticdenser.index.layout import MANIFEST, replaced_folder
from elasticdenser.index.locking import exclusive_lock
from elasticdenser.index.publishing import recover, replace_folder
from elasticdenser.progress import Progress
from elasticdenser.retrieval.bm25_manifest import ANALYZER, Bm25Manifest
from elasticdenser.retrieval.lucene import as_document, file_sizes, start_lucene, write_documents

LUCENE = "lucene"
"""Folder of Lucene's files in that of the index."""

_PROGRESS_EVERY = 1000
"""Passages between two reports of progress."""


def build_bm25(corpus: Corpus, path: Path, threads: int, overwrite: bool, progress: Progress) -> None:
    """Index the words of a corpus; an index of the same content is left as it is. See `Bm25Index.build`.

    Args:
        corpus: The passages; read twice, first to check and count them.
        path: The folder to create, as `resolve_path` returns it.
        threads: Threads of Lucene.
        overwrite: Whether a BM25 index of that name may be replaced.
        progress: Called with (step, done, in all).
    """
    work = path.with_name(f"{path.name}.bm25-building")
    with exclusive_lock(path):
        if replaced_folder(path).exists():
            recover(path)
        existing = _existing_index(path, overwrite)
        try:
            with explained_os_errors(work):
                shutil.rmtree(work, ignore_errors=True)
                work.mkdir()
            if existing is None or overwrite:
                start_lucene()  # a missing Java is reported before the corpus is read
            scan = scan_corpus(corpus, work, progress=lambda done: progress("reading", done, 0))
            if overwrite or existing is None or not _is_up_to_date(existing, scan, path):
                _write_index(corpus, scan, work, threads, progress)
                replace_folder(work, path)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _existing_index(path: Path, overwrite: bool) -> Bm25Manifest | None:
    """Return the manifest of the index at `path`, None if there is nothing; refuse anything else."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    try:
        return Bm25Manifest.read(path)
    except IndexFormatError as error:
        # A damaged index, or one of another version, may still be replaced.
        if overwrite and (path / MANIFEST).exists() and (path / LUCENE).is_dir():
            return None
        raise BuildError(f"{path} exists and is not a usable BM25 index ({error}): choose another place") from None


def _is_up_to_date(existing: Bm25Manifest, scan: CorpusScan, path: Path) -> bool:
    """Return True if the existing index is the requested one; refuse if it is another."""
    if (existing.corpus.get("sha256"), existing.analyzer) == (scan.sha256, ANALYZER):
        return True
    raise BuildError(
        f"{path} is already a BM25 index of another corpus, {existing.corpus.get('name')!r} of {existing.n_passages:,} "
        "passages: choose another place, or replace it with overwrite"
    )


def _write_index(corpus: Corpus, scan: CorpusScan, work: Path, threads: int, progress: Progress) -> None:
    """Index the scanned passages in `work`, and write the manifest, which makes the index complete."""
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
            f"the corpus changed while it was read: got {n_read:,} passages, expected {scan.n_passages:,} as before; "
            "build again"
        )
    if not n_passages:
        raise BadInputError(
            f"no passage of the corpus {corpus.name} has a visible character: check that it is the right file"
        )
    n_blank = n_read - n_passages
    skipped = {**scan.skipped, **({"no visible character": n_blank} if n_blank else {})}
    manifest = Bm25Manifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        n_passages=n_passages,
        corpus={"name": corpus.name, "sha256": scan.sha256, "skipped": skipped},
        files=file_sizes(work / LUCENE),
        pyserini=metadata.version("pyserini"),
    )
    manifest.write(work)
