"""Building of an index, such that no interruption loses finished work.

Passages are encoded in windows. A finished window is appended to the files in `NAME.building`, flushed, and only then
recorded in a journal; the next start truncates everything after the last entry and continues from there. The folder
gets its final name when it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elasticdenser.artifacts import explained_os_errors
from elasticdenser.datasets import Corpus, CorpusScan, Passage, scan_corpus, unique_passages
from elasticdenser.encoders.deferred import DeferredPassageEncoder
from elasticdenser.errors import BadInputError, BuildError, IndexFormatError
from elasticdenser.index import journal, layout
from elasticdenser.index.chunker import Chunker
from elasticdenser.index.chunking import Chunking
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.integrity import check_integrity
from elasticdenser.index.layout import building_folder
from elasticdenser.index.lexical.analysis import check_stemmer
from elasticdenser.index.lexical.building import build_postings_of
from elasticdenser.index.line_files import LineFile, write_lookup
from elasticdenser.index.locking import exclusive_lock
from elasticdenser.index.manifest import Manifest, Origin, file_entries
from elasticdenser.index.metadata.table import write_table
from elasticdenser.index.plan import BuildPlan
from elasticdenser.index.publishing import publish, recover
from elasticdenser.index.structures import build_structure, check_factory, choose_factory
from elasticdenser.index.structures.registry import AUTO
from elasticdenser.index.windows import in_windows
from elasticdenser.progress import Progress
from elasticdenser.version import __version__

if TYPE_CHECKING:
    from elasticdenser.encoders import PassageEncoder

WINDOW = 2048
"""Most passages that are sorted, encoded and saved together. After a kill, at most three windows are encoded again:
those in the encoder."""

_PROGRESS_EVERY = 1024
"""Chunks between two reports of progress."""

_FIRST_PASSAGES = 1000
"""Passages that are read before the encoder is loaded, which takes seconds: enough to notice a wrong format."""

_FILES = (
    layout.VECTORS,
    layout.IDS,
    layout.ID_OFFSETS,
    layout.ID_LOOKUP,
    layout.PASSAGES,
    layout.PASSAGE_OFFSETS,
    layout.METADATA,
    layout.METADATA_OFFSETS,
    layout.METADATA_TABLE,
)


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """Settings of a build.

    Args:
        factory: Factory string of the search structure, or `auto`.
        texts: Whether the passages' texts are stored beside the vectors.
        overwrite: Whether a finished index of that name may be replaced, once the new one is complete.
        restart: Whether an unfinished build with another plan in that place may be discarded.
        workers: Cores to encode on; None is all usable ones.
        chunking: How documents are cut into passages; None if they are not.
        stemmer: Stemmer of the postings for search by words; None builds no postings.
    """

    factory: str = AUTO
    texts: bool = True
    overwrite: bool = False
    restart: bool = False
    workers: int | None = None
    chunking: Chunking | None = None
    stemmer: str | None = None


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
            if _is_up_to_date(path, plan, settings):
                _discard_same_build(work, plan)
            else:
                encoder = _loaded(encoder)
                plan = replace(plan, encoder=encoder.fingerprint)
                passages = unique_passages(corpus, scan)
                if chunker is not None:
                    plan = _with_chunks_counted(plan, work, chunker.chunks(passages), progress)
                    passages = chunker.chunks(unique_passages(corpus, scan))
                check_factory(settings.factory, encoder.dim, plan.n_passages)
                _adopt_plan(work, plan, settings)
                _encode_remaining(work, passages, plan, encoder, settings, progress)
                finish_index(work, plan, settings.factory, progress, stemmer=settings.stemmer)
                publish(work, path)
        finally:
            journal.remove_if_empty(work)
    return scan


def _loaded(encoder: PassageEncoder | DeferredPassageEncoder) -> PassageEncoder:
    """Return the encoder, loaded."""
    return encoder.load() if isinstance(encoder, DeferredPassageEncoder) else encoder


def refuse_other_content(path: Path, settings: BuildSettings) -> None:
    """Refuse to build where something other than an index is, before the corpus is read."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / layout.MANIFEST).exists():
        raise BuildError(f"{path} exists and is not an index: choose another place with -o")
    try:
        IndexContents.read(path)
    except IndexFormatError as error:
        if not settings.overwrite:
            raise BuildError(f"{error}; or choose another place with -o") from None


