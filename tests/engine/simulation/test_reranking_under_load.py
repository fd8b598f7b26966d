"""Effects of a rising load on a ladder whose best levels rerank: first less reranking, then a smaller query encoder."""

from __future__ import annotations

import numpy as np
import pytest
from engine_helpers import level as make_level

from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.simulation.arrivals import bursts, poisson
from elasticdenser.engine.simulation.settings import SimulationSettings
from elasticdenser.engine.simulation.simulator import simulate
from elasticdenser.engine.simulation.summary import summarise

# Candidates are scored one after the other, so that batches of levels that rerank gain little.
LADDER = [
    make_level("w1-d6+100:w1-d3", 1.0, 40.0, 1240.0),
    make_level("w1-d6+50:w1-d3", 0.985, 21.0, 645.0),
    make_level("w1-d6+50:w0.5-d1", 0.97, 6.5, 180.0),
    make_level("w1-d6", 0.94, 2.0, 54.0),
    make_level("w0.5-d3", 0.90, 0.8, 20.0),
    make_level("level0", 0.80, 0.25, 6.5),
]
# A mixture of levels is as good and faster.
BEATEN = [make_level("level0+50:w1-d3", 0.93, 19.5, 600.0), make_level("w0.5-d3+50:w0.5-d1", 0.935, 5.3, 150.0)]
PROFILE = Profile(levels=[*LADDER, *BEATEN])
DEADLINE_S = 0.1


def shares(rate: float, policy: str = "elastic") -> dict[str, float]:
    """Return the share of answers by level under a steady load."""
    seconds = min(8.0, 1500 / rate)
    settings = SimulationSettings(deadline_s=DEADLINE_S, seconds=seconds)
    outcomes = simulate(PROFILE, policy, poisson(rate, seconds, np.random.default_rng(3)), settings)
    summary = summarise(policy, outcomes, PROFILE)
    assert summary.in_time >= 0.999
    return summary.levels


def test_the_ladder_reranks_less_then_not_at_all_then_shrinks_the_encoder():
    names = [PROFILE.levels[index].name for index in PROFILE.hull]
    assert names == [level.name for level in LADDER]


@pytest.mark.slow
def test_a_rising_load_takes_the_levels_of_the_ladder_in_their_order():
    # At 90 % of a level's capacity most answers come from the levels beside it.
    capacities = [level.capacity_per_s(DEADLINE_S / 2) for level in LADDER]
    positions = []
    for capacity in (0.2 * capacities[0], *(0.9 * capacity for capacity in capacities[1:])):
        of_rate = shares(capacity)
        positions.append(sum(of_rate.get(level.name, 0.0) * rank for rank, level in enumerate(LADDER)))
    assert positions == sorted(positions)
    assert positions[0] < 0.1 and positions[-1] > 4
    # While it suffices to rerank less, no query is encoded by a smaller subnet.
    reranking = shares(0.9 * capacities[2])
    assert sum(share for name, share in reranking.items() if not name.startswith("w1-d6")) < 0.01
    # Once it does not, hardly anything is reranked.
    crowded = shares(0.9 * capacities[4])
    assert sum(share for name, share in crowded.items() if "+" in name) < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["elastic", "thresholds", "slackfit"])
def test_in_bursts_all_are_in_time(policy):
    rng = np.random.default_rng(5)
    times = bursts(20, 0.5 * LADDER[-1].capacity_per_s(DEADLINE_S / 2), 4, rng, mean_calm_s=1, mean_burst_s=0.3)
    outcomes = simulate(PROFILE, policy, times, SimulationSettings(deadline_s=DEADLINE_S, seconds=4))
    summary = summarise(policy, outcomes, PROFILE)
    assert summary.in_time >= 0.999
    if policy != "elastic":
        return
    for level in LADDER:
        static = summarise(
            "static",
            simulate(PROFILE, f"static:{level.name}", times, SimulationSettings(deadline_s=DEADLINE_S, seconds=4)),
            PROFILE,
        )
        assert static.in_time < 0.99 or static.retention < summary.retention


def test_a_minimum_holds_for_levels_that_rerank():
    assert PROFILE.max_level_index("w1-d6+50:w0.5-d1") == PROFILE.level_index("w1-d6+50:w0.5-d1")
    fastest = PROFILE.hull[-1]
    assert PROFILE.max_level_index_for_quality(0.95, None, fastest_index=fastest) == 2
    assert PROFILE.max_level_index_for_quality(0.94, None, fastest_index=fastest) == 3
