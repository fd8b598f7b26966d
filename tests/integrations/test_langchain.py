"""The retriever for LangChain: the package's own tests, and ours."""

from __future__ import annotations

import asyncio

import pytest
from index_of_three import QUERY

pytest.importorskip("langchain_core", reason="needs langchain-core (make test-integrations)")

from elasticdenser.errors import QueryError
from elasticdenser.integrations.langchain import ElasticDenserRetriever


def test_documents_have_id_text_title_and_score(our_retriever):
    first, second = ElasticDenserRetriever(retriever=our_retriever, k=2).invoke(QUERY)
    hits = list(our_retriever.search(QUERY, k=2))
    assert [(first.id, first.metadata["score"]), (second.id, second.metadata["score"])] == [
        (hit.doc_id, hit.score) for hit in hits
    ]
    passage = our_retriever.index.passage(first.id)
    assert (first.page_content, first.metadata["title"]) == (passage.text, passage.title)
    assert first.metadata["doc_id"] == first.id


def test_options_of_a_search_are_passed_on(our_retriever):
    subnet = str(our_retriever.encoder.subnets[-1])
    chain = ElasticDenserRetriever(retriever=our_retriever, search_options={"subnet": subnet})
    expected = [hit.score for hit in our_retriever.search(QUERY, subnet=subnet)]
    assert [document.metadata["score"] for document in chain.invoke(QUERY)] == expected
    assert [document.id for document in chain.invoke(QUERY, doc_ids=["d2"])] == ["d2"]
    assert len(asyncio.run(chain.ainvoke(QUERY, k=1))) == 1
    with pytest.raises(QueryError, match="expected at least 1"):
        chain.invoke(QUERY, k=0)


def test_an_index_is_opened_by_path(index_path, open_options):
    chain = ElasticDenserRetriever.open(index_path, k=1, **open_options)
    assert len(chain.invoke(QUERY)) == 1


def test_it_is_a_part_of_a_chain(our_retriever):
    from langchain_core.runnables import RunnableLambda

    chain = ElasticDenserRetriever(retriever=our_retriever, k=1) | RunnableLambda(lambda documents: documents[0].id)
    assert chain.batch([QUERY, QUERY]) == [next(our_retriever.search(QUERY, k=1)).doc_id] * 2


try:
    from langchain_tests.integration_tests import RetrieversIntegrationTests
except ImportError:
    pass
else:

    @pytest.mark.filterwarnings("ignore:.*is marked with '@pytest.mark.asyncio'")  # one of the tests is asynchronous
    @pytest.mark.asyncio
    class TestStandard(RetrieversIntegrationTests):
        """LangChain's standard tests of retrievers."""

        @pytest.fixture(autouse=True)
        def _opened(self, our_retriever):
            self.opened = our_retriever

        @property
        def retriever_constructor(self):
            return ElasticDenserRetriever

        @property
        def retriever_constructor_params(self):
            return {"retriever": self.opened}

        @property
        def retriever_query_example(self):
            return QUERY
