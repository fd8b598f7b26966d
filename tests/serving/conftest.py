"""Fixtures: a tiny index, its retriever, an engine, and clients of applications around them."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
from serving_helpers import CALIBRATED, PROFILE, RERANKING_PROFILE, GatedSearch
from waiting import LONG_DEADLINE_S

if any(find_spec(name) is None for name in ("fastapi", "uvicorn", "prometheus_client", "httpx2")):
    collect_ignore_glob = ["test_*.py"]  # needs pip install 'elasticdenser[serve,dev]'

TEXTS = {
    "d1": ("Dune", "dune is a novel about a desert planet"),
    "d2": ("", "read a csv file with <b>headers</b> & more"),
    "d3": ("Köln", "wait for several threads to finish ☃"),
}


@pytest.fixture(scope="session")
def served_index(tiny_elastic, tmp_path_factory):
    from elasticdenser import PassageEncoder, PassageIndex

    folder = tmp_path_factory.mktemp("served")
    lines = (json.dumps({"_id": key, "title": title, "text": text}) for key, (title, text) in TEXTS.items())
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    return PassageIndex.build(folder / "corpus.jsonl", folder / "mine", encoder, workers=1).path


@pytest.fixture(scope="session")
def retriever(served_index, tiny_elastic):
    from elasticdenser import Retriever

    return Retriever.open(served_index, encoder=str(tiny_elastic), device="cpu", download=False)


@pytest.fixture(scope="session")
def reranking_retriever(served_index, tiny_elastic, tiny_model, tmp_path_factory):
    """A retriever whose ranker has the name my-ranker, and is calibrated at its largest subnet."""
    from elastic_models import write_ranker

    from elasticdenser import Retriever

    ranker = write_ranker(tmp_path_factory.mktemp("served-ranker") / "my-ranker", tiny_model, calibration=CALIBRATED)
    options = {"reranker": "none", "ranker": ranker, "device": "cpu", "download": False}
    return Retriever.open(served_index, encoder=str(tiny_elastic), **options)


@pytest.fixture(scope="module")
def reranking_engine(reranking_retriever):
    from elasticdenser import RetrievalEngine

    with RetrievalEngine(reranking_retriever, RERANKING_PROFILE, slo_s=LONG_DEADLINE_S, workers=1) as engine:
        yield engine


@pytest.fixture
def engine(retriever):
    from elasticdenser import RetrievalEngine

    with RetrievalEngine(retriever, PROFILE, slo_s=LONG_DEADLINE_S, workers=1) as engine:
        yield engine


@pytest.fixture
def make_client(retriever, engine):
    """Make a client of a new application, with settings as for `ServeSettings` and, if need be, another engine."""
    import contextlib

    from fastapi.testclient import TestClient

    from elasticdenser.serving.app import make_app
    from elasticdenser.serving.settings import ServeSettings

    with contextlib.ExitStack() as stack:

        def make(own_engine=None, **settings):
            settings = ServeSettings(**{"log": False, "deadline_s": LONG_DEADLINE_S, **settings})
            return stack.enter_context(TestClient(make_app(own_engine or engine, retriever, settings)))

        yield make


@pytest.fixture
def client(make_client):
    return make_client()


@pytest.fixture
def gated():
    return GatedSearch()


@pytest.fixture
def gated_engine(gated):
    """An engine that holds at most three requests, and whose only worker waits at a gate."""
    from elasticdenser import RetrievalEngine

    with RetrievalEngine(
        gated, PROFILE, slo_s=LONG_DEADLINE_S, workers=1, hang_timeout_s=30, max_unfinished=3
    ) as engine:
        yield engine
        gated.gate.set()
