"""Search of a Qdrant collection, in Qdrant's local mode, with queries of every subnet."""

from __future__ import annotations

import pytest
from qdrant_helpers import TEXTS, build_small

from elasticdenser import ElasticQueryEncoder, PassageEncoder, Retriever
from elasticdenser.errors import BuildError, EncoderMismatchError, QueryError
from elasticdenser.index.qdrant import connect, export_to_qdrant
from elasticdenser.retrieval.qdrant import QdrantRetriever

qdrant_client = pytest.importorskip("qdrant_client", reason="needs pip install 'elasticdenser[qdrant]'")


@pytest.fixture(scope="module")
def index(tmp_path_factory, tiny_elastic):
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    return build_small(tmp_path_factory.mktemp("small") / "i", encoder)


@pytest.fixture(scope="module")
def client(index):
    client = connect(path=":memory:")
    export_to_qdrant(index, client, "mine")
    return client


def test_hits_are_those_of_the_index_at_every_subnet(client, index):
    retriever = QdrantRetriever.open(client, "mine", device="cpu", download=False)
    own = Retriever(retriever.encoder, index)
    queries = {"q1": "dune", "q2": "csv files"}
    for subnet in retriever.encoder.subnets:
        hits, expected = list(retriever.search(queries, 3, subnet=subnet)), list(own.search(queries, 3, subnet=subnet))
        assert [hit[:2] for hit in hits] == [hit[:2] for hit in expected]
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-5)
        assert {hit.subnet for hit in hits} == {subnet}
    assert len(list(retriever.search(["dune"] * 40, 10))) == 40 * len(TEXTS)


def test_a_filter_of_qdrant_restricts_the_hits(client):
    models = qdrant_client.models
    only = models.Filter(must=[models.FieldCondition(key="doc_id", match=models.MatchAny(any=["d1", "d2"]))])
    retriever = QdrantRetriever.open(client, "mine", device="cpu", download=False)
    assert {hit.doc_id for hit in retriever.search("dune", query_filter=only)} == {"d1", "d2"}


def test_faults_are_told_by_the_call(client, tiny_elastic):
    retriever = QdrantRetriever.open(client, "mine", device="cpu", download=False)
    with pytest.raises(QueryError, match="got k = 0"):
        retriever.search("dune", 0)
    with pytest.raises(QueryError, match="got subnet w1-d9"):
        retriever.search("dune", subnet="w1-d9")
    with pytest.raises(BuildError, match="has no collection 'other'"):
        QdrantRetriever.open(client, "other")
    cut = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), device="cpu", dim=8)
    with pytest.raises(EncoderMismatchError, match="dim: 32 against 8"):
        QdrantRetriever(cut, client, "mine")


def test_a_collection_without_a_description_needs_an_encoder(index, tiny_elastic):
    client = connect(path=":memory:")
    models = qdrant_client.models
    client.create_collection("mine", vectors_config=models.VectorParams(size=32, distance=models.Distance.DOT))
    export_to_qdrant(index, client, "mine")
    with pytest.raises(QueryError, match="does not name its encoder"):
        QdrantRetriever.open(client, "mine")
    retriever = QdrantRetriever(ElasticQueryEncoder.from_pretrained(str(tiny_elastic), device="cpu"), client, "mine")
    assert len(list(retriever.search("dune", 2))) == 2
