"""Levels that rerank: the hits of their reranker, in threads and processes, and requests that switch it off."""

from __future__ import annotations

import pytest
from engine_helpers import PROFILE as FAKE_PROFILE
from engine_helpers import FakeSearch, scheduler_of
from engine_helpers import level as make_level
from engine_helpers import request as make_request
from process_helpers import search_in_process
from waiting import LONG_DEADLINE_S

from elasticdenser import RetrievalEngine, Retriever
from elasticdenser.engine.batch_search import RetrieverSearch
from elasticdenser.engine.processes.pool import ProcessPoolSearch
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Query
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.models import shipped_ranker
from elasticdenser.rankers import load_shipped_ranker

LEVEL, CASCADE = "w1-d2+20:w0.5-d1", "level0+20:w0.5-d1+5:w1-d2"
RECALLS = {LEVEL: None, CASCADE: None, "w1-d2": None}
PROFILE = Profile(
    levels=[
        Level(name=LEVEL, quality=1.0, measured_s={1: 0.003}),
        Level(name="w1-d2", quality=0.9, measured_s={1: 0.001}),
    ]
)


@pytest.fixture(scope="module")
def reranking_retriever(searched_index, tiny_elastic, tiny_ranker):
    return Retriever.open(searched_index, encoder=str(tiny_elastic), device="cpu", reranker="none", ranker=tiny_ranker)


def test_a_level_gives_the_hits_of_its_reranker(reranking_retriever):
    search = RetrieverSearch(reranking_retriever, RECALLS)
    for level, subnet, reranker in ((LEVEL, "w1-d2", "20:w0.5-d1"), (CASCADE, "level0", "20:w0.5-d1,5:w1-d2")):
        (hits,) = search.search_batch([Query(text="desert planet", k=8)], level)
        assert hits == list(reranking_retriever.search("desert planet", 8, subnet=subnet, reranker=reranker))
        assert hits != list(reranking_retriever.search("desert planet", 8, subnet=subnet))


def test_a_query_of_a_batch_can_switch_reranking_off(reranking_retriever):
    search = RetrieverSearch(reranking_retriever, RECALLS)
    queries = [Query(text="desert planet", k=8), Query(text="desert planet", k=8, rerank=False)]
    reranked, plain = search.search_batch(queries, LEVEL)
    as_ids = [[hit.doc_id for hit in hits] for hits in (reranked, plain)]
    assert as_ids[0] != as_ids[1]
    assert as_ids[1] == [hit.doc_id for hit in reranking_retriever.search("desert planet", 8, reranker="none")]


def test_a_level_that_does_not_rerank_ignores_the_ranker_of_the_retriever(searched_index, tiny_elastic, tiny_ranker):
    own = Retriever.open(searched_index, encoder=str(tiny_elastic), device="cpu", ranker=tiny_ranker)
    assert own.reranker is not None
    (hits,) = RetrieverSearch(own, RECALLS).search_batch([Query(text="dune", k=8)], "w1-d2")
    assert hits == list(own.search("dune", 8, reranker="none")) != list(own.search("dune", 8))


def test_other_rerankers_of_the_retriever_work_at_levels_that_do_not_rerank(searched_index, tiny_elastic):
    diverse = Retriever.open(searched_index, encoder=str(tiny_elastic), device="cpu", reranker="mmr:0.3")
    (hits,) = RetrieverSearch(diverse, {"w1-d2": None}).search_batch([Query(text="dune", k=8)], "w1-d2")
    assert hits == list(diverse.search("dune", 8)) != list(diverse.search("dune", 8, reranker="none"))


def test_levels_that_cannot_be_reranked_are_refused(retriever, reranking_retriever, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped_ranker, "SHIPPED_RANKER", tmp_path)
    load_shipped_ranker.cache_clear()
    with pytest.raises(ModelError, match=r"--ranker FOLDER"):
        RetrieverSearch(retriever, {LEVEL: None})
    with pytest.raises(QueryError, match="got subnet w1-d9"):
        RetrieverSearch(reranking_retriever, {"w1-d2+20:w1-d9": None})


def test_processes_rerank(reranking_retriever):
    pool = ProcessPoolSearch(reranking_retriever, RECALLS, 1)
    try:
        pool.wait_until_ready()
        queries = [Query(text="desert planet", k=8), Query(text="desert planet", k=8, rerank=False)]
        hits = search_in_process(pool, queries, LEVEL)
    finally:
        pool.close()
    assert hits == RetrieverSearch(reranking_retriever, RECALLS).search_batch(queries, LEVEL)
    assert hits[0] != hits[1] and {str(hit.subnet) for hit in hits[0]} == {"w1-d2"}


def test_answers_say_what_was_reranked(reranking_retriever):
    with RetrievalEngine(reranking_retriever, PROFILE, slo_s=LONG_DEADLINE_S, workers=1) as engine:
        engine.warm_up()
        reranked, plain = engine.ask("dune", k=8), engine.ask("dune", k=8, rerank=False)
        assert (reranked.level, reranked.reranked) == (LEVEL, ((20, "w0.5-d1"),))
        assert (plain.level, plain.reranked) == (LEVEL, ())
        assert [hit.doc_id for hit in plain.hits] == [hit.doc_id for hit in reranking_retriever.search("dune", 8)]
        with pytest.raises(QueryError, match="got rerank = 'no'; expected True, or False"):
            engine.submit("dune", rerank="no")


def test_without_a_profile_the_levels_of_the_own_reranker_are_measured(searched_index, tiny_elastic, tiny_ranker):
    retriever = Retriever.open(
        searched_index, encoder=str(tiny_elastic), device="cpu", reranker="20:w0.5-d1", ranker=tiny_ranker
    )
    with RetrievalEngine(retriever, slo_s=LONG_DEADLINE_S, workers=1) as engine:
        assert engine.profile.levels[0].name == LEVEL
        assert {level.parts.subnet for level in engine.profile.levels if not level.parts.stages} == {
            str(subnet) for subnet in retriever.encoder.subnets
        }
        assert engine.ask("dune", k=3).reranked == ((20, "w0.5-d1"),)


def test_queries_that_are_not_reranked_share_no_answer_with_those_that_are():
    search = FakeSearch(run_s=0.0)
    search.gate.clear()
    with RetrievalEngine(search, FAKE_PROFILE, slo_s=LONG_DEADLINE_S, workers=1) as engine:
        engine.submit("busy")
        futures = [engine.submit("dune", rerank=rerank) for rerank in (True, False, True)]
        search.gate.set()
        answers = [future.result(10) for future in futures]
    assert [text for texts, _ in search.batches for text in texts].count("dune") == 2
    assert answers[0].hits is answers[2].hits and answers[1].reranked == ()


def test_run_times_without_reranking_do_not_correct_the_profile():
    profile = Profile(levels=[make_level("w1-d6+50:w0.5-d3", 1.0, 10, 320), make_level("w1-d6", 0.9, 1, 20)])
    for rerank, is_corrected in ((True, True), (False, False)):
        scheduler = scheduler_of("static:w1-d6+50:w0.5-d3", profile, slo_s=1.0)
        for number in range(20):
            scheduler.add(make_request(number, now_s=number, timeout_s=1.0, rerank=rerank))
            batch = scheduler.schedule(number)
            scheduler.finish(batch, 0.02)
        assert (scheduler.correction_ratio > 1.2) == is_corrected
