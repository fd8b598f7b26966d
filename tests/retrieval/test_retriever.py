"""Retriever: all forms of queries, and the same hits alone and in batches."""

from __future__ import annotations

import gzip
import json
import pickle
from copy import copy, deepcopy
from itertools import groupby, islice

import numpy as np
import pytest
from ir_measures import ScoredDoc
from kernel_helpers import needs_fast_path

from elasticdenser import ElasticQueryEncoder, Hit, PassageEncoder, PassageIndex, Retriever, Subnet
from elasticdenser.errors import EncoderMismatchError, ModelError, QueryError

WORDS = ["dune", "spice", "csv file", "thread", "desert planet", "python", "read a file", "wait", "novel", "water"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "passages.jsonl"
    texts = [f"{a} and {b}" for a in WORDS for b in WORDS] + ["the very same text"] * 30
    path.write_text("".join(json.dumps({"_id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    return path


@pytest.fixture(scope="module")
def index(corpus, tmp_path_factory, tiny_encoder):
    return PassageIndex.build(corpus, tmp_path_factory.mktemp("index") / "tiny", tiny_encoder, workers=1)


@pytest.fixture(scope="module")
def retriever(index, tiny_query_encoder):
    return Retriever(tiny_query_encoder, index)


def test_one_string_is_one_query(retriever):
    hits = list(retriever.search("dune and spice", k=5))
    assert len(hits) == 5
    assert all(type(hit) is Hit for hit in hits)
    assert [(type(hit.query_id), type(hit.doc_id), type(hit.score)) for hit in hits] == [(str, str, float)] * 5
    assert {hit.query_id for hit in hits} == {"0"}
    assert hits[0].doc_id == "d1" and hits[0].score == pytest.approx(1, abs=1e-5)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.slow
def test_all_forms_of_queries_give_the_same_hits(retriever):
    from ir_datasets.formats import GenericQuery, TrecQuery

    def of(queries):
        return list(retriever.search(queries, k=3))

    expected = [(hit.doc_id, hit.score) for text in ("dune", "python") for hit in retriever.search(text, k=3)]
    forms = {
        "list": (["dune", "python"], ["0", "1"]),
        "tuple": (("dune", "python"), ["0", "1"]),
        "iterator": (iter(["dune", "python"]), ["0", "1"]),
        "mapping": ({"a": "dune", "b": "python"}, ["a", "b"]),
        "numbers as ids": ({7: "dune", 8: "python"}, ["7", "8"]),
        "records": ([GenericQuery("a", "dune"), GenericQuery("b", "python")], ["a", "b"]),
        "stream of records": (iter([GenericQuery("a", "dune"), GenericQuery("b", "python")]), ["a", "b"]),
        "topics": ([TrecQuery("a", "dune", "x", "y"), TrecQuery("b", "python", "x", "y")], ["a", "b"]),
    }
    for name, (queries, ids) in forms.items():
        hits = of(queries)
        assert [(hit.doc_id, hit.score) for hit in hits] == expected, name
        assert [hit.query_id for hit in hits] == [ids[0]] * 3 + [ids[1]] * 3, name
    assert of([]) == of({}) == of(iter([])) == []


def test_streams_are_read_as_hits_are_taken(retriever):
    read = []

    def queries():
        for number in range(1000):
            read.append(number)
            yield "dune"

    hits = retriever.search(queries(), k=1)
    assert read == []
    next(hits)
    assert len(read) < 100


def test_only_the_given_documents_are_searched(retriever):
    hits = list(retriever.search("dune and spice", k=10, doc_ids={"d50", "d3", "d99"}))
    assert sorted(hit.doc_id for hit in hits) == ["d3", "d50", "d99"]
    everything = {hit.doc_id: hit.score for hit in retriever.search("dune and spice", k=1000)}
    assert all(hit.score == everything[hit.doc_id] for hit in hits)
    assert list(retriever.search("dune", doc_ids=[])) == []
    with pytest.raises(QueryError, match="1 of 2 document ids are not in the index, such as 'nope'"):
        retriever.search("dune", doc_ids=["d1", "nope"])
    with pytest.raises(QueryError, match=r"expected a collection of document ids, such as \['d1'\]"):
        retriever.search("dune", doc_ids="d1")


def test_k_is_capped_and_checked(retriever, index):
    assert len(list(retriever.search("dune", k=10_000))) == len(index) == 130
    assert len(list(retriever.search("dune"))) == 10
    for k in (0, -1):
        with pytest.raises(QueryError, match=f"got k = {k}, expected at least 1"):
            retriever.search("dune", k=k)


def test_faults_are_raised_by_the_call(retriever):
    faults = {
        "": "the query is '', expected text",
        "  ": "the query is '  ', expected text",
        ("a", ""): "query '1' is '', expected text",
        (1, 2): "query number 1 is of type int",
        b"dune": "got queries of type bytes",
        7: "got queries of type int",
    }
    for queries, message in faults.items():
        with pytest.raises(QueryError, match=message):
            retriever.search(queries)
    with pytest.raises(QueryError, match="query 'q' is None"):
        retriever.search({"q": None})
    for options, message in (
        ({"subnet": 5}, "got subnet 5"),
        ({"escalation": 5}, "got the escalation 5"),
        ({"reranker": 5}, "got reranker 5, expected a Reranker, or a spelling"),
    ):
        with pytest.raises(QueryError, match=message):
            retriever.search("dune", **options)
    for subnet in ("w0.5-d2", "nonsense"):
        with pytest.raises(QueryError, match=f"got subnet '?{subnet}"):
            retriever.search("dune", subnet=subnet)
    for recall in (0, 1.5, float("nan")):
        with pytest.raises(QueryError, match="got recall = "):
            retriever.search("dune", recall=recall)
    hits = retriever.search(iter(["dune", ""]))
    with pytest.raises(QueryError, match="query '1'"):
        list(hits)


def test_copies_come_in_the_order_of_the_index(retriever):
    for k in (5, 25):
        hits = list(retriever.search("the very same text", k=k))
        assert [hit.doc_id for hit in hits] == [f"d{100 + n}" for n in range(k)]
        scores = [hit.score for hit in hits]
        assert max(scores) - min(scores) < 1e-5
        # No two are equal, also in the single precision of trec_eval: every tool keeps this order.
        assert (np.diff(np.float32(scores)) < 0).all()
        assert hits == list(retriever.search("the very same text", k=k, exact=True))


def test_open_loads_the_encoder_of_the_index(index, tiny_model):
    opened = Retriever.open(index.path, dtype="float32", download=False)
    assert opened.encoder.location.path == tiny_model.resolve()
    assert next(opened.search("dune and spice")).doc_id == "d1"
    assert next(opened.search("dune and spice", subnet="w1-d2")).doc_id == "d1"


def test_one_index_at_every_subnet(index, tiny_elastic):
    retriever = Retriever.open(index.path, encoder=str(tiny_elastic), dtype="float32", download=False)
    full = list(retriever.search("dune and spice"))
    seen = set()
    for subnet in retriever.encoder.subnets:
        hits = list(retriever.search("dune and spice", subnet=str(subnet)))
        assert {hit.subnet for hit in hits} == {subnet}
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        (vector,) = retriever.encoder.encode(["dune and spice"], subnet)
        # By score, not by passage: the best ones may differ by less than two ways to compute an inner product do.
        assert hits[0].score == pytest.approx(float((index.vectors @ vector).max()), abs=1e-6)
        seen.add(tuple(hit.score for hit in hits))
    assert len(seen) == len(retriever.encoder.subnets)
    assert full == list(retriever.search("dune and spice", subnet="w1-d2"))


def test_hits_are_scored_docs_with_their_subnet(retriever):
    (hit,) = retriever.search("dune", k=1)
    assert isinstance(hit, ScoredDoc)
    assert hit == ScoredDoc(hit.query_id, hit.doc_id, hit.score)
    assert hit.subnet == Subnet.parse("w1-d2")


def test_hits_are_copied_with_their_subnet(retriever):
    hit = next(retriever.search("dune"))
    for other in (pickle.loads(pickle.dumps(hit)), copy(hit), deepcopy(hit), hit._replace()):
        assert other == hit and type(other) is Hit and other.subnet == hit.subnet
    assert hit._replace(score=0.5, subnet=Subnet(0.5, 1)).subnet == Subnet(0.5, 1)


def test_open_takes_the_settings_the_index_was_made_with(corpus, tmp_path, tiny_model):
    chosen = {"max_length": 9, "passage_prompt": "p: ", "query_prompt": "q: ", "pooling": "cls", "normalize": False}
    encoder = PassageEncoder.from_pretrained(str(tiny_model), dtype="float32", **chosen)
    own_index = PassageIndex.build(corpus, tmp_path / "other", encoder, workers=1)
    opened = Retriever.open(own_index.path, download=False)
    assert opened.encoder.settings == encoder.settings


def test_another_encoder_is_refused(index, tiny_model):
    other = ElasticQueryEncoder.from_pretrained(str(tiny_model), query_prompt="query: ", max_length=20)
    with pytest.raises(EncoderMismatchError) as caught:
        Retriever(other, index)
    for part in (str(index.path), "query_prompt: '' against 'query: '", "max_length: 64 against 20", "build the index"):
        assert part in str(caught.value)


def test_open_refuses_an_encoder_that_is_missing(index, tmp_path):
    with pytest.raises(ModelError, match=r"there is no folder .*--encoder"):
        Retriever.open(index.path, encoder=str(tmp_path / "gone"), download=False)


@pytest.fixture(scope="module")
def real(data, tmp_path_factory, minilm):
    """A retriever over 100 real passages, its queries encoded as they are by default, and 200 real queries."""
    folder = tmp_path_factory.mktemp("real")
    with gzip.open(data / "nq" / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        (folder / "passages.jsonl").write_text("".join(islice(file, 100)))
    with gzip.open(data / "nq" / "queries.jsonl.gz", "rt", encoding="utf-8") as file:
        queries = [json.loads(line)["text"] for line in islice(file, 200)]
    index = PassageIndex.build(folder / "passages.jsonl", folder / "index", minilm)
    return Retriever.open(index.path, download=False), queries


def hits_of(retriever, queries, **choice) -> list[list[tuple[str, float]]]:
    hits = retriever.search(queries, **choice)
    return [[(hit.doc_id, hit.score) for hit in part] for _, part in groupby(hits, key=lambda hit: hit.query_id)]


@needs_fast_path  # torch does not promise the last bits; see the next test
def test_real_queries_have_the_same_hits_alone_and_together(real):
    retriever, queries = real
    together = hits_of(retriever, queries, k=10)
    assert [hits_of(retriever, query, k=10)[0] for query in queries] == together
    backwards = hits_of(retriever, queries[::-1], k=10)
    assert backwards[::-1] == together
    assert hits_of(retriever, queries, k=10, exact=True) == together  # an index as small as this scans everything
    first = hits_of(retriever, queries, k=1)
    assert first == [hits[:1] for hits in together]


def test_real_queries_score_the_same_by_torch(real, query_encoder):
    retriever, queries = Retriever(query_encoder, real[0].index), real[1]
    together = hits_of(retriever, queries, k=10)
    for query, hits in zip(queries, together, strict=True):
        alone = [score for _, score in hits_of(retriever, query, k=10)[0]]
        np.testing.assert_allclose(alone, [score for _, score in hits], rtol=0, atol=1e-6)


def test_real_scores_are_inner_products(real):
    retriever, queries = real
    vectors = retriever.encoder.encode(queries[:20])
    scores = vectors @ retriever.index.vectors.T
    for row, hits in zip(scores, hits_of(retriever, queries[:20], k=5), strict=True):
        np.testing.assert_allclose([score for _, score in hits], np.sort(row)[::-1][:5], atol=1e-6)


def test_integer_ids_and_wrong_values_of_k(retriever):
    for doc_ids in (7, "d1"):
        with pytest.raises(QueryError, match=r"got doc_ids = .*, expected a collection of document ids"):
            retriever.search("dune", doc_ids=doc_ids)
    with pytest.raises(QueryError, match="1 of 1 document ids are not in the index, such as '7'"):
        retriever.search("dune", doc_ids=[7])
    for k in (2.0, True, "2"):
        with pytest.raises(QueryError, match=f"got k = {k!r}, expected a whole number"):
            retriever.search("dune", k=k)
    assert len(list(retriever.search("dune", k=np.int64(2)))) == 2


def test_an_opened_retriever_is_pickled_by_its_path(index, retriever, tiny_model):
    opened = Retriever.open(index.path, encoder=str(tiny_model), dtype="float32", device="cpu", reranker="mmr:0.7")
    again = pickle.loads(pickle.dumps(opened))
    assert [hit.doc_id for hit in again.search("dune", k=3)] == [hit.doc_id for hit in opened.search("dune", k=3)]
    assert str(again.reranker) == str(opened.reranker)
    with pytest.raises(TypeError, match=r"cannot be pickled.*Retriever.open\(path\)"):
        pickle.dumps(retriever)


def test_the_repr_names_index_encoder_and_reranker(index, retriever, tiny_query_encoder):
    assert repr(retriever).startswith(f"<Retriever: {index!r}, encoder ") and "reranker" not in repr(retriever)
    assert "reranker mmr:0.7" in repr(Retriever(tiny_query_encoder, index, reranker="mmr:0.7"))
    assert repr(tiny_query_encoder).startswith("<ElasticQueryEncoder '")
