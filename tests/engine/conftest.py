"""An engine with a fake search; a tiny index, its retriever, and searches in processes."""

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
    with RetrievalEngine(fake_search, PROFILE, slo_s=SLOW_S, workers=2, hang_timeout_s=0.2) as made:
        yield made


@pytest.fixture(scope="session")
def searched_index(tmp_path_factory, tiny_encoder):
    made = tmp_path_factory.mktemp("searched")
    words = ["dune", "spice", "csv file", "thread", "desert planet", "python", "read a file", "wait", "novel", "water"]
    texts = [f"{a} and {b}" for a in words for b in words]
    corpus = made / "passages.jsonl"
    corpus.write_text("".join(json.dumps({"_id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    PassageIndex.build(corpus, made / "index", tiny_encoder, workers=1)
    return made / "index"


@pytest.fixture(scope="session")
def retriever(searched_index, tiny_elastic):
    return Retriever.open(searched_index, encoder=str(tiny_elastic), device="cpu")


@pytest.fixture
def make(retriever):
    """Make a search, of one process unless told otherwise; it is closed at the end."""
    made = []

    def start(retriever=retriever, processes=1, **options):
        made.append(ProcessPoolSearch(retriever, RECALLS, processes, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def search(make):
    made = make()
    made.wait()
    return made
