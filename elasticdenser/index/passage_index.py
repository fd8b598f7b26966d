"""Index of passages: vectors, ids and texts on disk, searched by inner product."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from elasticdenser.arrays import Floats, Positions, Scores, Vectors
from elasticdenser.datasets.passages import Passage
from elasticdenser.errors import EncoderMismatchError, IndexFormatError, QueryError
from elasticdenser.index.chunking import Chunking, chunk_id, document_of
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.efforts import select_effort
from elasticdenser.index.filtered_search import exact_source, filtered_source
from elasticdenser.index.filters import AnyFilter, Filter, parse_filter
from elasticdenser.index.filters.checking import check_filter
from elasticdenser.index.integrity import Check
from elasticdenser.index.lexical import DEFAULT_STEMMER, LexicalSearch
from elasticdenser.index.line_files import IdTable, id_texts
from elasticdenser.index.locking import resolve_path
from elasticdenser.index.metadata.matches import Matches
from elasticdenser.index.metadata.store import MetadataStore
from elasticdenser.index.rescoring import best_candidates
from elasticdenser.index.segment_search import Hits, SegmentSearch
from elasticdenser.index.structures.registry import AUTO
from elasticdenser.index.structures.threads import faiss_threads
from elasticdenser.index.tables import SegmentIds, SegmentTable, SegmentVectors, open_segments
from elasticdenser.models.settings import EncoderFingerprint
from elasticdenser.progress import Progress, silent
from elasticdenser.query_input import checked_k

if TYPE_CHECKING:
    from elasticdenser.datasets.in_memory import AnyCorpus
    from elasticdenser.datasets.metadata import AnySelection
    from elasticdenser.encoders import PassageEncoder
    from elasticdenser.encoders.deferred import DeferredPassageEncoder

_SAMPLED_VECTORS = 1024
"""The standard error of the score of a random passage is then a thirtieth of that of a single one."""


class PassageIndex:
    """An index of passages, opened for search; safe to use from several threads.

    Use `PassageIndex.open` or `PassageIndex.build`. An opened index never changes: `add`, `delete` and `compact` write
    the next generation to disk and return it, opened; `refresh` opens what others have written.

    Attributes:
        path: The folder.
        manifest: Its description.
        vectors: float32, (n_passages, dim), memory-mapped; of an index that was changed, a `SegmentVectors`.
        doc_ids: Document ids by position.
        generation: Number of changes since it was built.
        fields: Types of the metadata fields by name; empty without metadata.
        lexical: Search by words; None if the index was built without it.
    """

    def __init__(self, contents: IndexContents, table: SegmentTable) -> None:
        self.path, self.manifest, self.generation = contents.folder, contents.manifest, contents.number
        self.contents, self._table = contents, table
        self._search = SegmentSearch(table)
        self.vectors: Vectors | SegmentVectors = SegmentVectors(table, self.dim)
        self.doc_ids: IdTable | SegmentIds = SegmentIds(table)
        if len(table.segments) == 1 and not len(table.segments[0].deleted):
            files = table.segments[0].files
            self.vectors, self.doc_ids = files.vectors, files.ids
        # Indexes with metadata or postings are never changed: they are one segment.
        manifest = self.manifest
        self._metadata = MetadataStore(self.path, manifest.n_passages, manifest.metadata)
        self.fields = self._metadata.fields
        self.lexical = (
            None if manifest.lexical is None else LexicalSearch.read(self.path, manifest.lexical, manifest.n_passages)
        )

    @classmethod
    def open(
        cls, path: str | Path, *, encoder: EncoderFingerprint | None = None, check: Check = "changed"
    ) -> PassageIndex:
        """Open the newest generation of an index.

        Args:
            path: Its folder.
            encoder: Fingerprint of the encoder that will search it, to be compared.
            check: `changed` reads the files whose size or times differ from when they were last verified, `all` reads
                every file, `sizes` none.

        Raises:
            IndexFormatError: It is missing, damaged, unfinished, or of a newer format.
            EncoderMismatchError: It was built by another encoder.
        """
        index = cls(*open_segments(Path(path), check))
        if encoder is not None:
            index.check_encoder(encoder)
        return index

    @classmethod
    def build(
        cls,
        corpus: AnyCorpus,
        path: str | Path,
        encoder: PassageEncoder | DeferredPassageEncoder | None = None,
        *,
        factory: str = "auto",
        texts: bool = True,
        overwrite: bool = False,
        restart: bool = False,
        workers: int | None = None,
        chunk: Chunking | str | None = None,
        metadata: AnySelection = None,
        hybrid: bool = False,
        stemmer: str = DEFAULT_STEMMER,
        progress: Progress = silent,
    ) -> PassageIndex:
        """Encode a corpus into a new index, or continue a build that was interrupted there, and open it.

        Args:
            corpus: A corpus; files or folders, as `open_corpus` takes them; or passages: a list or other iterable of
                `Passage` or of mappings such as `{"_id": "p1", "text": "..."}`.
            path: The folder to create.
            encoder: The full encoder; by default all-MiniLM-L6-v2. A `DeferredPassageEncoder` is loaded only if
                passages have to be encoded.
            factory: Factory string of the search structure, such as `HNSW32`; `auto` chooses by the number of passages.
            texts: Whether the passages' texts are stored, to show them with hits.
            overwrite: Replace a finished index of that name, once the new one is complete.
            restart: Discard an unfinished build of another index in that place.
            workers: Cores to encode on; None is all usable ones.
            chunk: Cut documents at the ends of sentences into passages of at most so many tokens, such as `128`, or
                `128/32` to repeat sentences of up to 32 tokens; see `Chunking`. The passages of a document `d7` have
                the ids `d7#0`, `d7#1`, ...
            metadata: Fields that are kept to filter by, such as `section,date:date,tags:text[]` or `all`; see
                `MetadataSelection.parse`. None keeps the metadata that passages bring.
            hybrid: Also index the words of the passages, for `Retriever.search(hybrid=...)`; this needs the texts.
            stemmer: How endings of words are cut off: `porter` for English, another of Snowball's stemmers, such as
                `german`, or `none`.
            progress: Called with (step, done, in all).

        Raises:
            BuildError: Something else is in that place, another build is running, or the disk refuses.
            BadInputError: The corpus has a fault.
        """
        # Imported here because a search does not need them.
        from elasticdenser.datasets import as_corpus
        from elasticdenser.encoders.deferred import DeferredPassageEncoder
        from elasticdenser.index.build import BuildSettings, build_index

        settings = BuildSettings(
            factory=factory,
            texts=texts,
            overwrite=overwrite,
            restart=restart,
            workers=workers,
            chunking=Chunking.parse(chunk) if isinstance(chunk, str) else chunk,
            stemmer=stemmer if hybrid else None,
        )
        path = resolve_path(Path(path))
        build_index(as_corpus(corpus, metadata=metadata), path, encoder or DeferredPassageEncoder(), settings, progress)
        return cls.open(path)

    def add(
        self,
        corpus: AnyCorpus,
        *,
        encoder: PassageEncoder | DeferredPassageEncoder | None = None,
        vectors: Vectors | None = None,
        only_new: bool = False,
        workers: int | None = None,
        compact: bool = True,
        progress: Progress = silent,
    ) -> PassageIndex:
        """Add documents on disk, in one generation, and return the newest generation; this one does not change.

        Documents whose ids are in the index are replaced, with all their chunks; those with the same text are left as
        they are.

        Args:
            corpus: As for `build`. Documents are cut into chunks as those of the index were.
            encoder: The encoder that made the index; by default, the one that the index names is loaded.
            vectors: float32, (n_passages, dim): the vectors of the passages, which are then not encoded. They must be
                of the index's encoder.
            only_new: Leave out documents whose ids are in the index.
            workers: Cores to encode on; None is all usable ones.
            compact: Merge segments afterwards if there are many, or if many passages are deleted.
            progress: Called with (step, done, in all).

        Raises:
            EncoderMismatchError: The encoder is another one than that of the index.
            BadInputError: The corpus or the vectors have a fault.
            BuildError: Another process is writing for a long time, or the disk refuses.
        """
        from elasticdenser.datasets import as_corpus
        from elasticdenser.index.changes import add_passages

        source = as_corpus(corpus)
        add_passages(self.path, source, encoder, vectors=vectors, only_new=only_new, workers=workers, progress=progress)
        return self._next(compact, progress)

    upsert = add

    def delete(
        self,
        doc_ids: Iterable[str | int],
        *,
        missing_ok: bool = False,
        compact: bool = True,
        progress: Progress = silent,
    ) -> PassageIndex:
        """Delete documents on disk, in one generation, and return the newest generation; this one does not change.

        Args:
            doc_ids: Ids of documents; in an index of chunks, all chunks of a document are deleted.
            missing_ok: Whether ids may be missing from the index.
            compact: Merge segments afterwards if there are many, or if many passages are deleted.
            progress: Called with (step, done, in all).

        Raises:
            QueryError: Some ids are not in the index; nothing was deleted.
            BuildError: Another process is writing for a long time, or the disk refuses.
        """
        from elasticdenser.index.changes import delete_passages

        delete_passages(self.path, doc_ids, missing_ok=missing_ok)
        return self._next(compact, progress)

    def compact(self, *, factory: str = "auto", progress: Progress = silent) -> PassageIndex:
        """Merge all segments on disk into one, without the deleted passages, and return the newest generation.

        Nothing is encoded. The positions of the passages do not change.

        Args:
            factory: Factory string of the new search structure; `auto` keeps one that was chosen by hand.
            progress: Called with (step, done, in all).

        Raises:
            BuildError: Another process is compacting the index, or the disk refuses.
        """
        from elasticdenser.index import compaction

        compaction.compact(self.path, factory=factory, progress=progress)
        return self.refresh()

    def snapshot(self, path: str | Path) -> PassageIndex:
        """Make a folder that is the newest generation of this index and does not change with it, and open it.

        The files are linked, or copied where links are not possible.

        Raises:
            BuildError: Something is in that place, another process is writing for a long time, or the disk refuses.
        """
        from elasticdenser.index.snapshots import snapshot

        snapshot(self.path, Path(path))
        return PassageIndex.open(path)

    def refresh(self) -> PassageIndex:
        """Return the newest generation, opened; it is this one if the index has not changed since.

        Files of segments that are open already are not read again.

        Raises:
            IndexFormatError: The index is missing, damaged, or of a newer format.
        """
        if IndexContents.read(self.path) == self.contents:
            return self
        return PassageIndex(*open_segments(self.path, "changed", self._table.segments))

    def _next(self, compact: bool, progress: Progress) -> PassageIndex:
        """Compact the index if it is needed and wanted, and return the newest generation."""
        if compact:
            from elasticdenser.index import compaction

            compaction.compact_if_needed(self.path, progress)
        return self.refresh()

    def __repr__(self) -> str:
        return f"<PassageIndex {str(self.path)!r}: {len(self):,} passages, {self.dim} dimensions>"

    def __reduce__(self) -> tuple[Callable[..., PassageIndex], tuple[Path]]:
        return PassageIndex.open, (self.path.absolute(),)  # pickled by path

    def __len__(self) -> int:
        return self.manifest.n_passages

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.manifest.dim

    @cached_property
    def mean_vector(self) -> Floats:
        """Mean of up to 1,024 vectors at even distances, float32, (dim,): its score is that of a random passage."""
        positions = np.unique(np.linspace(0, len(self) - 1, _SAMPLED_VECTORS).astype(np.int64))
        mean: Floats = self.vectors[positions].mean(axis=0)
        return mean

    def check_encoder(self, encoder: EncoderFingerprint) -> None:
        """Refuse an encoder whose vectors are not in the vector space of this index.

        Raises:
            EncoderMismatchError: The encoders differ; the message lists all differences.
        """
        differences = self.manifest.encoder.differences(encoder)
        if differences:
            raise EncoderMismatchError(
                f"{self.path} was made by another encoder than {encoder.name} (index against encoder: "
                f"{'; '.join(differences)}). Search it with {self.manifest.encoder.name}, or build the index again"
            )

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        within: Positions | None = None,
        filter: AnyFilter | None = None,
        exact: bool = False,
        recall: float | None = None,
    ) -> tuple[Scores, Positions]:
        """Return the passages with the highest inner products, in the calling thread.

        The search structure proposes candidates; their scores are computed from the stored vectors, one passage at a
        time, so that a query has the same scores alone and in a batch. Ties are broken by position in the index.

        Args:
            queries: float32, (n_queries, dim), normalised as the encoder's settings say.
            k: How many hits, at least 1; capped at the number of passages.
            within: int64, (n,): search only these positions, exactly.
            filter: Search only passages whose metadata meets it, such as `section = 'ops' and date >= '2026-01-01'`;
                few passages are searched exactly, and as many hits are found as there are.
            exact: Scan all vectors instead of using the search structure.
            recall: Search with the least effort that reaches this recall@10 according to the manifest; None is the
                greatest effort.

        Returns:
            Scores, float32, and positions, int64, both (n_queries, min(k, n)), best first.

        Raises:
            QueryError: The shape is wrong, k or recall is out of range, a value is not finite, or the filter has a
                fault.
        """
        queries, k = self._checked_queries(queries), checked_k(k)
        select_effort(self.manifest.structure.efforts, recall)  # refuses a wrong one also where it is not used
        matches = None if filter is None else self.matches(filter)
        with faiss_threads(1):
            if within is not None:
                allowed = self._checked_positions(within)
                allowed = allowed if matches is None else allowed[matches.mask[allowed]]
                return self._checked_hits(
                    queries, min(k, len(allowed)), partial(self._search.scan_within, allowed=allowed)
                )
            if matches is not None:
                matching = partial(self._search_matches, matches=matches, exact=exact, recall=recall)
                return self._checked_hits(queries, min(k, matches.n), matching)
            search = self._search.scan if exact else partial(self._search.search, recall=recall)
            return self._checked_hits(queries, min(k, len(self)), search)

    def _search_matches(self, queries: Vectors, k: int, *, matches: Matches, exact: bool, recall: float | None) -> Hits:
        """Search the passages that meet a filter, at least k of them."""
        (segment,) = self._table.segments
        vectors = segment.files.vectors
        if exact:
            source = exact_source(vectors, matches.positions, len(queries))
        else:
            source = filtered_source(segment.files.structure.source_for(recall), vectors, matches, k, len(queries))
        return best_candidates(queries, source, vectors, k)

    def _checked_hits(self, queries: Vectors, k: int, search: Callable[[Vectors, int], Hits]) -> Hits:
        """Search, and refuse scores that are not numbers; k may be 0."""
        if k == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        scores, positions = search(queries, k)
        if np.isnan(scores).any():
            raise IndexFormatError(
                f"{self.path} holds vectors that are not numbers: restore it from a copy, or build it again with "
                "--overwrite"
            )
        return scores, positions

    def metadata_of(self, doc_id: str | int) -> dict[str, Any]:
        """Return the metadata of a passage; empty if it has none.

        Raises:
            QueryError: There is no such id.
        """
        return self.metadata_at(int(self.positions([doc_id])[0]))

    def metadata_at(self, position: int) -> dict[str, Any]:
        """Return the metadata of the passage at a position from 0 to n - 1; empty if it has none."""
        return self._metadata.at(position)

    def matches(self, filter: AnyFilter) -> Matches:
        """Return the passages that meet a filter; those of the last filters are cached.

        Args:
            filter: Text such as `section = 'ops'`, or its form in JSON; see `docs/filters.md`.

        Raises:
            QueryError: The filter has a fault, or the index lacks its fields.
        """
        return self._metadata.matches(self.check_filter(filter))

    def check_filter(self, filter: AnyFilter) -> Filter:
        """Return a filter, given in any of its forms, after a check that it fits the fields of this index.

        Raises:
            QueryError: It has a fault, or is on other fields or values than the index has.
        """
        parsed = parse_filter(filter)
        check_filter(parsed, self.fields, str(self.path))
        return parsed

    def _checked_queries(self, queries: Vectors) -> Vectors:
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise QueryError(f"got query vectors of shape {queries.shape}, expected (n_queries, {self.dim})")
        if not np.isfinite(queries).all():
            raise QueryError("got query vectors with values that are not finite: check the encoder")
        return queries

    def _checked_positions(self, within: Positions) -> Positions:
        positions = np.asarray(within)
        if positions.size and not np.issubdtype(positions.dtype, np.integer):
            raise QueryError(f"got positions of type {positions.dtype}, expected whole numbers")
        positions = np.unique(positions.astype(np.int64))
        if len(positions) and (positions[0] < 0 or positions[-1] >= len(self)):
            raise QueryError(f"got positions from {positions[0]} to {positions[-1]}, expected 0 to {len(self) - 1}")
        return positions

    def positions(self, doc_ids: Iterable[str | int]) -> Positions:
        """Return the positions of document ids, int64, (n,), for `search(within=...)`; integers are taken as text.

        If documents were cut into chunks, the ids may be those of chunks, or of documents, which stand for all their
        chunks.

        Raises:
            QueryError: Some are not in the index.
        """
        if self.manifest.chunking is None:
            return self.doc_ids.positions(doc_ids)
        return self.doc_ids.positions(
            passage_id for doc_id in id_texts(doc_ids) for passage_id in self._passages_of(doc_id)
        )

    def _passages_of(self, doc_id: str) -> Iterable[str]:
        """Yield the ids of a document's chunks, or `doc_id` itself if there is no such document."""
        first = self.doc_ids.find(chunk_id(doc_id, 0))
        if first < 0 or self.doc_ids.find(doc_id) >= 0:
            yield doc_id
            return
        for position in range(first, len(self)):
            passage_id = self.doc_ids[position]
            if document_of(passage_id) != doc_id:
                break
            yield passage_id

    def document_of(self, passage_id: str) -> str:
        """Return the id of the document that a passage belongs to: its own, unless documents were cut into chunks."""
        return passage_id if self.manifest.chunking is None else document_of(passage_id)

    def passage(self, doc_id: str | int) -> Passage:
        """Return a passage with its text; an integer is taken as the id that is its text.

        Raises:
            QueryError: There is no such id.
            IndexFormatError: The index was built without texts.
        """
        return self.passage_at(int(self.positions([doc_id])[0]))

    def text(self, doc_id: str | int) -> str:
        """Return the text of a passage without its title, as answer match looks it up.

        Raises:
            KeyError: There is no such id.
            IndexFormatError: The index was built without texts.
        """
        position = self.doc_ids.find(doc_id)
        if position < 0:
            raise KeyError(doc_id)
        return self.passage_at(position).text

    def passage_at(self, position: int) -> Passage:
        """Return the passage at a position.

        Raises:
            QueryError: There is no such position.
            IndexFormatError: The index was built without texts, or is damaged.
        """
        if not self.has_texts:
            raise IndexFormatError(f"{self.path} holds no texts: build it without --no-texts to show passages")
        # A protocol is slow to check: most positions are of the type itself.
        is_whole = type(position) is int or (isinstance(position, SupportsIndex) and not isinstance(position, bool))
        if not is_whole or not 0 <= position < len(self):
            raise QueryError(f"got position {position!r}, expected a whole number from 0 to {len(self) - 1}")
        segment, row = self._table.place(int(position))
        if segment.files.passages is None:
            raise IndexFormatError(f"{segment.files.path} holds no texts, expected those of its passages")
        passage = segment.files.passages[row]
        return replace(passage, metadata=self.metadata_at(int(position)) or None) if self.fields else passage

    @property
    def has_texts(self) -> bool:
        """Whether the texts of passages are stored."""
        return self.manifest.has_texts


