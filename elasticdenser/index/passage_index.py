"""Index of passages: vectors, ids and texts on disk, searched by inner product."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from elasticdenser.arrays import Vectors
from elasticdenser.errors import QueryError
from elasticdenser.index.chunking import Chunking
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.filters import AnyFilter
from elasticdenser.index.integrity import Check
from elasticdenser.index.lexical import DEFAULT_STEMMER
from elasticdenser.index.locking import resolve_path
from elasticdenser.index.searchable_index import SearchableIndex
from elasticdenser.index.tables import open_segments
from elasticdenser.models.settings import EncoderFingerprint
from elasticdenser.progress import Progress, silent
from elasticdenser.query_input import checked_count

if TYPE_CHECKING:
    from elasticdenser.datasets.in_memory import AnyCorpus
    from elasticdenser.datasets.metadata import AnySelection
    from elasticdenser.encoders import PassageEncoder
    from elasticdenser.encoders.deferred import DeferredPassageEncoder


class PassageIndex(SearchableIndex):
    """An index of passages, opened for search; safe to use from several threads.

    Use `PassageIndex.open` or `PassageIndex.build`. An opened index never changes: `add`, `delete` and `compact` write
    the next generation to disk and return it, opened; `refresh` opens what others have written.

    Attributes:
        path: The folder.
        manifest: Its description.
        vectors: float32, (n_passages, dim), memory-mapped; of an index that was changed, a `SegmentVectors`.
        doc_ids: Document ids by position.
        generation: Number of changes since it was built.
        contents: Its segments, as the manifests describe them.
        fields: Types of the metadata fields by name; empty without metadata.
        lexical: Search by words; None if the index was built without it.
    """

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: EncoderFingerprint | None = None,
        check: Check = "changed",
        threads: int = 1,
    ) -> PassageIndex:
        """Open the newest generation of an index.

        Args:
            path: Its folder.
            encoder: Fingerprint of the encoder that will search it, to be compared.
            check: `changed` reads the files whose size or times differ from when they were last verified, `all` reads
                every file, `sizes` none.
            threads: Shards (or segments) that are searched at a time. With 1, each is searched in the calling thread:
                best where several threads call `search`, as an engine does.

        Raises:
            IndexFormatError: It is missing, damaged, unfinished, or of a newer format.
            EncoderMismatchError: It was built by another encoder.
            QueryError: `threads` is below 1, or there is no such `check`.
        """
        threads = checked_count(threads, "threads")
        if check not in get_args(Check):
            raise QueryError(f"got check = {check!r}, expected {' or '.join(map(repr, get_args(Check)))}")
        index = cls(*open_segments(Path(path), check), threads)
        if encoder is not None:
            index.check_encoder(encoder)
        return index

    @classmethod
    def build(
        cls,
        corpus: AnyCorpus,
        path: str | Path,
        encoder: PassageEncoder | DeferredPassageEncoder | str | Path | None = None,
        *,
        factory: str = "auto",
        texts: bool = True,
        overwrite: bool = False,
        restart: bool = False,
        workers: int | None = None,
        chunk: Chunking | str | int | None = None,
        metadata: AnySelection = None,
        hybrid: bool = False,
        stemmer: str = DEFAULT_STEMMER,
        shards: int | None = None,
        ray: str | None = None,
        progress: Progress = silent,
    ) -> PassageIndex:
        """Encode a corpus into a new index, or continue a build that was interrupted there, and open it.

        Args:
            corpus: A corpus; files or folders, as `open_corpus` takes them; or passages: a list or other iterable of
                `Passage` or of mappings such as `{"_id": "p1", "text": "..."}`.
            path: The folder to create.
            encoder: The full encoder, or its folder or model id; by default all-MiniLM-L6-v2. A name, and a
                `DeferredPassageEncoder`, are loaded only if passages have to be encoded.
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
            shards: Build a sharded index of so many shards, of a corpus in files or data sets; see `docs/sharding.md`.
            ray: Build the shards on a Ray cluster: its address, or `local` to start one on this machine.
            progress: Called with (step, done, in all).

        Raises:
            BuildError: Something else is in that place, another build is running, or the disk refuses.
            BadInputError: The corpus has a fault.
            MissingExtraError: Ray is not installed.
        """
        # Imported here because a search does not need them.
        from elasticdenser.datasets import as_corpus
        from elasticdenser.encoders.deferred import as_passage_encoder
        from elasticdenser.index.build import build_index
        from elasticdenser.index.plan import BuildSettings

        settings = BuildSettings(
            factory=factory,
            texts=texts,
            overwrite=overwrite,
            restart=restart,
            workers=workers,
            chunking=chunk if chunk is None or isinstance(chunk, Chunking) else Chunking.parse(str(chunk)),
            stemmer=stemmer if hybrid else None,
        )
        path = resolve_path(Path(path))
        source, encoder = as_corpus(corpus, metadata=metadata), as_passage_encoder(encoder)
        if shards is None and ray is None:
            build_index(source, path, encoder, settings, progress)
        else:
            from elasticdenser.index.sharding.building import build_shards

            build_shards(source, path, encoder, settings, shards, progress, ray=ray)
        return cls.open(path)

    def add(
        self,
        corpus: AnyCorpus,
        *,
        encoder: PassageEncoder | DeferredPassageEncoder | str | Path | None = None,
        vectors: Vectors | None = None,
        only_new: bool = False,
        metadata: AnySelection = None,
        workers: int | None = None,
        compact: bool = True,
        progress: Progress = silent,
    ) -> PassageIndex:
        """Add documents on disk, in one generation, and return the newest generation; this one does not change.

        Documents whose ids are in the index are replaced, with all their chunks; those with the same text and metadata
        are left as they are. Metadata is kept of the fields that the index has.

        Args:
            corpus: As for `build`. Documents are cut into chunks as those of the index were.
            encoder: The encoder that made the index, or its folder or model id; by default, the one that the index
                names is loaded.
            vectors: float32, (n_passages, dim): the vectors of the passages, which are then not encoded. They must be
                of the index's encoder.
            only_new: Leave out documents whose ids are in the index.
            metadata: Further fields that are kept, as for `build`, or `all`; the index then has them.
            workers: Cores to encode on; None is all usable ones.
            compact: Merge segments afterwards if there are many, or if many passages are deleted.
            progress: Called with (step, done, in all).

        Raises:
            EncoderMismatchError: The encoder is another one than that of the index.
            BadInputError: The corpus or the vectors have a fault, metadata is not of the types of the index, or a
                `Passage` brings a field that the index does not have and `metadata` does not name.
            BuildError: Another process is writing for a long time, or the disk refuses.
        """
        from elasticdenser.index.changes import add_passages

        add_passages(
            self.path,
            corpus,
            encoder,
            vectors=vectors,
            only_new=only_new,
            metadata=metadata,
            workers=workers,
            progress=progress,
        )
        return self._next(compact, progress)

    upsert = add

    def delete(
        self,
        doc_ids: Iterable[str | int] = (),
        *,
        filter: AnyFilter | None = None,
        missing_ok: bool = False,
        compact: bool = True,
        progress: Progress = silent,
    ) -> PassageIndex:
        """Delete documents on disk, in one generation, and return the newest generation; this one does not change.

        Args:
            doc_ids: Ids of documents; in an index of chunks, all chunks of a document are deleted.
            filter: Instead of ids: delete the documents whose metadata meets it, such as `section = 'old'`.
            missing_ok: Whether ids may be missing from the index.
            compact: Merge segments afterwards if there are many, or if many passages are deleted.
            progress: Called with (step, done, in all).

        Raises:
            QueryError: Some ids are not in the index, or the filter has a fault; nothing was deleted.
            BuildError: Another process is writing for a long time, or the disk refuses.
        """
        from elasticdenser.index.changes import delete_passages

        delete_passages(self.path, doc_ids, filter=filter, missing_ok=missing_ok)
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
        return PassageIndex(*open_segments(self.path, "changed", self._table.segments), self._threads)

    def retire(self) -> None:
        """Release what this index holds in other processes, once searches that have begun have ended: nothing."""

    def _next(self, compact: bool, progress: Progress) -> PassageIndex:
        """Compact the index if it is needed and wanted, and return the newest generation."""
        if compact:
            from elasticdenser.index import compaction

            compaction.compact_if_needed(self.path, progress)
        return self.refresh()

    def __repr__(self) -> str:
        return f"<PassageIndex {str(self.path)!r}: {len(self):,} passages, {self.dim} dimensions>"

    def __reduce__(self) -> tuple[Callable[..., PassageIndex], tuple[Path]]:
        return partial(PassageIndex.open, threads=self._threads), (self.path.absolute(),)  # pickled by path