def _discard_same_build(work: Path, plan: BuildPlan) -> None:
    """Remove the build folder beside a finished index, unless something else is being built there."""
    unfinished = BuildPlan.read(work)
    if unfinished is None or not plan.differences(unfinished):
        journal.discard(work)


def _is_up_to_date(path: Path, plan: BuildPlan, settings: BuildSettings) -> bool:
    """Return whether `path` is already the requested index; refuse another index that must not be replaced."""
    if not (path / layout.MANIFEST).exists():
        return False
    try:
        manifest = IndexContents.read(path).manifest
        differences = plan.differences(BuildPlan.of_index(manifest))
        if not differences:
            check_integrity(path, manifest)
    except IndexFormatError as error:
        if settings.overwrite:
            return False
        raise BuildError(f"{error}; or choose another place with -o") from None
    factory = choose_factory(manifest.n_passages, manifest.dim) if settings.factory == AUTO else settings.factory
    same_postings = settings.stemmer in (None, manifest.lexical and manifest.lexical.stemmer)
    if not differences and factory == manifest.structure.factory and same_postings:
        return True
    if settings.overwrite:
        return False
    if not differences and not same_postings:
        raise BuildError(
            f"{path} holds these passages without words of this stemmer: add them with `elasticdenser rebuild {path} "
            f"--hybrid --stemmer {settings.stemmer}`"
        )
    if not differences:
        raise BuildError(
            f"{path} holds these passages with the structure {manifest.structure.factory}: change it with "
            f"`elasticdenser rebuild {path} --factory {settings.factory}`"
        )
    raise BuildError(
        f"{path} is already an index of something else (requested against existing: {'; '.join(differences)}): choose "
        "another place with -o, or replace it with --overwrite"
    )


def _adopt_plan(work: Path, plan: BuildPlan, settings: BuildSettings) -> None:
    """Continue the build in `work` if its plan agrees, else start a new build there."""
    unfinished = BuildPlan.read(work)
    differences = plan.differences(unfinished) if unfinished else []
    if differences and not settings.restart and journal.n_finished(work):
        raise BuildError(
            f"{work} holds an unfinished build of something else (requested against existing: "
            f"{'; '.join(differences)}): run the command it was started with, discard it with --restart, or choose "
            "another place with -o"
        )
    if differences or unfinished is None:
        journal.reset(work, plan)


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


def finish_index(
    work: Path,
    plan: BuildPlan,
    factory: str,
    progress: Progress,
    vectors: Origin = "encoded",
    stemmer: str | None = None,
) -> None:
    """Derive all other files from the vectors and ids, and write the manifest, which makes the index complete.

    Args:
        work: The build folder.
        plan: Plan of the build.
        factory: Factory string of the search structure, or `auto`.
        progress: Called with (step, done, in all).
        vectors: Origin of the vectors, as in the manifest.
        stemmer: Stemmer of the postings for search by words; None builds no postings.

    Raises:
        BuildError: The factory string is not known, or the disk refuses.
    """
    dim, n_passages = plan.encoder.settings.dim, plan.n_passages
    resolved_factory = choose_factory(n_passages, dim) if factory == AUTO else factory
    if (work / layout.MANIFEST).exists():
        finished = Manifest.read(work)
        finished_stemmer = None if finished.lexical is None else finished.lexical.stemmer
        if (finished.structure.factory, finished_stemmer) == (resolved_factory, stemmer):
            return
    with explained_os_errors(work):
        journal.clear_derived(work)
        write_lookup(work / layout.ID_LOOKUP, LineFile(work / layout.IDS, work / layout.ID_OFFSETS), n_passages)
        if plan.metadata is not None:
            lines = LineFile(work / layout.METADATA, work / layout.METADATA_OFFSETS)
            write_table(work / layout.METADATA_TABLE, lines, plan.metadata)
        structure = build_structure(work, (n_passages, dim), resolved_factory, progress)
        lexical = None if stemmer is None else build_postings_of(work, n_passages, stemmer, progress=progress)
        lexical_files = () if lexical is None else lexical.files
        manifest = Manifest(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            software=__version__,
            dim=dim,
            vectors=vectors,
            structure=structure,
            files=file_entries(work, [*_FILES, *structure.files, *lexical_files], progress),
            n_passages=n_passages,
            has_texts=plan.has_texts,
            corpus=plan.corpus,
            encoder=plan.encoder,
            n_truncated=journal.n_truncated(work),
            chunking=plan.chunking,
            n_documents=plan.n_documents,
            metadata=plan.metadata,
            lexical=lexical,
        )
        manifest.write(work)
