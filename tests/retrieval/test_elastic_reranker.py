"""Reranking by an elastic ranker: as an object, by its spelling, and in the search of a retriever."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from elasticdenser import ElasticRanker, PassageIndex, Retriever
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.models import shipped_ranker
from elasticdenser.rankers import Stage, load_shipped_ranker
from elasticdenser.retrieval.reranking import ElasticReranker, Reranker, make_reranker
from elasticdenser.subnet import Subnet

WORDS = ["dune", "spice", "csv file", "thread", "desert planet", "python", "read a file", "wait", "novel", "water"]


@pytest.fixture(scope="module")
def ranker(tiny_ranker):
    return ElasticRanker.from_pretrained(tiny_ranker)


@pytest.fixture(scope="module")
def index(tmp_path_factory, tiny_encoder):
    folder = tmp_path_factory.mktemp("reranking")
    texts = [(first, f"{second} and {first}") for first in WORDS for second in WORDS]
    rows = ({"_id": f"d{number}", "title": title, "text": text} for number, (title, text) in enumerate(texts))
    (folder / "passages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PassageIndex.build(folder / "passages.jsonl", folder / "index", tiny_encoder, workers=1)


@pytest.fixture(scope="module")
def retriever(index, ranker, tiny_query_encoder):
    return Retriever(tiny_query_encoder, index, reranker="none", ranker=ranker)


def ids_of(retriever, query="dune", **options) -> list[str]:
    return [hit.doc_id for hit in retriever.search(query, **options)]


def test_the_order_is_that_of_the_ranker_over_titles_and_texts(retriever, index, ranker):
    first = ids_of(retriever, k=20)
    reranker = ElasticReranker(ranker, n_candidates=20, subnet="w0.25-d1")
    assert isinstance(reranker, Reranker)
    passages = [index.passage(doc_id) for doc_id in first]
    ranked = ranker.rerank("dune", passages, subnet="w0.25-d1")
    hits = list(retriever.search("dune", k=20, reranker=reranker))
    assert [hit.doc_id for hit in hits] == [first[position] for position, _, _ in ranked] != first
    assert np.allclose([hit.score for hit in hits], [score for _, score, _ in ranked], atol=1e-5)
    texts = [f"{passage.title} {passage.text}" for passage in passages]
    assert [position for position, _, _ in ranker.rerank("dune", texts, 3, "w0.25-d1")] == [
        position for position, _, _ in ranked[:3]
    ]


def test_a_ranking_is_the_beginning_of_a_longer_one(retriever):
    for spelling in ("20", "20:w0.25-d1,8:w0.5-d2,3", "20:w0.5-d1+2.5"):
        longest = list(retriever.search("dune", k=60, reranker=spelling))
        assert (np.diff(np.float32([hit.score for hit in longest])) < 0).all()
        for k in (1, 5, 9, 30):
            assert list(retriever.search("dune", k=k, reranker=spelling)) == longest[:k]


def test_a_cascade_drops_candidates_below_those_that_go_on(retriever, ranker, index):
    one = ids_of(retriever, k=20, reranker="20:w0.25-d1")
    two = ids_of(retriever, k=20, reranker="20:w0.25-d1,6:w1-d2")
    assert two[6:] == one[6:] and two[:6] != one[:6]
    passages = [index.passage(doc_id) for doc_id in one[:6]]
    assert two[:6] == [passage.doc_id for _, _, passage in ranker.rerank("dune", passages)]


def test_the_first_stage_is_added_with_its_weight(retriever):
    first = ids_of(retriever, k=20)
    assert ids_of(retriever, k=20, reranker="20+1e6") == first != ids_of(retriever, k=20, reranker="20+0")
    plain, weighted = (
        {hit.doc_id: hit.score for hit in retriever.search("dune", k=20, reranker=spelling)}
        for spelling in ("20", "20+0.5")
    )
    for hit in retriever.search("dune", k=20):
        assert weighted[hit.doc_id] == pytest.approx(plain[hit.doc_id] + 0.5 * hit.score, abs=1e-5)


def test_no_candidates_mean_no_reranking(retriever):
    assert list(retriever.search("dune", k=20, reranker="0")) == list(retriever.search("dune", k=20))


def test_the_weight_of_the_manifest_is_the_default(tiny_ranker, tmp_path):
    folder = tmp_path / "weighted"
    folder.mkdir()
    for file in tiny_ranker.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((folder / "ranker.json").read_text())
    (folder / "ranker.json").write_text(json.dumps({**manifest, "first_stage_weight": 0.25}))
    weighted = ElasticRanker.from_pretrained(folder)
    assert weighted.first_stage_weight == 0.25
    reranker = ElasticReranker(weighted)
    assert (reranker.first_stage_weight, str(reranker)) == (0.25, "elastic:50:w1-d2")
    assert make_reranker("elastic:50:w1-d2+0", weighted).first_stage_weight == 0
    (folder / "ranker.json").write_text(json.dumps({**manifest, "first_stage_weight": -1}))
    with pytest.raises(ModelError, match="got first_stage_weight = -1"):
        ElasticRanker.from_pretrained(folder)


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("elastic", "elastic:50:w1-d2"),
        ("elastic:20", "elastic:20:w1-d2"),
        ("30:w0.5-d1", "elastic:30:w0.5-d1"),
        ("100:w0.25-d1,30:w0.5-d2,10", "elastic:100:w0.25-d1,30:w0.5-d2,10:w1-d2"),
        ("elastic:50+0.2", "elastic:50:w1-d2+0.2"),
    ],
)
def test_spellings_read_back(ranker, spelling, expected):
    reranker = make_reranker(spelling, ranker)
    assert str(reranker) == expected
    assert make_reranker(str(reranker), ranker) == reranker
    assert replace(reranker, n_candidates=40).n_candidates == 40


def test_settings_are_resolved(ranker):
    reranker = ElasticReranker(ranker, n_candidates=9, then=(Stage(3, Subnet(0.5, 1)),))
    assert reranker.stages == (Stage(9, Subnet(1, 2)), Stage(3, Subnet(0.5, 1)))
    assert replace(reranker, subnet="w0.25-d1", then=()).stages == (Stage(9, Subnet(0.25, 1)),)


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("elastic:x", r"got reranker 'elastic:x', expected N\[:SUBNET\]"),
        ("50:", "got subnet ''"),
        ("50:w3", "got subnet 'w3', expected the form"),
        ("50:w0.5-d6", "expected one of this ranker's: w1-d2"),
        ("50,", "got reranker 'elastic:50,'"),
        ("5:w0.25-d1,50", "expected each stage to rank fewer candidates"),
        ("0,1", "expected each stage to rank fewer candidates"),
        ("50+x", r"got reranker 'elastic:50\+x'"),
        ("50+-1", "got a first-stage weight of -1.0, expected a number from 0"),
        ("50+nan", "got a first-stage weight of nan"),
        ("-5", "expected one of elastic, mmr, none"),
        ("elastic:-5", "got -5 candidates, expected a whole number from 0"),
    ],
)
def test_bad_spellings_are_refused(retriever, spelling, message):
    with pytest.raises(QueryError, match=message):
        retriever.search("dune", reranker=spelling)


def test_an_index_without_texts_is_refused(index, ranker, tiny_encoder, tiny_query_encoder, tmp_path):
    without = PassageIndex.build(index.path.parent / "passages.jsonl", tmp_path / "index", tiny_encoder, texts=False)
    with pytest.raises(QueryError, match="holds no texts, which the reranker elastic:50:w1-d2 reads: build"):
        Retriever(tiny_query_encoder, without, ranker=ranker)


def test_a_retriever_with_a_ranker_reranks_with_it(index, ranker, tiny_ranker, tiny_query_encoder):
    own = Retriever(tiny_query_encoder, index, ranker=ranker)
    assert own.reranker == ElasticReranker(ranker)
    assert Retriever(tiny_query_encoder, index, reranker=ElasticReranker(ranker)).ranker is ranker
    by_folder = Retriever(tiny_query_encoder, index, reranker="20:w0.25-d1", ranker=tiny_ranker)
    assert ids_of(by_folder) == ids_of(own, reranker="20:w0.25-d1") != ids_of(own, reranker="none")


def test_other_processes_open_the_same_ranker(index, tiny_ranker):
    options = {"dtype": "float32", "download": False, "reranker": "20:w0.5-d1"}
    opened = Retriever.open(index.path, ranker=tiny_ranker, **options)
    again = pickle.loads(pickle.dumps(opened))
    assert str(again.reranker) == str(opened.reranker) == "elastic:20:w0.5-d1"
    assert again.ranker.folder == tiny_ranker
    assert list(again.search("dune")) == list(opened.search("dune"))


def test_without_a_ranker_an_error_says_how_to_give_one(index, tiny_query_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped_ranker, "SHIPPED_RANKER", tmp_path)
    load_shipped_ranker.cache_clear()
    with pytest.raises(ModelError, match="this package comes with none: give the folder of one with --ranker FOLDER"):
        Retriever(tiny_query_encoder, index, reranker="50")


def test_the_ranker_of_the_package_is_the_default(index, tiny_ranker, tiny_query_encoder, monkeypatch):
    monkeypatch.setattr(shipped_ranker, "SHIPPED_RANKER", tiny_ranker)
    load_shipped_ranker.cache_clear()
    retriever = Retriever(tiny_query_encoder, index, reranker="20")
    assert retriever.reranker.ranker.folder == tiny_ranker
    assert make_reranker("20:w0.5-d1").ranker is load_shipped_ranker()
    assert load_shipped_ranker().folder == tiny_ranker
    load_shipped_ranker.cache_clear()
