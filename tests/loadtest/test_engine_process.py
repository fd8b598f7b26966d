"""Load tests of an engine in a process of its own."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from load_fakes import PROFILE, open_missing_index, open_sleeping_search

from elasticdenser import PassageEncoder, PassageIndex
from elasticdenser.engine.policies import make_policy
from elasticdenser.engine.request import Status
from elasticdenser.engine.simulation.arrivals import ClosedLoop, poisson
from elasticdenser.engine.simulation.settings import SimulationSettings
from elasticdenser.errors import QueryError
from elasticdenser.loadtest.engine_process import open_index
from elasticdenser.loadtest.engine_target import EngineTarget
from elasticdenser.loadtest.frames import FrameReader, frame_of
from elasticdenser.loadtest.generator import LoadSettings, run_load
from elasticdenser.loadtest.result import LoadResult
from elasticdenser.loadtest.target import TargetError


@pytest.fixture(scope="module")
def target():
    with EngineTarget(open_sleeping_search, PROFILE, workers=1) as target:
        yield target


def load(target, arrivals, policy="elastic", queries=("one", "two"), seconds=0.5, deadline_s=0.2):
    target.start(policy, deadline_s)
    run = run_load(target, arrivals, queries, LoadSettings(deadline_s=deadline_s, seconds=seconds, drain_s=2.0))
    target.finish()
    return run


def distinct_queries(n=500):
    return [f"query {number}" for number in range(n)]


def test_frames_are_reassembled_from_pieces_of_any_length():
    frames = [[(1, "who wrote dune", 10, 0.5), (2, "ü", 1, 2.0)], [], [(3, None, 0.0)]]
    data = b"".join(map(frame_of, frames))
    for length in (1, 3, 1000):
        reader, received = FrameReader(), []
        for start in range(0, len(data), length):
            received += reader.feed(data[start : start + length])
        assert received == frames


def test_responses_report_level_batch_and_run_time(target):
    times = poisson(100, 0.5, np.random.default_rng(0))
    run = load(target, times, queries=distinct_queries())
    assert len(run.outcomes) == len(times) and run.n_lost == 0
    assert sum(outcome.status is Status.IN_TIME for outcome in run.outcomes) >= 0.9 * len(times)
    for response in run.responses:
        assert response.level == PROFILE.levels[0].name and response.batch_size >= 1 and response.ran_s > 0.001
    assert target.snapshot.statuses["in time"] + target.snapshot.statuses["late"] == len(run.responses)
    assert run.memory and run.memory[0][1] > 1_000_000


def test_batches_are_numbered(target):
    run = load(target, ClosedLoop(clients=4), queries=distinct_queries())
    batches = {}
    for response in run.responses:
        batches.setdefault(response.batch_number, []).append(response)
    assert 0 not in batches and len(batches) > 3
    for batch in batches.values():
        assert len({(response.level, response.ran_s) for response in batch}) == 1
        assert len(batch) == batch[0].batch_size


@pytest.mark.slow
def test_one_process_serves_several_policies(target):
    for policy, level in (("static:level0", "level0"), ("static:w1-d3", "w1-d3")):
        run = load(target, ClosedLoop(clients=4), policy, distinct_queries())
        assert {response.level for response in run.responses} == {level}


def best_level_only(profile, settings):
    return make_policy(f"static:{profile.levels[0].name}", profile, settings)


def test_a_policy_may_be_an_object_that_can_be_pickled(target):
    run = load(target, ClosedLoop(clients=4), best_level_only, distinct_queries())
    assert {response.level for response in run.responses} == {PROFILE.levels[0].name}
    result = LoadResult.from_run(best_level_only, run, PROFILE, ClosedLoop(clients=4), None)
    assert result.summary.policy == f"static:{PROFILE.levels[0].name}"
    with pytest.raises(QueryError, match="cannot be pickled"):
        target.start(lambda profile, settings: None, 0.2)


def test_under_overload_requests_are_rejected_and_none_is_lost(target):
    times = poisson(8000, 0.4, np.random.default_rng(0))
    run = load(target, times, queries=distinct_queries(5000), deadline_s=0.02)
    assert len(run.outcomes) == len(times) and run.n_lost == 0
    assert sum(outcome.status is Status.REFUSED for outcome in run.outcomes) > 0.2 * len(times)


def test_failed_searches_are_reported(target):
    run = load(target, np.array([0.0, 0.01]), queries=["die"])
    assert [outcome.status for outcome in run.outcomes] == [Status.FAILED, Status.FAILED]


def test_a_run_and_its_simulation_agree(target):
    times = poisson(150, 0.6, np.random.default_rng(1))
    run = load(target, times, queries=distinct_queries())
    settings = SimulationSettings(deadline_s=0.2, seconds=0.6, workers=1)
    result = LoadResult.from_run("elastic", run, PROFILE, times, settings)
    assert result.simulated.n_requests == len(times) and result.calibration.ratio > 0.9
    assert result.agrees, result.conditions()
    figures = json.loads(json.dumps(result.figures()))
    assert figures["agrees"] and figures["machine_as_found"]["way_in_s"] < 0.1


def test_a_process_that_ends_is_an_error():
    with (
        EngineTarget(open_sleeping_search, PROFILE, workers=1) as target,
        pytest.raises(TargetError, match="has ended"),
    ):
        load(target, np.linspace(0, 0.5, 20), queries=["vanish"])


def test_an_index_that_cannot_be_opened_is_reported():
    with pytest.raises(TargetError, match="there is no index here"):
        EngineTarget(open_missing_index, PROFILE)
    with pytest.raises(TargetError, match="got no profile"):
        EngineTarget(open_sleeping_search)


@pytest.mark.slow
def test_an_index_is_opened_and_profiled_in_the_process(tiny_elastic, tmp_path):
    lines = (json.dumps({"_id": str(number), "text": f"passage {number} on rain"}) for number in range(30))
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    path = PassageIndex.build(tmp_path / "corpus.jsonl", tmp_path / "index", encoder, workers=1).path
    opener = partial(open_index, path, encoder=str(tiny_elastic), download=False, device="cpu")
    with EngineTarget(opener, workers=1) as target:
        assert "level0" in {level.name for level in target.profile.levels}
        assert target.queries[0].startswith("passage")
        run = load(target, ClosedLoop(clients=2), queries=target.queries, deadline_s=1.0)
    assert run.outcomes and all(outcome.status is Status.IN_TIME for outcome in run.outcomes)
