"""Segments of an index: files that are never altered, and the positions of their deleted passages.

Positions in the files are *rows*; positions of an opened index leave the deleted passages out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Positions, Vectors
from elasticdenser.datasets.passages import Passage
from elasticdenser.errors import IndexFormatError
from elasticdenser.index import layout
from elasticdenser.index.chunking import chunk_id, document_of, n_documents_of
from elasticdenser.index.generation import DeletedPassages
from elasticdenser.index.lexical.postings import Postings
from elasticdenser.index.line_files import IdTable, LineFile
from elasticdenser.index.manifest import Manifest
from elasticdenser.index.metadata.store import MetadataStore
from elasticdenser.index.passage_file import PassageFile
from elasticdenser.index.segment_contents import SegmentContents
from elasticdenser.index.structures import IndexStructure

NO_POSITIONS: Positions = np.empty(0, np.int64)


class SegmentFiles:
    """Opened files of a segment; they remain readable when a later generation removes them.

    Args:
        path: The folder.
        manifest: Its description.
        has_structure: Whether the search structure is read, which takes the longest.
        has_postings: Whether the postings are opened, if there are any.

    Attributes:
        vectors: float32, (n_rows, dim), memory-mapped.
        ids: Ids by row, and rows by id.
        passages: Passages by row, without their metadata; None if no texts are stored.
        metadata: Metadata by row.
        postings: Postings for search by words; None if there are none, or they were not to be opened.
        lines: The files with a line for each row, by name.
    """

    def __init__(
        self, path: Path, manifest: Manifest, *, has_structure: bool = True, has_postings: bool = True
    ) -> None:
        self.path, self.manifest = path, manifest
        shape = (manifest.n_passages, manifest.dim)
        # As a plain array: every access to a memmap creates another memmap object, which is slow. As a string: NumPy
        # resolves a `Path`, which takes most of the time.
        self.vectors: Vectors = np.asarray(np.memmap(str(path / layout.VECTORS), dtype="<f4", mode="r", shape=shape))
        self.ids = IdTable(LineFile(path / layout.IDS, path / layout.ID_OFFSETS), path / layout.ID_LOOKUP)
        self.passages = (
            PassageFile(path / layout.PASSAGES, path / layout.PASSAGE_OFFSETS) if manifest.has_texts else None
        )
        self.metadata = MetadataStore(path, manifest.n_passages, manifest.metadata or {})
        self.lines = {layout.IDS: self.ids.lines}
        if self.passages is not None:
            self.lines[layout.PASSAGES] = self.passages.lines
        if self.metadata.lines is not None:
            self.lines[layout.METADATA] = self.metadata.lines
        self.postings = None
        if has_postings and manifest.lexical is not None:
            self.postings = Postings(path, manifest.lexical, manifest.n_passages)
        self._structure = IndexStructure.read(path, manifest.structure, self.vectors) if has_structure else None

    @property
    def is_complete(self) -> bool:
        """Whether all files were opened, also those that are derived from others."""
        return self._structure is not None and (self.postings is not None or self.manifest.lexical is None)

    def passage(self, row: int) -> Passage:
        """Return the passage at a row, with its metadata.

        Raises:
            IndexFormatError: No texts are stored.
        """
        if self.passages is None:
            raise IndexFormatError(f"{self.path} holds no texts, expected those of its passages")
        passage = self.passages[row]
        metadata = self.metadata.at(row)
        return replace(passage, metadata=metadata) if metadata else passage

    @property
    def structure(self) -> IndexStructure:
        """The search structure."""
        if self._structure is None:
            raise RuntimeError(f"{self.path} was opened without its search structure")
        return self._structure


class Segment:
    """Passages of a segment that are not deleted.

    Args:
        files: The opened files.
        contents: Their description.
        deleted: int64, rows of the deleted passages in rising order.
    """

    def __init__(self, files: SegmentFiles, contents: SegmentContents, deleted: Positions = NO_POSITIONS) -> None:
        self.files, self.contents, self.deleted = files, contents, deleted
        # How many passages are left before each deleted one: `rows` looks positions up in it.
        self._left_before = deleted - np.arange(len(deleted))

    @classmethod
    def open(
        cls,
        folder: Path,
        contents: SegmentContents,
        files: SegmentFiles | None,
        *,
        has_structure: bool,
        has_postings: bool,
    ) -> Segment:
        """Open a segment of the index in `folder`.

        Args:
            folder: The index.
            contents: Description of the segment.
            files: Its files, if they are open already.
            has_structure: Whether the search structure is read.
            has_postings: Whether the postings are opened.

        Raises:
            IndexFormatError: It is damaged.
        """
        if files is None or (has_structure and not files.is_complete):
            files = SegmentFiles(
                folder / contents.path, contents.manifest, has_structure=has_structure, has_postings=has_postings
            )
        deleted = NO_POSITIONS
        if contents.deleted is not None:
            deleted = _read_deleted(folder / layout.SEGMENTS, contents.deleted, contents.manifest.n_passages)
        return cls(files, contents, deleted)

    @classmethod
    def of_folder(cls, path: Path) -> Segment:
        """Open a segment that belongs to no index yet, without its search structure and postings."""
        manifest = Manifest.read(path)
        contents = SegmentContents(path=f"{layout.SEGMENTS}/{path.name}", manifest=manifest)
        return cls(SegmentFiles(path, manifest, has_structure=False, has_postings=False), contents)

    def __len__(self) -> int:
        return self.n_rows - len(self.deleted)

    @property
    def n_rows(self) -> int:
        """Number of passages, deleted ones included."""
        return self.files.manifest.n_passages

    @cached_property
    def is_left(self) -> NDArray[np.bool_]:
        """Tell which passages are not deleted: bool, (n_rows,)."""
        is_left = np.ones(self.n_rows, bool)
        is_left[self.deleted] = False
        return is_left

    def row(self, position: int) -> int:
        """Return the row of the passage at a position that leaves the deleted out."""
        return int(self.rows(np.array([position]))[0]) if len(self.deleted) else position

    def rows(self, positions: Positions) -> Positions:
        """Return the rows of the passages at positions that leave the deleted out."""
        if not len(self.deleted):
            return positions
        return positions + np.searchsorted(self._left_before, positions, side="right")

    def positions(self, rows: Positions) -> Positions:
        """Return the positions of rows that are not deleted; -1 remains -1."""
        if not len(self.deleted):
            return rows
        return rows - np.searchsorted(self.deleted, rows)

    def find(self, doc_id: str | int) -> int:
        """Return the position of `doc_id`, or -1."""
        row = self.files.ids.find(doc_id)
        if row < 0 or not len(self.deleted):
            return row
        before = int(np.searchsorted(self.deleted, row))
        return -1 if before < len(self.deleted) and self.deleted[before] == row else row - before

    def find_all(self, doc_ids: Sequence[str]) -> Positions:
        """Return the positions of ids, int64, (n,), -1 for those that are not here."""
        rows = self.files.ids.find_all(doc_ids)
        if not len(self.deleted):
            return rows
        return np.where((rows >= 0) & self.is_left[rows], self.positions(rows), -1)

    def rows_of_document(self, doc_id: str) -> Positions:
        """Return the rows of a document that was not deleted: int64, (n,), empty if it is not here.

        It is that of the passage `doc_id` or, if documents were cut into chunks, those of all its chunks.
        """
        has_chunks = self.files.manifest.chunking is not None
        position = self.find(chunk_id(doc_id, 0) if has_chunks else doc_id)
        if position < 0:
            return NO_POSITIONS
        first = int(self.rows(np.array([position]))[0])
        if not has_chunks:
            return np.array([first], np.int64)
        return np.arange(first, first + sum(1 for _ in self._chunks_from(first, doc_id)))

    def n_documents_at(self, rows: Positions) -> int:
        """Return how many documents passages are of; if these are chunks, all chunks of a document are among them."""
        if self.files.manifest.chunking is None:
            return len(rows)
        return n_documents_of(self.files.ids.take(rows))

    def rows_shared_with(self, other: Segment) -> tuple[Positions, int]:
        """Return the rows of the documents that are in the other segment too, and how many documents these are."""
        rows = self.files.ids.maybe_shared_with(other.files.ids)
        rows = rows[self.is_left[rows]]
        shared = [doc_id for doc_id in self.files.ids.take(rows) if other.find(doc_id) >= 0]
        if self.files.manifest.chunking is not None:
            documents = [document_of(chunk) for chunk in shared]
            shared = [
                document for chunk, document in zip(shared, documents, strict=True) if chunk == chunk_id(document, 0)
            ]
        parts = [self.rows_of_document(doc_id) for doc_id in shared]
        return np.sort(np.concatenate([NO_POSITIONS, *parts])), len(shared)

    def _chunks_from(self, row: int, doc_id: str) -> Iterator[str]:
        """Yield the ids from a row on that are of the same document."""
        while row < self.n_rows and document_of(passage_id := self.files.ids[row]) == doc_id:
            yield passage_id
            row += 1


def _read_deleted(folder: Path, deleted: DeletedPassages, n_rows: int) -> Positions:
    """Read the rows of the deleted passages: int64, in rising order.

    Raises:
        IndexFormatError: The file is damaged.
    """
    path = folder / deleted.file
    rows = np.fromfile(path, "<i8").astype(np.int64)
    if len(rows) != deleted.n_passages or rows[0] < 0 or rows[-1] >= n_rows or (np.diff(rows) <= 0).any():
        raise IndexFormatError(f"{path} is damaged: it does not hold rising positions below {n_rows:,}")
    return rows
