"""The document store for Haystack: Haystack's own tests, and ours."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

pytest.importorskip("haystack", reason="needs haystack-ai (make test-integrations)")

from haystack import Document, Pipeline
from haystack.components.writers import DocumentWriter
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError
from haystack.testing.document_store import (
    CountDocumentsByFilterTest,
    DeleteAllTest,
    DeleteByFilterTest,
    DocumentStoreBaseTests,
    create_filterable_docs,
)

from elasticdenser import PassageEncoder, PassageIndex
from elasticdenser.arrays import l2_normalised
from elasticdenser.errors import BadInputError, IndexFormatError
from elasticdenser.integrations.haystack import ElasticDenserDocumentStore, ElasticDenserRetriever

DUNE = Document(id="dune", content="a novel about a desert planet", meta={"title": "Dune", "year": 1965})
CSV = Document(id="csv", content="read a csv file with headers", meta={"year": 2020, "tags": ["files", "text"]})


@pytest.fixture
def document_store(tmp_path, open_options):
    return ElasticDenserDocumentStore(tmp_path / "index", encoder_options=open_options)


class TestStandard(DocumentStoreBaseTests, CountDocumentsByFilterTest, DeleteAllTest, DeleteByFilterTest):
    """Haystack's standard tests of document stores."""

    @pytest.fixture
    def document_store(self, tmp_path, open_options):
        return ElasticDenserDocumentStore(tmp_path / "index", encoder_options=open_options, return_embedding=True)

    @pytest.fixture
    def filterable_docs(self):
        """Return Haystack's documents with embeddings of the index's length, which is not the 768 of theirs."""
        return [
            document if document.embedding is None else replace(document, embedding=unit(document.embedding))
            for document in create_filterable_docs()
        ]

    @staticmethod
    def assert_documents_are_equal(received, expected):
        """Compare documents; those without an embedding get that of their text."""
        assert [replace(one, embedding=None) for one in received] == [replace(one, embedding=None) for one in expected]
        for one, other in zip(received, expected, strict=True):
            if other.embedding is not None:
                np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-6)

    def test_write_documents(self, document_store):
        """Without a policy, documents that are there already are an error."""
        assert document_store.write_documents([DUNE]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([DUNE])


def unit(embedding):
    return l2_normalised(np.array([embedding[:384]], np.float32))[0].tolist()


def test_documents_are_searched_and_changes_are_seen_by_the_next_query(document_store, open_options):
    document_store.write_documents([DUNE, CSV])
    retriever = ElasticDenserRetriever(document_store.index, open_options=open_options)
    first = retriever.run("who wrote dune")["documents"][0]
    assert (first.id, first.meta) == ("dune", {"title": "Dune", "year": 1965, "doc_id": "dune"})
    document_store.delete_documents(["dune"])
    assert [one.id for one in retriever.run("who wrote dune")["documents"]] == ["csv"]


def test_queries_take_filters_beside_those_of_the_retriever(document_store, open_options):
    old = Document(id="old", content="sand", meta={"year": 1900})
    document_store.write_documents([DUNE, CSV, old])
    retriever = ElasticDenserRetriever(
        document_store.index, search_options={"filter": "year > 1950"}, open_options=open_options
    )

    def found(filters):
        return {document.id for document in retriever.run("dune", filters=filters)["documents"]}

    assert found(None) == {"dune", "csv"}
    assert found({"field": "meta.year", "operator": "<", "value": 2000}) == {"dune"}
    assert found({"field": "meta.absent", "operator": "==", "value": None}) == {"dune", "csv"}
    assert found({"field": "meta.absent", "operator": "==", "value": 1}) == set()
    with pytest.raises(FilterError, match="expected a number"):
        found({"field": "meta.year", "operator": "==", "value": "x"})


def test_metadata_of_any_form_is_returned_as_it_was_written(document_store):
    meta = {
        "text": "a",
        "tags": ["a", "b"],
        "none": None,
        "blank": "",
        "empty": [],
        "mixed": [1, "a"],
        "nested": {"pages": [{"number": 1}]},
        "haystack_meta": "own",
        "metadata": "own",
        "float": 2.0,
    }
    document = Document(content="text", meta=meta)
    document_store.write_documents([document])
    assert document_store.filter_documents() == [document]
    (found,) = document_store.filter_documents({"field": "meta.tags", "operator": "in", "value": ["b", None]})
    assert found.meta == meta
    with pytest.raises(BadInputError, match="JSON cannot hold"):
        document_store.write_documents([Document(content="text", meta={"object": object()})])


def test_fields_that_no_document_has_are_none(document_store):
    document_store.write_documents([CSV])
    absent = {"field": "meta.absent", "operator": "==", "value": 1}
    tagged = {"field": "meta.tags", "operator": "==", "value": "files"}
    expected = {"AND": 0, "OR": 1, "NOT": 1}
    for operator, n in expected.items():
        filters = {"operator": operator, "conditions": [absent, tagged]}
        assert document_store.count_documents_by_filter(filters) == n, operator
    assert document_store.count_documents_by_filter({"operator": "OR", "conditions": []}) == 0
    assert document_store.count_documents_by_filter({"operator": "AND", "conditions": []}) == 1
    assert document_store.count_documents_by_filter({"field": "meta.tags", "operator": "not in", "value": []}) == 1


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ("year = 1965", "got a filter of type str"),
        ({"field": "id", "operator": "==", "value": "csv"}, "expected one of the metadata"),
        ({"field": "meta.year", "operator": "like", "value": "19%"}, "got the operator 'like'"),
        ({"field": "meta.year", "operator": "==", "value": {}}, "got a dict as value"),
        ({"operator": "XOR", "conditions": []}, "expected AND, OR or NOT"),
    ],
)
def test_a_faulty_filter_says_what_was_expected(document_store, filters, message):
    document_store.write_documents([CSV])
    with pytest.raises(FilterError, match=message):
        document_store.filter_documents(filters)


