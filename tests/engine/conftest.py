"""An engine with a fake search; a tiny index, its retriever, and pools of worker processes."""

from __future__ import annotations

import json

import pytest
from engine_helpers import PROFILE, SLOW_S, FakeSearch
from process_helpers import RECALLS

from elasticdenser import PassageIndex, RetrievalEngine, Retriever
from elasticdenser.engine.processes.pool import ProcessPoolSearch


@pytest.fixture
def fake_search():
    return FakeSearch()


@pytest.fixture
def engine(fake_search):
    with RetrievalEngine(fake_search, PROFILE, slo_s=SLOW_S, workers=2, hang_timeout_s=0.2) as engine:
        yield engine


@pytest.fixture(scope="session")
def searched_index(tmp_path_factory, tiny_encoder):
    folder = tmp_path_factory.mktemp("searched")
    words = ["dune", "spice", "csv file", "thread", "desert planet", "python", "read a file", "wait", "novel", "water"]
    texts = [f"{a} and {b}" for a in words for b in words]
    corpus = folder / "passages.jsonl"
    corpus.write_text("".join(json.dumps({"_id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    PassageIndex.build(corpus, folder / "index", tiny_encoder, workers=1)
    return folder / "index"


@pytest.fixture(scope="session")
def retriever(searched_index, tiny_elastic):
    return Retriever.open(searched_index, encoder=str(tiny_elastic), device="cpu")


@pytest.fixture
def make_pool(retriever):
    """Return a function that makes a pool, by default of one process; the pools are closed at the end."""
    pools = []

    def make(retriever=retriever, processes=1, **options):
        pools.append(ProcessPoolSearch(retriever, RECALLS, processes, **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture
def pool(make_pool):
    pool = make_pool()
    pool.wait_until_ready()
    return pool
