"""An engine that goes on with another retriever, in threads and in processes."""

from __future__ import annotations

import shutil
import threading

import pytest
from process_helpers import make_profile, search_in_process
from waiting import wait_until

from elasticdenser import Retriever
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.request import Query
from elasticdenser.errors import QueryError


@pytest.fixture
def own_retriever(searched_index, tiny_elastic, tmp_path):
    path = shutil.copytree(searched_index, tmp_path / "mine")
    return Retriever.open(path, encoder=str(tiny_elastic), device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [False, True])
def test_the_engine_searches_the_newest_generation(own_retriever, processes):
    with RetrievalEngine(own_retriever, make_profile(), slo_s=60, workers=1, processes=processes) as engine:
        engine.warm_up()
        best = engine.ask("dune", k=1).hits[0].doc_id
        changed = own_retriever.index.delete([best])
        assert engine.ask("dune", k=1).hits[0].doc_id == best
        futures = [engine.submit(f"dune {number}", k=5) for number in range(20)]
        engine.switch(own_retriever.refresh())
        assert all(len(future.result(30).hits) == 5 for future in futures)
        for _ in range(3):
            hits = engine.submit("dune", k=len(changed)).result(30).hits
            assert best not in {hit.doc_id for hit in hits} and len(hits) == len(changed)
        snapshot = engine.snapshot()
        assert (snapshot.processes, snapshot.replaced_processes, snapshot.replaced_workers) == (int(processes), 0, 0)


@pytest.mark.slow
def test_processes_that_cannot_open_a_generation_go_on_with_the_old_one(own_retriever):
    with RetrievalEngine(own_retriever, make_profile(), slo_s=60, workers=1, processes=True) as engine:
        engine.warm_up()
        (process,) = engine._process_pool._processes
        changed = own_retriever.index.delete([own_retriever.index.doc_ids[0]])
        newer = own_retriever.refresh()
        changed.delete([changed.doc_ids[0]])  # so that the process opens another generation than that of the retriever
        with pytest.raises(WorkerError, match="could not open the index again"):
            engine.switch(newer)
        assert engine.process_failure is None
        assert len(engine.submit("dune", k=100).result(30).hits) == len(own_retriever.index)
        engine.switch(own_retriever.refresh())
        assert len(engine.submit("dune", k=100).result(30).hits) == len(own_retriever.index) - 2
        assert engine._process_pool._processes == {process}


@pytest.mark.slow
def test_a_process_that_starts_later_opens_what_is_searched_then(own_retriever):
    with RetrievalEngine(own_retriever, make_profile(), slo_s=60, workers=1, processes=True) as engine:
        engine.warm_up()
        pool = engine._process_pool
        own_retriever.index.delete([own_retriever.index.doc_ids[0]])
        engine.switch(own_retriever.refresh())
        (process,) = pool._processes
        process.kill()
        wait_until(lambda: pool.n_replaced == 1 and pool._idle, 60)
        hits = search_in_process(pool, [Query(text="dune", k=100)])[0]
        assert len(hits) == len(own_retriever.index) - 1


@pytest.mark.slow
def test_a_busy_process_opens_the_index_after_its_batch(own_retriever):
    with RetrievalEngine(own_retriever, make_profile(), slo_s=60, workers=1, processes=True) as engine:
        engine.warm_up()
        pool = engine._process_pool
        finish = pool.start_batch([Query(text="dune", k=100)], "level0")
        own_retriever.index.delete([own_retriever.index.doc_ids[0]])
        switching = threading.Thread(target=engine.switch, args=(own_retriever.refresh(),))
        switching.start()
        wait_until(lambda: pool._wanted is not None)
        assert len(next(iter(finish()))) == len(own_retriever.index)
        switching.join(30)
        assert len(search_in_process(pool, [Query(text="dune", k=100)])[0]) == len(own_retriever.index) - 1


@pytest.mark.slow
def test_an_engine_of_a_batch_search_has_no_retriever_to_switch(own_retriever, pool):
    with RetrievalEngine(pool, make_profile(), slo_s=60, workers=1) as engine:
        assert engine.retriever is None
        with pytest.raises(QueryError, match="engine of a BatchSearch"):
            engine.switch(own_retriever)