def test_dates_may_be_dates_of_python(document_store):
    document_store.write_documents([Document(content="new", meta={"day": "2026-01-31"}), CSV])
    filters = {"field": "meta.day", "operator": ">=", "value": date(2026, 1, 1)}
    assert [document.content for document in document_store.filter_documents(filters)] == ["new"]


def test_embeddings_are_vectors_unless_they_are_not_wanted(document_store, tmp_path, open_options):
    embedding = unit(np.arange(1.0, 385.0))
    document = replace(CSV, embedding=embedding)
    document_store.write_documents([document])
    index = PassageIndex.open(document_store.index)
    np.testing.assert_allclose(index.vectors[0], embedding, atol=1e-6)
    other = ElasticDenserDocumentStore(tmp_path / "other", encoder_options=open_options, use_embeddings=False)
    other.write_documents([document])
    assert abs(PassageIndex.open(other.index).vectors[0] @ np.array(embedding)) < 0.9


@pytest.mark.parametrize("embeddings", [[[1.0] * 768], [[1.0] * 384], [[1.0], [1.0, 2.0]]])
def test_embeddings_of_another_encoder_are_refused_and_nothing_is_written(document_store, embeddings):
    documents = [Document(content=f"text {n}", embedding=embedding) for n, embedding in enumerate(embeddings)]
    with pytest.raises(BadInputError, match="expected"):
        document_store.write_documents(documents)
    assert document_store.count_documents() == 0


def test_the_policy_also_holds_within_one_list(document_store):
    twice = [DUNE, replace(DUNE, content="other")]
    with pytest.raises(DuplicateDocumentError, match="'dune'"):
        document_store.write_documents(twice)
    assert document_store.write_documents(twice, DuplicatePolicy.SKIP) == 1
    assert document_store.filter_documents() == [DUNE]
    assert document_store.write_documents([*twice, CSV], DuplicatePolicy.OVERWRITE) == 3
    assert {document.content for document in document_store.filter_documents()} == {"other", CSV.content}


def test_a_document_without_text_is_refused(document_store):
    with pytest.raises(BadInputError, match=r"document 'd1' has no text"):
        document_store.write_documents([DUNE, Document(id="d1", meta={"year": 1})])
    assert document_store.count_documents() == 0


def test_nothing_to_write_is_no_error(document_store):
    assert document_store.write_documents([]) == 0
    assert document_store.filter_documents() == []


def test_an_index_of_chunks_is_no_document_store(tmp_path, open_options):
    encoder = PassageEncoder.from_pretrained(**open_options)
    PassageIndex.build([{"_id": "d1", "text": "one. another."}], tmp_path / "chunks", encoder, chunk="16")
    with pytest.raises(IndexFormatError, match="holds chunks of documents"):
        ElasticDenserDocumentStore(tmp_path / "chunks").count_documents()


def test_an_index_that_was_built_otherwise_is_taken_up(index_path, tmp_path, open_options):
    own = PassageIndex.open(index_path).snapshot(tmp_path / "own")
    store = ElasticDenserDocumentStore(own.path, encoder_options=open_options)
    assert store.filter_documents()[0].meta == {"title": "Dune"}
    assert store.write_documents([CSV]) == 1
    assert store.count_documents() == len(own) + 1


def test_a_pipeline_with_it_can_be_saved_and_loaded(document_store):
    pipeline = Pipeline()
    pipeline.add_component("writer", DocumentWriter(document_store, policy=DuplicatePolicy.SKIP))
    loaded = Pipeline.loads(pipeline.dumps(), allowed_modules=["elasticdenser.integrations.haystack.*"])
    assert loaded.run({"writer": {"documents": [DUNE, CSV]}}) == {"writer": {"documents_written": 2}}
    assert document_store.count_documents() == 2
    assert loaded.get_component("writer").document_store.to_dict() == document_store.to_dict()
