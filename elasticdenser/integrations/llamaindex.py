"""Retriever for LlamaIndex."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from elasticdenser.errors import MissingExtraError
from elasticdenser.integrations.found_passages import find_passages
from elasticdenser.retrieval.retriever import Retriever

try:
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
except ImportError as error:
    raise MissingExtraError("the retriever for LlamaIndex", "llamaindex") from error


class ElasticDenserRetriever(BaseRetriever):
    """Retriever of LlamaIndex that searches an index of elasticdenser.

    The nodes have the id and text of a passage, and the metadata `doc_id` and `title`.

    Args:
        retriever: Searches; its index has texts.
        k: Number of nodes.
        search_options: Further options of `Retriever.search`, such as `{"subnet": "w0.5-d3"}`.
        options: Options of LlamaIndex's own class, such as `callback_manager`.
    """

    def __init__(
        self, retriever: Retriever, *, k: int = 10, search_options: dict[str, Any] | None = None, **options: Any
    ) -> None:
        self.retriever, self.k, self.search_options = retriever, k, search_options or {}
        super().__init__(**options)

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
        return cls(Retriever.open(path, **options), k=k, search_options=search_options)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            NodeWithScore(node=TextNode(id_=found.doc_id, text=found.text, metadata=found.metadata), score=found.score)
            for found in find_passages(self.retriever, query_bundle.query_str, self.k, **self.search_options)
        ]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)
