"""Policies by name, as objects and as factories."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import pytest
from engine_helpers import PROFILE, SLO_S, FakeSearch
from waiting import LONG_DEADLINE_S

from elasticdenser.engine import RetrievalEngine, SchedulerSettings
from elasticdenser.engine.policies import (
    POLICIES,
    check_policies,
    check_policy,
    expand_policies,
    make_policy,
    policy_name,
)
from elasticdenser.engine.policies.elastic import Elastic
from elasticdenser.engine.policies.static import Static
from elasticdenser.engine.queue_state import Choice
from elasticdenser.engine.simulation import SimulationSettings, poisson, simulate, summarise
from elasticdenser.errors import QueryError
from elasticdenser.loadtest.engine_target import EngineTarget
from elasticdenser.loadtest.generator import LoadSettings, run_load
from elasticdenser.loadtest.result import LoadResult

SETTINGS = SchedulerSettings(slo_s=SLO_S)


class Counting:
    """Policy with state: serves one request after the other at one level, and counts the batches."""

    spelling: ClassVar[str] = "counting:LEVEL"

    def __init__(self, profile, level):
        self.name, self.fastest_level_index = f"counting:{level}", profile.level_index(level)
        self.n_batches = 0

    @classmethod
    def parse(cls, argument, profile, settings):
        return cls(profile, argument)

    def choose(self, state):
        return Choice(self.fastest_level_index, 1)

    def observe(self, batch_size, run_s):
        self.n_batches += 1


def simulated_levels(policy, seconds=0.5):
    times = poisson(200, seconds, np.random.default_rng(3))
    outcomes = simulate(PROFILE, policy, times, SimulationSettings(deadline_s=SLO_S, seconds=seconds))
    return set(summarise("any", outcomes, PROFILE).levels), len(outcomes)


@pytest.mark.parametrize("name", ["elastic", "thresholds", "slackfit", "static:w0.5-d3", "aimd:level0"])
def test_the_name_of_a_policy_is_its_spelling(name):
    assert make_policy(name, PROFILE, SETTINGS).name == policy_name(name, PROFILE, SETTINGS) == name


@pytest.mark.parametrize("name", ["", "static", "static:", "elastic:w1-d6", "elastic:", "Elastic", "aimd"])
def test_unknown_policies_are_refused(name):
    with pytest.raises(QueryError, match=r"expected one of: elastic, thresholds, slackfit, static:LEVEL, aimd:LEVEL"):
        make_policy(name, PROFILE, SETTINGS)


def test_an_unknown_level_is_refused():
    with pytest.raises(QueryError, match="got level 'w9'"):
        make_policy("static:w9", PROFILE, SETTINGS)


def test_an_object_that_is_no_policy_is_refused():
    with pytest.raises(QueryError, match=r"got policy 7; expected a name, a Policy or a factory"):
        make_policy(7, PROFILE, SETTINGS)


def test_spellings_are_checked_before_there_is_a_profile():
    check_policies("elastic, static,aimd:level0")
    check_policy("static:any-level")
    for wrong in ("", "fast", "elastic,fast", "elastic:level0"):
        with pytest.raises(QueryError, match="expected one of"):
            check_policies(wrong)
    with pytest.raises(QueryError, match="expected one of"):
        check_policy("static")


def test_lists_of_policies_are_expanded():
    assert expand_policies(" elastic, static:level0,elastic ", PROFILE) == ["elastic", "static:level0"]
    names = [level.name for level in PROFILE.levels]
    assert expand_policies("aimd,slackfit", PROFILE) == [*(f"aimd:{name}" for name in names), "slackfit"]
    for wrong, message in (("elastic,best", "got policy 'best'"), ("", "got policy ''"), ("static:w9", "level 'w9'")):
        with pytest.raises(QueryError, match=message):
            expand_policies(wrong, PROFILE)


def test_a_registered_policy_is_used_by_name(monkeypatch):
    monkeypatch.setitem(POLICIES, "counting", Counting)
    levels, n_requests = simulated_levels("counting:w0.25-d2")
    assert levels == {"w0.25-d2"} and n_requests > 50
    assert expand_policies("counting", PROFILE)[0] == "counting:w1-d6"
    with pytest.raises(QueryError, match="counting:LEVEL"):
        make_policy("counting", PROFILE, SETTINGS)


def test_an_object_is_used_as_it_is():
    policy = Counting(PROFILE, "w1-d3")
    levels, n_requests = simulated_levels(policy)
    assert levels == {"w1-d3"} and policy.n_batches == n_requests
    assert make_policy(policy, PROFILE, SETTINGS) is policy
    assert policy_name(policy, PROFILE, SETTINGS) == "counting:w1-d3"


@pytest.mark.parametrize(
    "factory", [lambda profile, settings: Static(profile, "level0"), partial(Static.parse, "level0")]
)
def test_a_factory_makes_a_new_policy_for_each_scheduler(factory):
    assert simulated_levels(factory)[0] == {"level0"}
    assert policy_name(factory, PROFILE, SETTINGS) == "static:level0"
    assert make_policy(factory, PROFILE, SETTINGS) is not make_policy(factory, PROFILE, SETTINGS)


def test_a_class_is_a_factory_although_it_has_the_attributes_of_a_policy():
    class Best:
        name, fastest_level_index = "best", 0

        def __init__(self, profile, settings):
            assert profile is PROFILE and settings.slo_s == SLO_S

        def choose(self, state):
            return Choice(0, 1)

        def observe(self, batch_size, run_s):
            pass

    assert isinstance(make_policy(Best, PROFILE, SETTINGS), Best)
    assert simulated_levels(Best)[0] == {"w1-d6"}


@pytest.mark.parametrize(
    "policy", [Counting(PROFILE, "level0"), lambda profile, settings: Elastic(profile, caution=1.0)]
)
def test_the_engine_takes_objects_and_factories(policy):
    with RetrievalEngine(FakeSearch(), PROFILE, policy=policy, slo_s=LONG_DEADLINE_S, workers=1) as engine:
        assert engine.ask("dune", 1).hits == ["dune/0"]
        level = engine.submit("spice", 1).result(5).level
    assert level == ("level0" if isinstance(policy, Counting) else "w1-d6")


def open_fake_search():
    return FakeSearch()


@pytest.mark.slow
def test_the_load_test_takes_objects():
    policy, times = Static(PROFILE, "w0.5-d3"), np.linspace(0.0, 0.2, 20)
    with EngineTarget(open_fake_search, PROFILE, workers=1) as target:
        target.start(policy, 0.5)
        run = run_load(target, times, ["dune", "spice"], LoadSettings(deadline_s=0.5, seconds=0.3))
        target.finish()
    result = LoadResult.from_run(policy, run, PROFILE, times, SimulationSettings(deadline_s=0.5, seconds=0.3))
    assert result.summary.policy == "static:w0.5-d3" and set(result.summary.levels) == {"w0.5-d3"}
    assert result.simulated is not None and set(result.simulated.levels) == {"w0.5-d3"}
