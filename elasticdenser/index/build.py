"""Building of an index, such that no interruption loses finished work.

Passages are encoded in windows. A finished window is appended to the files in `NAME.building`, flushed, and only then
recorded in a journal; the next start truncates everything after the last entry and continues from there. The folder
gets its final name when it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elasticdenser.datasets import Corpus, CorpusScan, Passage, scan_corpus, unique_passages
from elasticdenser.encoders.deferred import DeferredPassageEncoder
from elasticdenser.errors import BadInputError, BuildError
from elasticdenser.index import journal, layout
from elasticdenser.index.chunker import Chunker
from elasticdenser.index.earlier_builds import adopt_plan, discard_same_build, is_up_to_date, refuse_other_content
from elasticdenser.index.finishing import finish_index
from elasticdenser.index.layout import building_folder
from elasticdenser.index.lexical.analysis import check_stemmer
from elasticdenser.index.locking import exclusive_lock
from elasticdenser.index.plan import BuildPlan, BuildSettings
from elasticdenser.index.publishing import publish, recover
from elasticdenser.index.structures import check_factory
from elasticdenser.index.windows import in_windows
from elasticdenser.progress import Progress

if TYPE_CHECKING:
    from elasticdenser.encoders import PassageEncoder

WINDOW = 2048
"""Most passages that are sorted, encoded and saved together. After a kill, at most three windows are encoded again:
those in the encoder."""

_PROGRESS_EVERY = 1024
"""Chunks between two reports of progress."""

_FIRST_PASSAGES = 1000
"""Passages that are read before the encoder is loaded, which takes seconds: enough to notice a wrong format."""


def build_index(
    corpus: Corpus,
    path: Path,
    encoder: PassageEncoder | DeferredPassageEncoder,
    settings: BuildSettings,
    progress: Progress,
    *,
    is_locked: bool = False,
    scan: CorpusScan | None = None,
) -> CorpusScan:
    """Encode `corpus` into a new index at `path`, or continue the build that was interrupted there.

    Args:
        corpus: The passages; read twice, first to check and count them.
        path: The index folder to create, as `resolve_path` returns it.
        encoder: The full encoder. If it is deferred, it is loaded once the first passages have been read, and only if
            there are passages to encode.
        settings: Settings of the build.
        progress: Called with (step, done, in all).
        is_locked: Whether the caller holds the lock of `path`.
        scan: The scan of the corpus, if the caller has it; None reads the corpus once more.

    Returns:
        The scan of the corpus.

    Raises:
        BuildError: Another build is running there, something else is in that place, or the disk refuses.
        BadInputError: The corpus has a fault.
    """
    check_factory(settings.factory, encoder.dim)
    if settings.stemmer is not None:
        check_stemmer(settings.stemmer)
        if not settings.texts:
            raise BuildError(
                "got --hybrid with --no-texts, expected texts, whose words are indexed: leave one of them out"
            )
    is_deferred = isinstance(encoder, DeferredPassageEncoder)
    is_long = is_deferred and sum(1 for _ in islice(corpus, _FIRST_PASSAGES)) == _FIRST_PASSAGES
    chunker = None
    if settings.chunking is not None:
        encoder = _loaded(encoder)  # counts the tokens of chunks, and knows how many it reads
        chunker = Chunker(settings.chunking, encoder)
    with nullcontext() if is_locked else exclusive_lock(path):
        recover(path)
        refuse_other_content(path, settings)
        work = building_folder(path)
        journal.open_build_folder(work)
        try:
            if is_long and not (path / layout.MANIFEST).exists():
                encoder = _loaded(encoder)  # so that a device that does not exist is noticed before hours of reading
            if scan is None:
                scan = scan_corpus(corpus, work, progress=lambda done: progress("reading", done, 0))
            plan = BuildPlan(
                n_passages=scan.n_passages,
                corpus={"sources": corpus.name, "sha256": scan.sha256, "skipped": scan.skipped},
                encoder=encoder.fingerprint,
                has_texts=settings.texts,
                chunking=settings.chunking,
                n_documents=None if chunker is None else scan.n_passages,
                metadata={name: str(kind) for name, kind in scan.metadata.items()} or None,
            )
            if is_up_to_date(path, plan, settings):
                discard_same_build(work, plan)
            else:
                encoder = _loaded(encoder)
                plan = replace(plan, encoder=encoder.fingerprint)
                passages = unique_passages(corpus, scan)
                if chunker is not None:
                    plan = _with_chunks_counted(plan, work, chunker.chunks(passages), progress)
                    passages = chunker.chunks(unique_passages(corpus, scan))
                check_factory(settings.factory, encoder.dim, plan.n_passages)
                adopt_plan(work, plan, settings)
                _encode_remaining(work, passages, plan, encoder, settings, progress)
                finish_index(work, plan, settings.factory, progress, stemmer=settings.stemmer)
                publish(work, path)
        finally:
            journal.remove_if_empty(work)
    return scan


def _loaded(encoder: PassageEncoder | DeferredPassageEncoder) -> PassageEncoder:
    """Return the encoder, loaded."""
    return encoder.load() if isinstance(encoder, DeferredPassageEncoder) else encoder


def _with_chunks_counted(plan: BuildPlan, work: Path, chunks: Iterator[Passage], progress: Progress) -> BuildPlan:
    """Return a plan with the number of chunks, which the unfinished build in `work` knows if it has the same plan."""
    unfinished = BuildPlan.read(work)
    if unfinished is not None and not plan.differences(unfinished):
        return replace(plan, n_passages=unfinished.n_passages)
    n_chunks = 0
    for n_chunks, _ in enumerate(chunks, 1):
        if n_chunks % _PROGRESS_EVERY == 0:
            progress("cutting into chunks", n_chunks, 0)
    return replace(plan, n_passages=n_chunks)


def _encode_remaining(
    work: Path,
    passages: Iterator[Passage],
    plan: BuildPlan,
    encoder: PassageEncoder,
    settings: BuildSettings,
    progress: Progress,
) -> None:
    """Encode the passages that are not finished yet, window by window."""
    n_passages, stored = plan.n_passages, {"texts": plan.has_texts, "metadata": plan.metadata is not None}
    done = journal.n_finished(work)
    progress("encoding", done, n_passages)
    if done == n_passages:
        return
    in_encoder: list[list[Passage]] = []
    truncated = journal.n_truncated(work)
    truncated_of_window: list[int] = []

    def windows() -> Iterator[list[str]]:
        for window in in_windows(islice(passages, done, None), WINDOW):
            in_encoder.append(window)
            yield [_encodable_content(passage) for passage in window]

    report = truncated_of_window.append
    for vectors in encoder.encode_windows(windows(), workers=settings.workers, report_truncated=report):
        window = in_encoder.pop(0)
        if not np.isfinite(vectors).all():
            raise BuildError("the encoder returned vectors that are not finite: try --precision fp32")
        done += len(window)
        # None, not counted, remains None.
        truncated = truncated + truncated_of_window.pop() if truncated_of_window and truncated is not None else None
        journal.append_window(work, window, vectors, done, **stored, truncated=truncated)
        progress("encoding", done, n_passages)
    if done != n_passages:
        raise BuildError(
            f"the corpus changed while it was read: got {done:,} passages, expected {n_passages:,} as before; run the "
            "command again with --restart"
        )


def _encodable_content(passage: Passage) -> str:
    """Return the content of a passage; refuse one with a lone surrogate in its id or content."""
    try:
        f"{passage.doc_id} {passage.content}".encode()
    except UnicodeEncodeError:
        raise BadInputError(
            f"passage {passage.doc_id!r} holds half of a surrogate pair, which no encoder can read: remove it"
        ) from None
    return passage.content
