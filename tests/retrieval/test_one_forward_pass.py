"""Late interaction after a search by the same encoder: one copy of the weights and one pass, equal to the bit."""

from __future__ import annotations

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from kernel_helpers import load_kernel_backend, needs_fast_path
from late_interaction_models import write_late_interaction

from elasticdenser import ElasticQueryEncoder, PassageEncoder, PassageIndex, Retriever
from elasticdenser.encoders.backends.last_batch import LastBatch
from elasticdenser.engine.processes.pool import ProcessPoolSearch
from elasticdenser.engine.request import Query
from elasticdenser.kernel.caller import KernelCaller
from elasticdenser.models.locate import find_model
from elasticdenser.models.settings import read_settings
from elasticdenser.rankers import LateInteractionRanker
from elasticdenser.retrieval.token_vectors import load_ranker_for, store_token_vectors, token_vectors_folder
from elasticdenser.subnet import LEVEL_0

pytestmark = needs_fast_path

WORDS = ["dune", "sand", "a", "b", "worm", "c", "d", "e"]
QUERIES = [f"{first} {second}" for first in WORDS for second in WORDS][:40]
LONG = " ".join(WORDS * 3)
"""A query of more tokens than the ranker reads; the others have few."""


@pytest.fixture(scope="module")
def ranker(tiny_elastic, tmp_path_factory):
    return write_late_interaction(tmp_path_factory.mktemp("late") / "tiny", tiny_elastic)


@pytest.fixture(scope="module")
def index(tiny_elastic, ranker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    rows = ({"_id": f"d{number}", "text": f"{text} and sand"} for number, text in enumerate(QUERIES))
    (folder / "passages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    index = PassageIndex.build(folder / "passages.jsonl", folder / "index", encoder, workers=1)
    store_token_vectors(index, ranker, workers=1)
    return index


@pytest.fixture
def retriever(index, ranker):
    return Retriever.open(index.path, download=False, ranker=ranker, reranker="10")


@pytest.fixture
def two_passes(index, ranker):
    """A retriever whose ranker has an encoder of its own."""
    own = LateInteractionRanker.from_pretrained(ranker, token_vectors=token_vectors_folder(index.path))
    return Retriever.open(index.path, download=False, ranker=own, reranker="10")


@pytest.fixture
def encoded(monkeypatch):
    """The number of texts of each forward pass."""
    n_texts = []
    run = KernelCaller._run

    def counted(self, model, sequences, *arguments):
        n_texts.append(len(sequences))
        return run(self, model, sequences, *arguments)

    monkeypatch.setattr(KernelCaller, "_run", counted)
    return n_texts


def is_shared(retriever):
    return retriever.load_ranker()._encoder._backend is retriever.encoder._backend


def hits_of(retriever, queries=QUERIES, **options):
    return [(hit.query_id, hit.doc_id, hit.score) for hit in retriever.search(queries, **options)]


@pytest.mark.slow
@pytest.mark.parametrize("stages", ["10", "10:w0.5-d1", "20:level0,10:w0.5-d2,5:w1-d2"])
@pytest.mark.parametrize("subnet", ["w1-d2", "w0.5-d1", "level0"])
def test_scores_are_those_of_two_passes_to_the_bit(retriever, two_passes, subnet, stages):
    assert is_shared(retriever) and not is_shared(two_passes)
    options = {"subnet": subnet, "reranker": stages}
    expected = hits_of(two_passes, **options)
    assert hits_of(retriever, **options) == expected
    for number, query in enumerate(QUERIES[:5]):
        alone = [(doc_id, score) for _, doc_id, score in hits_of(retriever, query, **options)]
        assert alone == [(doc_id, score) for query_id, doc_id, score in expected if query_id == str(number)]


@pytest.mark.parametrize(("subnet", "stages"), [("w1-d2", "10"), ("w0.5-d1", "10:w0.5-d1")])
def test_a_query_is_encoded_once(retriever, two_passes, encoded, subnet, stages):
    for queries, passes in ((QUERIES[0], [1]), (QUERIES, [32, 8])):
        hits_of(retriever, queries, subnet=subnet, reranker=stages)
        assert encoded == passes
        encoded.clear()
    hits_of(two_passes, QUERIES[0], subnet=subnet, reranker=stages)
    assert encoded == [1, 1]


def test_another_subnet_encodes_it_again(retriever, encoded):
    hits_of(retriever, QUERIES[:2], subnet="w0.5-d1")
    assert encoded == [2, 1, 1]


def test_queries_that_escalate_are_encoded_once_more(retriever, two_passes, encoded):
    options = {"subnet": "w0.25-d1", "escalation": "9:w1-d2"}
    hits = hits_of(retriever, QUERIES[:3], **options)
    assert encoded == [3, 3]
    assert hits == hits_of(two_passes, QUERIES[:3], **options)


def test_a_cached_query_is_encoded_for_the_ranker(index, ranker, two_passes, encoded, tiny_elastic):
    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), device="cpu", cache=10)
    retriever = Retriever(encoder, index, ranker=ranker, reranker="10")
    first = hits_of(retriever, "dune")
    encoder._backend._last = LastBatch()  # as long after the first search
    encoded.clear()
    again = hits_of(retriever, "dune")
    assert encoded == [1]  # of the ranker alone
    assert again == first == hits_of(two_passes, "dune")
    assert encoder.cache.hits == 1


def test_a_query_that_the_ranker_reads_otherwise_is_encoded_again(retriever, two_passes, encoded):
    hits = hits_of(retriever, LONG)
    assert encoded == [1, 1]  # the ranker reads its first 12 tokens
    assert hits == hits_of(two_passes, LONG)


