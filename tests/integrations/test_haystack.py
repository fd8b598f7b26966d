"""The retriever for Haystack."""

from __future__ import annotations

import pytest
from index_of_three import QUERY

pytest.importorskip("haystack", reason="needs haystack-ai (make test-integrations)")

from elasticdenser.errors import IndexFormatError, QueryError
from elasticdenser.integrations.haystack import ElasticDenserRetriever


@pytest.fixture
def component(index_path, open_options):
    return ElasticDenserRetriever(index_path, top_k=2, open_options=open_options)


def test_documents_have_id_text_title_and_score(component, our_retriever):
    documents = component.run(QUERY)["documents"]
    assert [(document.id, document.score) for document in documents] == [
        (hit.doc_id, hit.score) for hit in our_retriever.search(QUERY, k=2)
    ]
    passage = our_retriever.index.passage(documents[0].id)
    assert documents[0].content == passage.text
    assert documents[0].meta == {"doc_id": documents[0].id, "title": passage.title}
    assert len(component.run(QUERY, top_k=1)["documents"]) == 1
    with pytest.raises(QueryError, match="expected at least 1"):
        component.run(QUERY, top_k=0)


def test_a_pipeline_can_be_saved_and_loaded(component):
    from haystack import Pipeline

    pipeline = Pipeline()
    pipeline.add_component("retriever", component)
    loaded = Pipeline.loads(pipeline.dumps(), allowed_modules=["elasticdenser.integrations.haystack.*"])
    expected = pipeline.run({"retriever": {"query": QUERY}})
    assert loaded.run({"retriever": {"query": QUERY}}) == expected
    assert len(expected["retriever"]["documents"]) == 2


def test_a_missing_index_is_found_when_the_pipeline_starts(tmp_path):
    component = ElasticDenserRetriever(tmp_path / "absent")
    with pytest.raises(IndexFormatError):
        component.warm_up()
