"""Retriever for LangChain."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from elasticdenser.errors import MissingExtraError
from elasticdenser.integrations.found_passages import find_passages
from elasticdenser.retrieval.retriever import Retriever

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from pydantic import ConfigDict, Field
except ImportError as error:
    raise MissingExtraError("the retriever for LangChain", "langchain") from error


class ElasticDenserRetriever(BaseRetriever):
    """Retriever of LangChain that searches an index of elasticdenser.

    The documents have the id and text of a passage, and the metadata `doc_id`, `title` and `score`.

    Attributes:
        retriever: Searches; its index has texts.
        k: Number of documents; `invoke(query, k=...)` takes another for one call.
        search_options: Further options of `Retriever.search`, such as `{"subnet": "w0.5-d3"}`; also for one call.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    retriever: Retriever
    k: int = 10
    search_options: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def open(
        cls, path: str | Path, *, k: int = 10, search_options: dict[str, Any] | None = None, **options: Any
    ) -> ElasticDenserRetriever:
        """Open an index.

        Args:
            path: Its folder.
            k: As for the class.
            search_options: As for the class.
            options: Options of `Retriever.open`, such as `encoder` or `reranker`.

        Raises:
            ElasticDenserError: As `Retriever.open` does.
        """
        return cls(retriever=Retriever.open(path, **options), k=k, search_options=search_options or {})

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None, **options: Any
    ) -> list[Document]:
        number = self.k if k is None else k
        return [
            Document(id=found.doc_id, page_content=found.text, metadata={**found.metadata, "score": found.score})
            for found in find_passages(self.retriever, query, number, **{**self.search_options, **options})
        ]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return await asyncio.to_thread(
            self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **options
        )
