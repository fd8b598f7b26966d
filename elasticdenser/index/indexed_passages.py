"""Passages of an opened index: their ids, vectors, texts and metadata, by id and by position."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, SupportsIndex

from elasticdenser.arrays import Positions, Vectors
from elasticdenser.datasets.passages import Passage
from elasticdenser.errors import IndexFormatError, QueryError
from elasticdenser.index.chunking import chunk_id, document_of
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.line_files import IdTable, id_texts
from elasticdenser.index.segment_metadata import SegmentMetadata
from elasticdenser.index.tables import SegmentIds, SegmentTable, SegmentVectors


class IndexedPassages:
    """Passages of one generation of an index; safe to use from several threads.

    Args:
        contents: The generation.
        table: Its segments, opened.
    """

    def __init__(self, contents: IndexContents, table: SegmentTable) -> None:
        self.path, self.manifest, self.generation = contents.folder, contents.manifest, contents.number
        self.contents, self._table = contents, table
        self.vectors: Vectors | SegmentVectors = SegmentVectors(table, self.dim)
        self.doc_ids: IdTable | SegmentIds = SegmentIds(table)
        if len(table.segments) == 1 and not len(table.segments[0].deleted):
            files = table.segments[0].files
            self.vectors, self.doc_ids = files.vectors, files.ids
        self._metadata = SegmentMetadata(table, contents.fields)
        self.fields = self._metadata.fields

    def __len__(self) -> int:
        return self.manifest.n_passages

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.manifest.dim

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
        return segment.files.passage(row)

    @property
    def has_texts(self) -> bool:
        """Whether the texts of passages are stored."""
        return self.manifest.has_texts

    def metadata_of(self, doc_id: str | int) -> dict[str, Any]:
        """Return the metadata of a passage; empty if it has none.

        Raises:
            QueryError: There is no such id.
        """
        return self.metadata_at(int(self.positions([doc_id])[0]))

    def metadata_at(self, position: int) -> dict[str, Any]:
        """Return the metadata of the passage at a position from 0 to n - 1; empty if it has none."""
        return self._metadata.at(position)
