"""Building of shards on a Ray cluster: the same index as without, also if an actor or a node is killed meanwhile."""

import os
import signal
import threading
import time
from contextlib import closing

import pytest
from ci_needs import require
from hashing import HashingEncoder, assert_same, make_passages, write_jsonl
from ray_nodes import ray_nodes
from recording import Deadly, RecordingEncoder, visible_gpus
from waiting import wait_until

from elasticdenser.datasets import open_corpus
from elasticdenser.errors import BadInputError, BuildError, ElasticDenserError
from elasticdenser.index import PassageIndex
from elasticdenser.index.layout import building_folder
from elasticdenser.index.sharding import ray_runner
from elasticdenser.index.sharding.building import build_shards
from elasticdenser.index.sharding.ray_runner import RayRunner
from elasticdenser.index.sharding.tasks import n_encoded
from elasticdenser.lazy_imports import is_installed
from elasticdenser.progress import silent

pytestmark = [pytest.mark.slow, pytest.mark.serial]

N = 20_000
"""Passages: shards of several windows."""


@pytest.fixture(scope="module")
def cluster():
    require(is_installed("ray"), "needs the extra ray")
    with ray_nodes(num_cpus=1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return open_corpus(write_jsonl(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", make_passages(N)))


@pytest.fixture
def encoder(tmp_path):
    return RecordingEncoder(tmp_path / "windows.txt", wait_s=0.5)


def once_it_encodes(encoder, act):
    """Call `act` with the process of the third window that is encoded, from another thread."""

    def wait():
        while len(encoder.entries()) < 3:
            time.sleep(0.05)
        act(encoder.entries()[-1][0])

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_shards_built_on_ray_are_those_built_here(cluster, corpus, tmp_path):
    steps = []
    encoder = RecordingEncoder(tmp_path / "windows.txt")
    index = PassageIndex.build(
        corpus,
        tmp_path / "ray",
        encoder,
        shards=3,
        ray="auto",
        factory="IVF8,Flat",
        progress=lambda *step: steps.append(step),
    )
    assert_same(index, N)
    assert len({process for process, _, _ in encoder.entries()} | {os.getpid()}) == 3  # two actors, and not here
    assert {cpus for _, _, cpus in encoder.entries()} == {1}
    assert ("encoding", N, N) in steps
    here = PassageIndex.build(corpus, tmp_path / "here", HashingEncoder(), shards=3, factory="IVF8,Flat")
    for one, other in zip(index.contents.segments, here.contents.segments, strict=True):
        assert {name: entry.sha256 for name, entry in one.manifest.files.items()} == {
            name: entry.sha256 for name, entry in other.manifest.files.items()
        }
    assert index.contents.sharded.codebooks == here.contents.sharded.codebooks


def test_a_killed_actor_resumes_its_shard(cluster, corpus, tmp_path, encoder):
    thread = once_it_encodes(encoder, lambda process: os.kill(process, signal.SIGKILL))
    index = PassageIndex.build(corpus, tmp_path / "index", encoder, shards=2, ray="auto")
    thread.join()
    assert_same(PassageIndex.open(tmp_path / "index", check="all"), N)
    assert len({process for process, _, _ in encoder.entries()}) == 3
    n_again = sum(n for _, n, _ in encoder.entries()) - N
    assert 0 <= n_again <= 2 * 2048, "finished windows were encoded again"
    assert len(index.contents.segments) == 2


def test_a_killed_node_resumes_its_shard_elsewhere(cluster, corpus, tmp_path, encoder):
    import ray

    lost = cluster.add_node(**cluster.options)
    processes_of_node = []

    def kill_node(_):
        cluster.remove_node(lost, allow_graceful=False)
        processes_of_node.append(time.monotonic())

    thread = once_it_encodes(encoder, kill_node)
    PassageIndex.build(corpus, tmp_path / "index", encoder, shards=3, ray="auto")
    thread.join()
    assert processes_of_node, "the node was killed before the end"
    wait_until(lambda: sum(node["Alive"] for node in ray.nodes()) == 2, 60, 0.5)
    assert_same(PassageIndex.open(tmp_path / "index", check="all"), N)
    n_again = sum(n for _, n, _ in encoder.entries()) - N
    assert 0 <= n_again <= 2 * 2048, "finished windows were encoded again"


def test_a_fault_of_the_corpus_is_told_as_without_ray(cluster, tmp_path):
    file = write_jsonl(tmp_path / "corpus.jsonl", make_passages(100))
    with open(file, "a", encoding="utf-8") as output:
        output.write("not JSON\n")
    with pytest.raises(BadInputError, match=r"corpus\.jsonl:101: not JSON") as error:
        PassageIndex.build(open_corpus(file), tmp_path / "index", HashingEncoder(), shards=2, ray="auto")
    assert "Traceback" not in str(error.value)


def test_a_shard_that_ends_every_process_fails_and_keeps_what_is_finished(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_runner, "_MAX_DEATHS", 1)
    corpus = open_corpus(write_jsonl(tmp_path / "corpus.jsonl", make_passages(100)))
    path = tmp_path / "index"
    with pytest.raises(BuildError, match=r"the process of shard \d died 2 times"):
        PassageIndex.build(corpus, path, Deadly(), shards=2, ray="auto")
    assert building_folder(path).is_dir()
    assert n_encoded(building_folder(path) / "shards/00000") == 0
    assert_same(PassageIndex.build(corpus, path, HashingEncoder(), shards=2, ray="auto"), 100)


def test_a_cluster_without_room_is_refused(cluster, corpus, tmp_path):
    with pytest.raises(BuildError, match=r"expected at least 64 and 0 for one shard"):
        PassageIndex.build(corpus, tmp_path / "index", HashingEncoder(), shards=2, ray="auto", workers=64)


def test_actors_with_and_without_a_gpu_work_side_by_side(cluster):
    import ray

    node = cluster.add_node(**cluster.options, num_gpus=1)
    cluster.wait_for_nodes()
    try:
        for device, expected in (("auto", ["", "", "0"]), ("cuda", ["0"] * 3), ("cpu", [""] * 3)):
            with closing(RayRunner(ray, device=device)) as runner:
                assert sorted(runner.run([visible_gpus] * 3, "", silent)) == expected
    finally:
        cluster.remove_node(node)


def test_a_cluster_that_is_not_there_is_named(tmp_path, monkeypatch):
    require(is_installed("ray"), "needs the extra ray")
    import ray

    def refuse(*_, **__):
        raise ConnectionError("no cluster")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    from elasticdenser.index.plan import BuildSettings
    from elasticdenser.progress import silent

    corpus = open_corpus(write_jsonl(tmp_path / "corpus.jsonl", make_passages(10)))
    with pytest.raises(ElasticDenserError, match=r"cannot use the Ray cluster '127\.0\.0\.1:1' \(no cluster\)"):
        build_shards(corpus, tmp_path / "index", HashingEncoder(), BuildSettings(), 2, silent, ray="127.0.0.1:1")
