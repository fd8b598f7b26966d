"""Document store for Haystack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from haystack import Document, default_from_dict, default_to_dict
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy

from elasticdenser.arrays import Vectors
from elasticdenser.datasets.metadata import ALL
from elasticdenser.datasets.passages import Passage
from elasticdenser.encoders import PassageEncoder
from elasticdenser.encoders.deferred import DeferredPassageEncoder
from elasticdenser.errors import BadInputError, IndexFormatError
from elasticdenser.index import PassageIndex
from elasticdenser.index.changes import encoder_of
from elasticdenser.integrations.haystack.documents import document_of, passage_of
from elasticdenser.integrations.haystack.filters import index_filter


class ElasticDenserDocumentStore:
    """Document store of Haystack in an index of elasticdenser, which is made when the first documents are written.

    Every change is on disk when its method returns, and every method sees the newest generation of the index, also of
    changes by others. `ElasticDenserRetriever` searches the same folder.

    Args:
        index: Folder of the index. One that exists must hold texts, and documents that were not cut into chunks.
        encoder: Folder or model id; by default that of the index, or all-MiniLM-L6-v2 for a new one.
        encoder_options: Options of the encoder, such as `{"download": False}`; see `PassageEncoder.from_pretrained`.
        hybrid: Whether a new index is also searched by words.
        use_embeddings: Take embeddings of documents as their vectors, which must be of the same encoder; otherwise,
            all texts are encoded.
        return_embedding: Whether `filter_documents` returns vectors, too.
    """

    def __init__(
        self,
        index: str | Path,
        *,
        encoder: str | None = None,
        encoder_options: dict[str, Any] | None = None,
        hybrid: bool = False,
        use_embeddings: bool = True,
        return_embedding: bool = False,
    ) -> None:
        self.index, self.encoder, self.encoder_options = str(index), encoder, encoder_options or {}
        self.hybrid, self.use_embeddings, self.return_embedding = hybrid, use_embeddings, return_embedding
        self._opened: PassageIndex | None = None
        self._loaded: PassageEncoder | None = None
        self._lock = Lock()

    def to_dict(self) -> dict[str, Any]:
        """Return the settings."""
        return default_to_dict(  # type: ignore[no-any-return]  # haystack may not be installed
            self,
            index=self.index,
            encoder=self.encoder,
            encoder_options=self.encoder_options,
            hybrid=self.hybrid,
            use_embeddings=self.use_embeddings,
            return_embedding=self.return_embedding,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ElasticDenserDocumentStore:
        """Return the store with these settings."""
        return default_from_dict(cls, data)  # type: ignore[no-any-return]

    def count_documents(self) -> int:
        """Return the number of documents.

        Raises:
            IndexFormatError: The index is damaged, or cannot be a document store.
        """
        index = self._newest()
        return 0 if index is None else len(index)

    def count_documents_by_filter(self, filters: Mapping[str, Any]) -> int:
        """Return the number of documents that meet filters; see `filter_documents`."""
        index = self._newest()
        return 0 if index is None else len(_matching(index, filters))

    def filter_documents(self, filters: Mapping[str, Any] | None = None) -> list[Document]:
        """Return the documents that meet filters, in the order in which they were written.

        Args:
            filters: Filters on metadata in Haystack's form; None for all documents.

        Raises:
            FilterError: The filters have a fault.
            IndexFormatError: The index is damaged, or cannot be a document store.
        """
        index = self._newest()
        if index is None:
            return []
        positions = _matching(index, filters)
        if not self.return_embedding:
            return [document_of(index.passage_at(position)) for position in positions]
        return [document_of(index.passage_at(position), index.vectors[position].tolist()) for position in positions]

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Write documents, in one generation of the index.

        Args:
            documents: The documents, which have texts.
            policy: What is done with documents whose ids are in the index, or twice in the list: an error, unless the
                policy is SKIP or OVERWRITE.

        Returns:
            Number of documents that were written.

        Raises:
            ValueError: There are other things than documents.
            DuplicateDocumentError: Documents have the ids of others; nothing was written.
            ElasticDenserError: A document has no text, its metadata is of other types than in the index, or the disk
                refuses.
        """
        if not isinstance(documents, list) or not all(isinstance(document, Document) for document in documents):
            raise ValueError("got something else than a list of documents, expected haystack.Document")
        with self._lock:
            index = self._newest()
            is_overwriting = policy is DuplicatePolicy.OVERWRITE
            chosen: dict[str, Document] = {}
            for document in documents:
                is_known = document.id in chosen or (index is not None and index.doc_ids.find(document.id) >= 0)
                if is_known and policy not in (DuplicatePolicy.OVERWRITE, DuplicatePolicy.SKIP):
                    raise DuplicateDocumentError(
                        f"got the document {document.id!r} once more, expected new ids: use DuplicatePolicy.OVERWRITE "
                        "or SKIP"
                    )
                if is_overwriting or not is_known:
                    chosen[document.id] = document
            if chosen:
                self._opened = self._write(index, list(chosen.values()), only_new=not is_overwriting)
        return len(documents) if is_overwriting else len(chosen)

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents; ids that are not in the index are passed over.

        Raises:
            BuildError: Another process is writing for a long time, or the disk refuses.
        """
        with self._lock:
            index = self._newest()
            if index is not None and document_ids:
                self._opened = index.delete(document_ids, missing_ok=True)

    def delete_by_filter(self, filters: Mapping[str, Any]) -> int:
        """Delete the documents that meet filters, and return their number; see `filter_documents`."""
        index = self._newest()
        if index is None:
            return 0
        ids = [index.doc_ids[position] for position in _matching(index, filters)]
        self.delete_documents(ids)
        return len(ids)

    def delete_all_documents(self) -> None:
        """Delete all documents; the index remains, with its encoder and its fields."""
        index = self._newest()
        self.delete_documents([] if index is None else list(index.doc_ids))

    def _newest(self) -> PassageIndex | None:
        """Return the newest generation; None if nothing has been written yet."""
        if self._opened is not None:
            self._opened = self._opened.refresh()
        elif Path(self.index).exists():
            index = PassageIndex.open(self.index)
            if index.manifest.chunking is not None or not index.has_texts:
                fault = "holds no texts" if index.manifest.chunking is None else "holds chunks of documents"
                raise IndexFormatError(
                    f"{self.index} {fault}, expected whole documents with texts: build it without --no-texts and "
                    "--chunk, or only search it"
                )
            self._opened = index
        return self._opened

    def _write(self, index: PassageIndex | None, documents: list[Document], *, only_new: bool) -> PassageIndex:
        passages = [passage_of(document) for document in documents]
        if not self.use_embeddings or all(document.embedding is None for document in documents):
            if index is None:
                return self._built(passages)
            return index.add(passages, encoder=self._encoder(index), only_new=only_new, metadata=ALL)
        vectors = self._vectors(index, documents, passages)
        if index is None:
            # A build encodes: it gets one document, whose vector does not stay.
            index = self._built(passages[:1]).delete([passages[0].doc_id], compact=False)
        return index.add(passages, vectors=vectors, only_new=only_new, metadata=ALL)

    def _built(self, passages: list[Passage]) -> PassageIndex:
        return PassageIndex.build(passages, self.index, self._encoder(None), hybrid=self.hybrid, restart=True)

    def _vectors(self, index: PassageIndex | None, documents: list[Document], passages: list[Passage]) -> Vectors:
        """Return the embeddings of documents, or the vectors of their texts, float32, (n_documents, dim)."""
        pairs = list(zip(documents, passages, strict=True))
        texts = [passage.content for document, passage in pairs if document.embedding is None]
        encoded = iter(self._encoder(index).encode(texts) if texts else ())
        rows = [next(encoded) if document.embedding is None else document.embedding for document in documents]
        lengths = sorted({len(row) for row in rows})
        if len(lengths) > 1:
            raise BadInputError(
                f"got embeddings of {lengths[0]} and of {lengths[-1]} numbers, expected those of the index's encoder: "
                "embed with it, or set use_embeddings=False"
            )
        return np.array(rows, np.float32)

    def _encoder(self, index: PassageIndex | None) -> PassageEncoder:
        """Return the encoder, loaded once: that of an index, or that of a new one."""
        if self._loaded is None:
            if index is None:
                named = () if self.encoder is None else (self.encoder,)
                self._loaded = DeferredPassageEncoder(*named, **self.encoder_options).load()
            else:
                self._loaded = encoder_of(index.contents, self.encoder, **self.encoder_options).load()
        return self._loaded


def _matching(index: PassageIndex, filters: Mapping[str, Any] | None) -> list[int]:
    """Return the positions of the passages that meet filters, rising."""
    found = index_filter(filters, index) if filters else True
    if isinstance(found, bool):
        return list(range(len(index))) if found else []
    positions: list[int] = index.matches(found).positions.tolist()
    return positions
