"""Requests to shards: hedging, repetition, and answers without shards that are late, with replicas that are faked."""

from __future__ import annotations

import numpy as np
import pytest
from hashing import HashingEncoder, make_passages
from sharded import LocalShard, make_sharded

from elasticdenser.errors import IndexFormatError, QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.index.coverage import collected_coverage
from elasticdenser.index.sharding.fan_out import FanOut, FanOutSettings
from elasticdenser.index.sharding.fan_out_index import FanOutIndex, ShardsUnavailableError
from elasticdenser.index.sharding.manifest import shard_folder

N, SHARDS = 41, 3
LONG_S = 30.0


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fan-out") / "index"
    make_sharded(folder, make_passages(N), HashingEncoder(), SHARDS)
    return folder


@pytest.fixture
def make(path):
    """Open the index with shards in this process, and settings as for `FanOutSettings`."""
    opened = []

    def deploy_with(settings):
        def deploy(contents):
            shards = [LocalShard(shard_folder(contents.folder, entry.name)) for entry in contents.sharded.shards]
            opened.append(FanOut(shards, settings))
            return opened[-1]

        return deploy

    def open_index(timeout_s=LONG_S, hedge_percentile=None):
        settings = FanOutSettings(timeout_s=timeout_s, hedge_percentile=hedge_percentile)
        return FanOutIndex.open_with(path, deploy_with(settings))

    yield open_index
    for fan_out in opened:
        fan_out.close()


@pytest.fixture
def queries(path):
    return np.asarray(PassageIndex.open(path).vectors)[::7]


@pytest.mark.parametrize("k", [1, 10, N, 2 * N])
@pytest.mark.parametrize("options", [{}, {"exact": True}])
def test_hits_are_those_of_the_whole_index_to_the_bit(make, path, queries, k, options):
    scores, positions = make().search(queries, k, **options)
    expected_scores, expected_positions = PassageIndex.open(path).search(queries, k, **options)
    assert np.array_equal(scores, expected_scores) and np.array_equal(positions, expected_positions)


def test_a_search_in_some_passages_needs_no_shard(make, path, queries):
    index, within = make(), np.array([3, 20, 40])
    found = index.search(queries, 2, within=within)
    assert all(map(np.array_equal, found, PassageIndex.open(path).search(queries, 2, within=within)))
    assert [shard.n_asked for shard in index.fan_out.shards] == [0, 0, 0]


def test_a_replica_that_fails_is_asked_again_and_nothing_is_lost(make, path, queries):
    index = make()
    index.fan_out.shards[1].failures = 3
    with collected_coverage() as shares:
        scores, _ = index.search(queries, 5)
    assert np.array_equal(scores, PassageIndex.open(path).search(queries, 5)[0])
    assert shares == [1.0] and index.fan_out.n_repeated == 3


def test_a_late_shard_is_left_out_and_the_coverage_says_so(make, path, queries):
    index = make(timeout_s=0.2)
    index.fan_out.shards[0].hangs = 1
    with collected_coverage() as shares:
        _, positions = index.search(queries, N)
    first_size = len(PassageIndex.open(shard_folder(path, "00000")))
    assert shares == [(N - first_size) / N]
    assert positions.shape == (len(queries), N - first_size) and positions.min() >= first_size
    assert index.fan_out.shards[0].n_cancelled == 1 and index.fan_out.n_left_out == 1
    with collected_coverage() as shares:  # the shard is back
        index.search(queries, N)
    assert shares == [1.0]


def test_without_any_shard_there_is_an_error_that_tells_what_to_do(make, queries):
    index = make(timeout_s=0.1)
    for shard in index.fan_out.shards:
        shard.failures = 1000
    with pytest.raises(ShardsUnavailableError, match=r"none of the 3 shards of .* try again"):
        index.search(queries, 5)


def test_a_slow_reply_is_hedged_and_the_first_one_counts(make, queries):
    index = make(hedge_percentile=90)
    for _ in range(40):  # as many replies as a percentile needs
        index.search(queries, 5)
    shard = index.fan_out.shards[2]
    shard.hangs, shard.n_asked = 1, 0
    with collected_coverage() as shares:
        index.search(queries, 5)
    assert shares == [1.0] and shard.n_asked == 2 and index.fan_out.n_hedged >= 1


def test_queries_are_checked_before_any_shard_is_asked(make, queries):
    index = make()
    for arguments in ((queries[:, :3], 5), (queries, 0)):
        with pytest.raises(QueryError):
            index.search(*arguments)
    with pytest.raises(QueryError):
        index.search(queries, 5, recall=2.0)
    assert [shard.n_asked for shard in index.fan_out.shards] == [0, 0, 0]


@pytest.mark.slow
def test_an_index_that_was_built_again_is_deployed_again(path, make, queries, tmp_path):
    folder = tmp_path / "index"
    make_sharded(folder, make_passages(20), HashingEncoder(), 2)
    deployed = []

    def deploy(contents):
        shards = [LocalShard(shard_folder(contents.folder, entry.name)) for entry in contents.sharded.shards]
        deployed.append(FanOut(shards, FanOutSettings(timeout_s=LONG_S)))
        return deployed[-1]

    index = FanOutIndex.open_with(folder, deploy)
    assert index.refresh() is index
    folder.rename(tmp_path / "old")
    make_sharded(folder, make_passages(30), HashingEncoder(), 3)
    newest = index.refresh()
    assert (len(index), len(newest), len(deployed)) == (20, 30, 2)
    assert index.search(queries, 20)[1].shape[1] == 20  # searches that have begun end in the old one
    for fan_out in deployed:
        fan_out.close()
        fan_out.close()  # safe to call again
        assert all(shard.is_closed for shard in fan_out.shards)


def test_an_index_that_is_not_sharded_is_refused(path):
    with pytest.raises(IndexFormatError, match="not sharded: build it with"):
        FanOutIndex.open_with(shard_folder(path, "00000"), lambda contents: None)


@pytest.mark.parametrize("settings", [{"timeout_s": 0}, {"timeout_s": 1, "hedge_percentile": 100}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(QueryError, match="expected"):
        FanOutSettings(**settings)
