"""Last step of a build: all that is derived from vectors and ids, and the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from elasticdenser.artifacts import explained_os_errors
from elasticdenser.index import journal, layout
from elasticdenser.index.lexical import LexicalPart
from elasticdenser.index.lexical.building import build_postings_of
from elasticdenser.index.lexical.merging import merge_postings
from elasticdenser.index.line_files import LineFile, write_lookup
from elasticdenser.index.manifest import Manifest, Origin, file_entries
from elasticdenser.index.metadata.table import write_table
from elasticdenser.index.plan import BuildPlan
from elasticdenser.index.structures import build_structure, choose_factory
from elasticdenser.index.structures.registry import AUTO
from elasticdenser.progress import Progress
from elasticdenser.version import __version__

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


def finish_index(
    work: Path,
    plan: BuildPlan,
    factory: str,
    progress: Progress,
    vectors: Origin = "encoded",
    stemmer: str | None = None,
    words: Sequence[LexicalPart] = (),
) -> None:
    """Derive all other files from the vectors and ids, and write the manifest, which makes the index complete.

    Args:
        work: The build folder.
        plan: Plan of the build.
        factory: Factory string of the search structure, or `auto`.
        progress: Called with (step, done, in all).
        vectors: Origin of the vectors, as in the manifest.
        stemmer: Stemmer of the postings for search by words; None builds no postings.
        words: Postings by this stemmer of which those of all passages can be merged, instead of reading their texts.

    Raises:
        BuildError: The factory string is not known, or the disk refuses.
    """
    dim, n_passages = plan.encoder.settings.dim, plan.n_passages
    resolved_factory = choose_factory(n_passages, dim) if factory == AUTO else factory
    if (work / layout.MANIFEST).exists():
        finished = Manifest.read(work)
        if (finished.structure.factory, finished.stemmer) == (resolved_factory, stemmer):
            return
    with explained_os_errors(work):
        journal.clear_derived(work)
        write_lookup(work / layout.ID_LOOKUP, LineFile(work / layout.IDS, work / layout.ID_OFFSETS), n_passages)
        if plan.metadata is not None:
            lines = LineFile(work / layout.METADATA, work / layout.METADATA_OFFSETS)
            write_table(work / layout.METADATA_TABLE, lines, plan.metadata)
        structure = build_structure(work, (n_passages, dim), resolved_factory, progress)
        lexical = None
        if stemmer is not None and words:
            lexical = merge_postings(words, work, stemmer, progress=progress)
        elif stemmer is not None:
            lexical = build_postings_of(work, n_passages, stemmer, progress=progress)
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