@pytest.mark.parametrize("changed", ["prompt", "normalize", "dtype", "folder"])
def test_what_may_differ_is_not_shared(index, ranker, two_passes, tiny_elastic, tmp_path, changed):
    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), device="cpu")
    location, settings = encoder.location, encoder.settings
    if changed == "folder":
        shutil.copytree(tiny_elastic, tmp_path / "copy")
        location = replace(location, path=tmp_path / "copy")
    elif changed != "dtype":
        value = {"query_prompt": "sand "} if changed == "prompt" else {"normalize": not settings.normalize}
        settings = replace(settings, **value)
    dtype = "float32" if changed == "dtype" else "int8"
    encoder = ElasticQueryEncoder(location, settings, dtype=dtype, device="cpu")
    shared = LateInteractionRanker.from_pretrained(
        ranker, token_vectors=token_vectors_folder(index.path), query_encoder=encoder
    )
    is_same = changed == "prompt"  # other token ids, of the same weights
    assert (shared._encoder._backend is encoder._backend) is is_same
    texts = [index.passage_at(position).content for position in range(10)]
    encoder.encode(["dune"])
    assert shared.score("dune", texts).tolist() == two_passes.ranker.score("dune", texts).tolist()


@pytest.mark.slow
def test_threads_do_not_see_the_queries_of_each_other(retriever, two_passes):
    expected = [hits_of(two_passes, query) for query in QUERIES]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(lambda query: hits_of(retriever, query), QUERIES)) == expected


def test_a_retriever_that_is_opened_again_shares_too(index, ranker, retriever, monkeypatch, tmp_path):
    monkeypatch.chdir(ranker.parent)
    relative = Retriever.open(index.path, download=False, ranker=ranker.name, reranker="10")
    pickled = pickle.dumps(relative)
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(pickled)
    assert is_shared(again) and is_shared(relative)
    assert hits_of(again) == hits_of(retriever)


@pytest.mark.slow
def test_worker_processes_give_the_same_hits(retriever, two_passes):
    level = "w1-d2+10:w1-d2"
    with closing(ProcessPoolSearch(retriever, {level: None}, 1)) as pool:
        pool.wait_until_ready()
        hits = pool.start_batch([Query(text=query, k=5) for query in QUERIES], level)()
    expected = [hits_of(two_passes, query, k=5) for query in QUERIES]
    assert [[(doc_id, score) for _, doc_id, score in own] for own in expected] == [
        [(hit.doc_id, hit.score) for hit in own] for own in hits
    ]


def test_an_encoder_without_its_subnets_is_not_shared(tiny_elastic, tmp_path):
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_elastic, folder)
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    encoder = ElasticQueryEncoder.from_pretrained(str(folder), device="cpu")
    ranker = write_late_interaction(tmp_path / "late", folder)
    own, shared = (LateInteractionRanker.from_pretrained(ranker, query_encoder=other) for other in (None, encoder))
    assert encoder.subnets_misfit and len(encoder.subnets) == 1 < len(own.subnets)
    for subnet in own.subnets:
        assert shared.score("dune", QUERIES, subnet).tolist() == own.score("dune", QUERIES, subnet).tolist()


@pytest.mark.slow
def test_the_ranker_of_this_package_shares_its_encoder(tmp_path):
    encoder = ElasticQueryEncoder.from_pretrained(device="cpu")
    for folder in ("without token vectors", "with them"):
        ranker = load_ranker_for(tmp_path / "index", query_encoder=encoder)
        assert ranker._encoder._backend is encoder._backend, folder
        token_vectors_folder(tmp_path / "index").mkdir(exist_ok=True)


def test_another_pooling_or_arithmetic_is_not_shared(tiny_model):
    location = find_model(str(tiny_model))
    settings = read_settings(tiny_model)
    encoder = ElasticQueryEncoder(location, replace(settings, pooling="cls"), device="cpu")
    assert encoder.backend_for(location, settings, "int8") is None
    assert encoder.backend_for(location, encoder.settings, "float32") is None
    assert encoder.backend_for(location, encoder.settings, "int8") is encoder._backend


def test_a_batch_that_is_known_in_part_is_encoded_again(tiny_elastic):
    sequences = [[2, 7, 9, 3], [2, 3], [2, 8, 3]]
    known, other = load_kernel_backend(tiny_elastic), load_kernel_backend(tiny_elastic)
    for subnet in (subnet for subnet in known.subnets if subnet != LEVEL_0):
        known.keep_states(subnet)
        for chosen in ([0], [1, 0], [0, 2], [2, 1, 0], []):
            known.forward(sequences[:2], subnet)[:] = 0  # the caller's, to change
            texts = [sequences[number] for number in chosen]
            found, expected = known.forward_tokens(texts, subnet), other.forward_tokens(texts, subnet)
            assert np.array_equal(found.states, expected.states)
            assert np.array_equal(found.vectors, expected.vectors)
            assert np.array_equal(found.vectors, other.forward(texts, subnet))
            assert len(found.states) == sum(map(len, texts))


def test_only_the_last_batch_is_kept(retriever):
    hits_of(retriever, QUERIES)
    assert len(retriever.encoder._backend._last._texts) == len(QUERIES) - 32


@pytest.mark.parametrize("subnet", ["level0", "w0.5-d1"])
def test_states_of_an_earlier_search_are_not_used(retriever, encoded, subnet):
    hits_of(retriever, "dune", subnet="w1-d2", reranker="none")
    encoded.clear()
    hits_of(retriever, "dune", subnet=subnet)
    assert encoded == [1, 1]
