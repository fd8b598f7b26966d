"""Retriever for Haystack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict

from elasticdenser.index.filters import parse_filter
from elasticdenser.index.filters.nodes import And
from elasticdenser.integrations.found_passages import find_passages
from elasticdenser.integrations.haystack.documents import meta_of
from elasticdenser.integrations.haystack.filters import index_filter
from elasticdenser.retrieval.retriever import Retriever


@component
class ElasticDenserRetriever:
    """Component of Haystack that searches an index of elasticdenser; pipelines with it can be saved as YAML.

    The documents have the id, text, metadata and score of a passage, and the metadata `doc_id` and `title`. What is
    written to an `ElasticDenserDocumentStore` in the same folder is found by the next query.

    Args:
        index: Folder of an index with texts.
        top_k: Number of documents.
        search_options: Further options of `Retriever.search`, such as `{"subnet": "w0.5-d3"}`.
        open_options: Options of `Retriever.open`, such as `encoder` or `reranker`.
    """

    def __init__(
        self,
        index: str | Path,
        *,
        top_k: int = 10,
        search_options: dict[str, Any] | None = None,
        open_options: dict[str, Any] | None = None,
    ) -> None:
        self.index, self.top_k = str(index), top_k
        self.search_options, self.open_options = search_options or {}, open_options or {}
        self._retriever: Retriever | None = None

    def warm_up(self) -> None:
        """Open the index; the first query does it otherwise.

        Raises:
            ElasticDenserError: As `Retriever.open` does.
        """
        self._opened()

    def to_dict(self) -> dict[str, Any]:
        """Return the settings."""
        return default_to_dict(  # type: ignore[no-any-return]  # haystack may not be installed
            self,
            index=self.index,
            top_k=self.top_k,
            search_options=self.search_options,
            open_options=self.open_options,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ElasticDenserRetriever:
        """Return the component with these settings."""
        return default_from_dict(cls, data)  # type: ignore[no-any-return]

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, top_k: int | None = None, filters: Mapping[str, Any] | None = None
    ) -> dict[str, list[Document]]:
        """Search.

        Args:
            query: The query.
            top_k: Number of documents, instead of the component's.
            filters: Filters on metadata in Haystack's form, which documents meet beside those of the component.

        Returns:
            The documents, best first, under the name `documents`.

        Raises:
            ElasticDenserError: The index cannot be opened, or the query is empty.
            FilterError: The filters have a fault.
        """
        retriever, options = self._opened(), self.search_options
        if filters:
            found = index_filter(filters, retriever.index)
            if found is False:
                return {"documents": []}
            if found is not True:
                own = options.get("filter")
                options = {**options, "filter": found if own is None else And((parse_filter(own), found))}
        top_k = self.top_k if top_k is None else top_k
        return {
            "documents": [
                Document(id=passage.doc_id, content=passage.text, score=passage.score, meta=meta_of(passage.metadata))
                for passage in find_passages(retriever, query, top_k, **options)
            ]
        }

    def _opened(self) -> Retriever:
        if self._retriever is None:
            self._retriever = Retriever.open(self.index, **self.open_options)
        else:
            self._retriever = self._retriever.refresh()
        return self._retriever
