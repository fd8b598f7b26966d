"""The retriever for LlamaIndex."""

from __future__ import annotations

import asyncio

import pytest
from index_of_three import QUERY

pytest.importorskip("llama_index.core", reason="needs llama-index-core (make test-integrations)")

from elasticdenser.errors import QueryError
from elasticdenser.integrations.llamaindex import ElasticDenserRetriever


def test_nodes_have_id_text_title_and_score(our_retriever):
    nodes = ElasticDenserRetriever(our_retriever, k=2).retrieve(QUERY)
    assert [(node.node_id, node.score) for node in nodes] == [
        (hit.doc_id, hit.score) for hit in our_retriever.search(QUERY, k=2)
    ]
    passage = our_retriever.index.passage(nodes[0].node_id)
    assert nodes[0].text == passage.text
    assert nodes[0].metadata == {"doc_id": nodes[0].node_id, "title": passage.title}


def test_options_of_a_search_are_passed_on(our_retriever, index_path, open_options):
    own = ElasticDenserRetriever.open(index_path, search_options={"doc_ids": ["d2"]}, **open_options)
    assert [node.node_id for node in own.retrieve(QUERY)] == ["d2"]
    assert [node.node_id for node in asyncio.run(own.aretrieve(QUERY))] == ["d2"]
    with pytest.raises(QueryError, match="expected at least 1"):
        ElasticDenserRetriever(our_retriever, k=0).retrieve(QUERY)


def test_a_query_engine_takes_it(our_retriever):
    from llama_index.core.llms import MockLLM
    from llama_index.core.query_engine import RetrieverQueryEngine

    engine = RetrieverQueryEngine.from_args(ElasticDenserRetriever(our_retriever, k=1), llm=MockLLM())
    (source,) = engine.query(QUERY).source_nodes
    assert source.node_id == next(our_retriever.search(QUERY, k=1)).doc_id
