"""Metrics of a server whose shards are searched elsewhere, here by shards that are faked."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from serving_helpers import PROFILE, search
from sharded import LocalShard, make_sharded
from waiting import LONG_DEADLINE_S, wait_until

from elasticdenser import PassageEncoder, RetrievalEngine, Retriever
from elasticdenser.datasets.passages import Passage
from elasticdenser.index.sharding.fan_out import FanOut, FanOutSettings
from elasticdenser.index.sharding.fan_out_index import FanOutIndex
from elasticdenser.index.sharding.manifest import shard_folder
from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings


@pytest.fixture
def served(tiny_elastic, tmp_path):
    """A client of a server of two shards, and how they are asked."""
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    make_sharded(tmp_path / "index", [Passage(doc_id=f"d{i}", text=f"word {i}") for i in range(7)], encoder, 2)

    def deploy(contents):
        shards = [LocalShard(shard_folder(contents.folder, entry.name)) for entry in contents.sharded.shards]
        return FanOut(shards, FanOutSettings(timeout_s=1.0, hedge_percentile=None))

    options = {"encoder": str(tiny_elastic), "device": "cpu", "download": False}
    retriever = Retriever.open(
        tmp_path / "index", open_index=lambda path: FanOutIndex.open_with(path, deploy), **options
    )
    engine_options = {"slo_s": LONG_DEADLINE_S, "workers": 1, "policy": "static:w1-d2"}
    with RetrievalEngine(retriever, PROFILE, **engine_options) as engine:
        settings = ServeSettings(log=False, deadline_s=LONG_DEADLINE_S)
        with TestClient(make_app(engine, retriever, settings)) as client:
            wait_until(lambda: client.get("/readyz").status_code == 200)  # the warm-up asks the shards too
            yield client, retriever.index.fan_out
    retriever.index.fan_out.close()


@pytest.mark.slow
def test_requests_to_shards_are_counted_by_cause_and_partial_answers_too(served):
    client, fan_out = served
    engine_warm_up = fan_out.n_asked
    fan_out.shards[0].n_replicas, fan_out.shards[1].n_waiting = 3, 5
    fan_out.shards[0].failures = 2
    search(client, query="word 1")
    fan_out.shards[1].hangs = 1
    assert search(client, query="word 2").json()["results"][0]["coverage"] == pytest.approx(3 / 7)
    metrics = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    for name, labels, value in (
        ("shard_replicas", ',shard="0"', 3),
        ("shard_replicas", ',shard="1"', 1),
        ("shard_queue_length", ',shard="1"', 5),
        ("missing_shard_replies_total", "", 1),
        ("partial_answers_total", "", 1),
    ):
        assert float(metrics[f'elasticdenser_{name}{{index="default"{labels}}}']) == value
    causes = {
        cause: float(metrics[f'elasticdenser_shard_requests_total{{cause="{cause}",index="default"}}'])
        for cause in ("first", "hedge", "repeat")
    }
    assert causes["first"] >= engine_warm_up + 4 and causes["repeat"] == 2 and causes["hedge"] == 0


def test_a_server_without_replicas_has_no_such_figures(client):
    assert "elasticdenser_shard_" not in client.get("/metrics").text
