"""Additions to an index, replacements and deletions."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from elasticdenser.arrays import Positions, Vectors
from elasticdenser.datasets import as_corpus
from elasticdenser.encoders.backends import dtype_without_torch
from elasticdenser.encoders.deferred import DeferredPassageEncoder, as_passage_encoder
from elasticdenser.errors import BuildError, EncoderMismatchError, QueryError
from elasticdenser.index.additions import GivenVectors, select
from elasticdenser.index.build import build_index
from elasticdenser.index.chunker import Chunker
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.deletions import rows_of_documents, rows_of_matches
from elasticdenser.index.filters import AnyFilter, Filter, parse_filter
from elasticdenser.index.filters.checking import check_filter
from elasticdenser.index.layout import SEGMENTS
from elasticdenser.index.line_files import id_texts
from elasticdenser.index.locking import exclusive_lock, resolve_path
from elasticdenser.index.manifest import Manifest
from elasticdenser.index.plan import BuildSettings
from elasticdenser.index.pruning import check_origin, vanished_documents
from elasticdenser.index.segment import Segment
from elasticdenser.index.tables import SegmentIds, open_segments
from elasticdenser.index.writing import WAIT_S, writing
from elasticdenser.models.settings import INT8, EncoderFingerprint
from elasticdenser.models.space import check_encodes_passages
from elasticdenser.progress import Progress, silent

if TYPE_CHECKING:
    from elasticdenser.datasets.in_memory import AnyCorpus
    from elasticdenser.datasets.metadata import AnySelection
    from elasticdenser.encoders import PassageEncoder


@dataclass(frozen=True, kw_only=True)
class Change:
    """Outcome of a change of an index; documents are counted, which are passages unless they were cut into chunks.

    Attributes:
        generation: Number of the newest generation.
        added: Documents whose ids were new.
        replaced: Documents whose ids were in the index.
        unchanged: Documents that were in the index with the same text and metadata, or, with `only_new`, with any.
        deleted: Documents that were deleted.
        unknown: Ids to delete that are not in the index.
        skipped: Bad lines of the corpus that were skipped, by reason.
    """

    generation: int
    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    deleted: int = 0
    unknown: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)


def encoder_of(
    contents: IndexContents, name: str | Path | None = None, **options: str | bool
) -> DeferredPassageEncoder:
    """Return the encoder that made an index, to add passages with.

    Args:
        contents: The index.
        name: Folder or model id to use instead of the name in the manifest.
        **options: `device` and `download`, and `dtype` instead of the index's own arithmetic.

    Raises:
        ModelError: The encoder is not found, or none makes the vectors.
    """
    fingerprint = contents.manifest.encoder
    if name is None:
        check_encodes_passages(fingerprint)
    # Float types may be mixed, 8 bits not; without torch, `auto` would be 8 bits.
    dtype = "auto" if dtype_without_torch("auto", str(options.get("device", "auto"))) != INT8 else "float32"
    dtype = INT8 if fingerprint.dtype == INT8 else dtype
    settings = {"dtype": dtype, **options, **asdict(fingerprint.settings)}
    return DeferredPassageEncoder(name or fingerprint.name, **settings)


def add_passages(
    path: Path,
    corpus: AnyCorpus,
    encoder: PassageEncoder | DeferredPassageEncoder | str | Path | None = None,
    *,
    vectors: Vectors | None = None,
    only_new: bool = False,
    metadata: AnySelection = None,
    prune: Path | None = None,
    dry_run: bool = False,
    workers: int | None = None,
    progress: Progress = silent,
) -> Change:
    """Add documents to an index in one generation; those whose ids it has are replaced, with all their chunks.

    They are encoded before the index is locked. After an interruption, the same call continues, unless another change
    came between.

    They keep the metadata fields that the index has, and those that are selected, which the index then has too.

    Args:
        path: The index.
        corpus: The documents, as `as_corpus` takes them.
        encoder: The encoder that made the index, or its folder or model id; by default, it is loaded if it is needed.
        vectors: float32, (n_passages, dim): vectors of the passages of the corpus, which are then not encoded.
        only_new: Leave out documents whose ids are in the index.
        metadata: Further fields that are kept, as `as_corpus` takes them; without, a `Passage` must not bring any.
        prune: The folder that the corpus consists of, and the index does: documents of the index that are no longer
            in it are deleted in the same generation.
        dry_run: Only count; the counts are those of documents, and nothing is encoded.
        workers: Cores to encode on; None is all usable ones.
        progress: Called with (step, done, in all).

    Raises:
        QueryError: The index holds documents of others than the folder to prune, or too many have vanished.
        IndexFormatError: There is no such index, or it is damaged.
        EncoderMismatchError: The encoder is another one than that of the index.
        BadInputError: The corpus or the vectors have a fault.
        BuildError: Another process is writing for a long time, or the disk refuses.
    """
    folder = resolve_path(path)
    contents, table = open_segments(folder, "changed", has_structure=False, has_postings=False)
    contents.check_unsharded()
    source = as_corpus(corpus, metadata=metadata, known=contents.fields)
    manifest = contents.manifest
    if prune is not None:
        check_origin(contents, prune)
    own_encoder: PassageEncoder | DeferredPassageEncoder | None = None
    if vectors is None:
        own_encoder = (
            encoder_of(contents, encoder)
            if encoder is None or isinstance(encoder, str | Path)
            else as_passage_encoder(encoder)
        )
    chunker = None
    if own_encoder is not None:
        _check_encoder(contents, own_encoder.fingerprint)
        if manifest.chunking is not None:
            own_encoder = own_encoder.load() if isinstance(own_encoder, DeferredPassageEncoder) else own_encoder
            chunker = Chunker(manifest.chunking, own_encoder)
    has_to_compare = manifest.has_texts and vectors is None
    selection = select(
        source,
        table.segments,
        only_new=only_new,
        compare=has_to_compare,
        chunker=chunker,
        keep_ids=prune is not None,
        progress=progress,
    )
    vanished = [] if prune is None else vanished_documents(contents, SegmentIds(table), selection.ids, prune)
    unchanged = Change(
        generation=contents.number,
        unchanged=selection.n_left_out,
        deleted=len(vanished),
        skipped=selection.skipped,
    )
    if dry_run:
        return replace(unchanged, added=selection.n_new, replaced=selection.n_selected - selection.n_new)
    if not selection.n_selected:
        return replace(unchanged, generation=_delete_vanished(folder, vanished)) if vanished else unchanged
    vector_source = own_encoder or GivenVectors(cast("Vectors", vectors), selection, manifest)
    # Passages with given vectors get a name that no other call has: no interrupted call is continued.
    key = selection.digest if vectors is None else secrets.token_hex(8)
    work = folder / SEGMENTS / f"adding-{key}"
    settings = BuildSettings(
        texts=manifest.has_texts,
        chunking=manifest.chunking,
        workers=workers,
        restart=True,
        overwrite=True,
        stemmer=manifest.stemmer,
    )
    with exclusive_lock(work, WAIT_S):
        # Given vectors have what a build needs of an encoder.
        build_index(selection.corpus(), work, cast("PassageEncoder", vector_source), settings, progress, is_locked=True)
        change = _commit(folder, work, only_new=only_new, vanished=vanished)
    return replace(change, unchanged=change.unchanged + selection.n_left_out, skipped=selection.skipped)


def _check_encoder(contents: IndexContents, encoder: EncoderFingerprint) -> None:
    """Refuse an encoder whose passages do not belong into an index.

    Raises:
        EncoderMismatchError: It is another one, or computes in 8 bits where the index does not, or the other way round.
    """
    differences = contents.manifest.encoder.differences_of_passages(encoder)
    if differences:
        raise EncoderMismatchError(
            f"{contents.folder} was made by another encoder than {encoder.name} (index against encoder: "
            f"{'; '.join(differences)}): add passages with {contents.manifest.encoder.name} in "
            f"{contents.manifest.encoder.dtype}"
        )


def _check_words_and_fields(contents: IndexContents, segment: Manifest) -> None:
    """Refuse a segment with other words, or other types of metadata, than the index has got meanwhile.

    Raises:
        BuildError: It has others.
    """
    fields = contents.manifest.metadata or {}
    is_alike = all(fields.get(name, kind) == kind for name, kind in (segment.metadata or {}).items())
    if segment.stemmer != contents.manifest.stemmer or not is_alike:
        raise BuildError(
            f"{contents.folder} has got other words or fields of metadata while passages were encoded: run the "
            "same command again"
        )


def _delete_vanished(folder: Path, vanished: Sequence[str]) -> int:
    """Delete documents that have vanished, and return the number of the newest generation."""
    with writing(folder) as writer:
        rows, _ = rows_of_documents(writer.segments, vanished)
        return writer.commit(rows).number if rows else writer.contents.number


def _commit(folder: Path, work: Path, *, only_new: bool, vanished: Sequence[str] = ()) -> Change:
    """Make a complete segment a part of the index, and delete what it replaces and what has vanished."""
    manifest = Manifest.read(work)
    n_added = manifest.n_documents or manifest.n_passages
    with writing(folder) as writer:
        _check_encoder(writer.contents, manifest.encoder)  # once more: its arithmetic is known only now
        _check_words_and_fields(writer.contents, manifest)
        new = Segment.of_folder(work)
        deleted: dict[str, Positions] = {}
        n_shared = 0
        for old in writer.segments:
            rows, n_documents = new.rows_shared_with(old) if only_new else old.rows_shared_with(new)
            n_shared += n_documents
            if len(rows):
                changed = new if only_new else old
                name = work.name if only_new else old.contents.name
                deleted[name] = np.union1d(deleted.get(name, changed.deleted), rows)
        for name, rows in rows_of_documents(writer.segments, vanished)[0].items():
            deleted[name] = np.union1d(deleted[name], rows) if name in deleted else rows
        number = writer.commit(deleted, new=work).number
    if only_new:
        return Change(generation=number, added=n_added - n_shared, unchanged=n_shared, deleted=len(vanished))
    return Change(generation=number, added=n_added - n_shared, replaced=n_shared, deleted=len(vanished))


def delete_passages(
    path: Path,
    doc_ids: Iterable[str | int] = (),
    *,
    filter: AnyFilter | None = None,
    missing_ok: bool = False,
    dry_run: bool = False,
) -> Change:
    """Delete documents, with all their chunks, in one generation.

    Args:
        path: The index.
        doc_ids: Their ids; in an index of chunks, those of documents.
        filter: Instead of ids: delete the documents whose metadata meets it.
        missing_ok: Whether ids that are not in the index are only reported.
        dry_run: Change nothing.

    Raises:
        QueryError: Some are not in the index, or the filter has a fault, or there are ids and a filter; nothing was
            deleted.
        IndexFormatError: There is no such index, or it is damaged.
        BuildError: Another process is writing for a long time, or the disk refuses.
    """
    folder, ids = resolve_path(path), list(dict.fromkeys(id_texts(doc_ids)))
    if filter is not None:
        if ids:
            raise QueryError(f"got {len(ids)} ids and a filter, expected ids or a filter: delete by the one at a time")
        return _delete_matching(folder, parse_filter(filter), dry_run=dry_run)
    contents, table = open_segments(folder, "changed", has_structure=False, has_postings=False)
    _, unknown = rows_of_documents(table.segments, ids)
    if unknown and not missing_ok:
        shown = ", ".join(map(repr, unknown[:3])) + (", ..." if len(unknown) > 3 else "")
        raise QueryError(f"{len(unknown)} of {len(ids)} document ids are not in {path}: {shown}: leave them out")
    if dry_run or len(unknown) == len(ids):
        return Change(generation=contents.number, deleted=len(ids) - len(unknown), unknown=tuple(unknown))
    with writing(folder) as writer:
        rows, unknown = rows_of_documents(writer.segments, ids)
        number = writer.commit(rows).number if rows else writer.contents.number
    return Change(generation=number, deleted=len(ids) - len(unknown), unknown=tuple(unknown))


def _delete_matching(folder: Path, filter: Filter, *, dry_run: bool) -> Change:
    """Delete the documents whose metadata meets a filter; see `delete_passages`."""
    contents, table = open_segments(folder, "changed", has_structure=False, has_postings=False)
    contents.check_unsharded()
    check_filter(filter, contents.fields, str(folder))
    rows, n_documents = rows_of_matches(table.segments, filter)
    if dry_run or not rows:
        return Change(generation=contents.number, deleted=n_documents)
    with writing(folder) as writer:
        check_filter(filter, writer.contents.fields, str(folder))
        rows, n_documents = rows_of_matches(writer.segments, filter)
        number = writer.commit(rows).number if rows else writer.contents.number
    return Change(generation=number, deleted=n_documents)
