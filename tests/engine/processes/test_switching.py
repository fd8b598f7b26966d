"""An engine that goes on with another retriever, in threads and in processes."""

from __future__ import annotations

import shutil

import pytest
from process_helpers import make_profile
from waiting import wait_until

from elasticdenser import Retriever
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.errors import WorkerError
from elasticdenser.errors import QueryError


@pytest.fixture
def own_retriever(searched_index, tiny_elastic, tmp_path):
    path = shutil.copytree(searched_index, tmp_path / "mine")
    return Retriever.open(path, encoder=str(tiny_elastic), device="cpu")


@pytest.mark.parametrize("processes", [False, True])
def test_the_engine_searches_the_newest_generation(own_retriever, processes):
    with RetrievalEngine(own_retriever, make_profile(), slo_s=60, workers=1, processes=processes) as engine:
        engine.warm_up()
        best = engine.ask("dune", k=1).hits[0].doc_id
        changed, old_pool = own_retriever.index.delete([best]), engine._process_pool
        assert engine.ask("dune", k=1).hits[0].doc_id == best
        futures = [engine.submit(f"dune {number}", k=5) for number in range(20)]
        engine.switch(own_retriever.refresh())
        assert all(len(future.result(30).hits) == 5 for future in futures)
        for _ in range(3):
            hits = engine.submit("dune", k=len(changed)).result(30).hits
            assert best not in {hit.doc_id for hit in hits} and len(hits) == len(changed)
        snapshot = engine.snapshot()
        assert (snapshot.processes, snapshot.replaced_processes, snapshot.replaced_workers) == (int(processes), 0, 0)
        if old_pool is not None:
            wait_until(lambda: not any(supervisor.is_alive() for supervisor in old_pool._supervisors))


def test_an_engine_whose_processes_cannot_start_goes_on(own_retriever):
    with RetrievalEngine(own_retriever, make_profile(), slo_s=60, workers=1, processes=True) as engine:
        engine.warm_up()
        changed = own_retriever.index.delete([own_retriever.index.doc_ids[0]])
        newer = own_retriever.refresh()
        changed.delete([changed.doc_ids[0]])  # so that a process opens another generation than that of the retriever
        with pytest.raises(WorkerError, match="no worker process could start"):
            engine.switch(newer)
        assert engine.process_failure is None
        assert len(engine.submit("dune", k=100).result(30).hits) == len(own_retriever.index)
        engine.switch(own_retriever.refresh())
        assert len(engine.submit("dune", k=100).result(30).hits) == len(own_retriever.index) - 2


def test_an_engine_of_a_batch_search_has_no_retriever_to_switch(own_retriever, pool):
    with RetrievalEngine(pool, make_profile(), slo_s=60, workers=1) as engine:
        assert engine.retriever is None
        with pytest.raises(QueryError, match="engine of a BatchSearch"):
            engine.switch(own_retriever)
