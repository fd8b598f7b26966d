"""The engine in a process of its own."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from load_fakes import PROFILE, nothing_there, sleeping_search

from elasticdenser import PassageEncoder, PassageIndex
from elasticdenser.engine.request import Status
from elasticdenser.engine.simulation.arrivals import ClosedLoop, poisson
from elasticdenser.engine.simulation.settings import SimulationSettings
from elasticdenser.loadtest.client import ClientSettings, run_load
from elasticdenser.loadtest.engine_process import open_index
from elasticdenser.loadtest.engine_target import EngineTarget
from elasticdenser.loadtest.frames import Frames, frame_of
from elasticdenser.loadtest.result import Result
from elasticdenser.loadtest.target import TargetError


@pytest.fixture(scope="module")
def target():
    with EngineTarget(sleeping_search, PROFILE, workers=1) as made:
        yield made


def load(target, times, policy="elastic", queries=("one", "two"), seconds=0.5, deadline_s=0.2):
    target.start(policy, deadline_s)
    made = run_load(target, times, queries, ClientSettings(deadline_s=deadline_s, seconds=seconds, drain_s=2.0))
    target.finish()
    return made


def many(n=500):
    return [f"query {number}" for number in range(n)]


def test_frames_come_whole_however_they_are_cut():
    messages = [[(1, "who wrote dune", 10, 0.5), (2, "ü", 1, 2.0)], [], [(3, None, 0.0)]]
    sent = b"".join(map(frame_of, messages))
    for step in (1, 3, 1000):
        frames, got = Frames(), []
        for at in range(0, len(sent), step):
            got += frames.feed(sent[at : at + step])
        assert got == messages


def test_answers_say_where_time_went(target):
    times = poisson(100, 0.5, np.random.default_rng(0))
    made = load(target, times, queries=many())
    assert len(made.outcomes) == len(times) and made.n_lost == 0
    assert sum(one.status is Status.IN_TIME for one in made.outcomes) >= 0.9 * len(times)
    for one in made.replies:
        assert one.level == PROFILE.levels[0].name and one.batch_size >= 1 and one.ran_s > 0.001
    assert target.snapshot.statuses["in time"] + target.snapshot.statuses["late"] == len(made.replies)
    assert made.memory and made.memory[0][1] > 1_000_000


def test_batches_are_told_apart(target):
    made = load(target, ClosedLoop(clients=4), queries=many())
    batches = {}
    for one in made.replies:
        batches.setdefault(one.batch, []).append(one)
    assert 0 not in batches and len(batches) > 3
    assert all(len({(one.level, one.ran_s) for one in its}) == 1 for its in batches.values())
    assert all(len(its) == its[0].batch_size for its in batches.values())


def test_one_process_serves_several_policies(target):
    for policy, level in (("static:level0", "level0"), ("static:w1-d3", "w1-d3")):
        made = load(target, ClosedLoop(clients=4), policy, many())
        assert {one.level for one in made.replies} == {level}


def test_too_much_is_refused_and_nothing_is_lost(target):
    times = poisson(8000, 0.4, np.random.default_rng(0))
    made = load(target, times, queries=many(5000), deadline_s=0.02)
    assert len(made.outcomes) == len(times) and made.n_lost == 0
    assert sum(one.status is Status.REFUSED for one in made.outcomes) > 0.2 * len(times)


def test_what_fails_is_told(target):
    made = load(target, np.array([0.0, 0.01]), queries=["die"])
    assert [one.status for one in made.outcomes] == [Status.FAILED, Status.FAILED]


def test_real_and_simulated_stand_side_by_side(target):
    times = poisson(150, 0.6, np.random.default_rng(1))
    made = load(target, times, queries=many())
    settings = SimulationSettings(deadline_s=0.2, seconds=0.6, workers=1)
    result = Result.of("elastic", made, PROFILE, times, settings)
    assert result.simulated.n_requests == len(times) and result.calibration.ratio > 0.9
    assert result.agrees, result.remark()
    figures = json.loads(json.dumps(result.figures()))
    assert figures["agrees"] and figures["machine_as_found"]["way_in_s"] < 0.1


def test_a_process_that_goes_is_an_error():
    with EngineTarget(sleeping_search, PROFILE, workers=1) as made, pytest.raises(TargetError, match="has gone"):
        load(made, np.linspace(0, 0.5, 20), queries=["vanish"])


def test_what_cannot_be_opened_is_told_in_its_words():
    with pytest.raises(TargetError, match="there is no index here"):
        EngineTarget(nothing_there, PROFILE)
    with pytest.raises(TargetError, match="got no profile"):
        EngineTarget(sleeping_search)


def test_an_index_is_opened_and_measured_there(tiny_elastic, tmp_path):
    lines = (json.dumps({"_id": str(number), "text": f"passage {number} on rain"}) for number in range(30))
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    path = PassageIndex.build(tmp_path / "corpus.jsonl", tmp_path / "index", encoder, workers=1).path
    opener = partial(open_index, path, encoder=str(tiny_elastic), download=False, device="cpu")
    with EngineTarget(opener, workers=1) as target:
        assert "level0" in {level.name for level in target.profile.levels}
        assert target.queries[0].startswith("passage")
        made = load(target, ClosedLoop(clients=2), queries=target.queries, deadline_s=1.0)
    assert made.outcomes and all(one.status is Status.IN_TIME for one in made.outcomes)