def rebuild(
    path: str | Path,
    factory: str | None = None,
    progress: Progress = silent,
    *,
    hybrid: bool | None = None,
    stemmer: str = DEFAULT_STEMMER,
) -> PassageIndex:
    """Derive the search structure of an index again, or the postings for search by words, and open the index.

    The segments of an index that was changed become one.

    Args:
        path: The index; the files that are derived again may be damaged.
        factory: Factory string of the new structure, or `auto`; None is `auto`, but the old structure if only the
            postings change, that is, if `hybrid` is given.
        progress: Called with (step, done, in all).
        hybrid: Whether the index will have postings, which are built again; None keeps what there is.
        stemmer: As for `PassageIndex.build`.

    Raises:
        IndexFormatError: More than these files is damaged, or there are no texts to make postings of.
        BuildError: A factory string or stemmer is not known, or the disk refuses.
    """
    # Imported here because a search does not need them.
    from elasticdenser.index.compaction import rewrite
    from elasticdenser.index.rebuilding import KEEP, rebuild_derived

    folder = resolve_path(Path(path))
    if factory is None and hybrid is None:
        factory = AUTO
    if hybrid is None and IndexContents.read(folder).generation is not None:
        rewrite(folder, factory or AUTO, progress)
    else:
        rebuild_derived(folder, factory, progress, stemmer=KEEP if hybrid is None else stemmer if hybrid else None)
    return PassageIndex.open(folder)
