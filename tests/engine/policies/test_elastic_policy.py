"""Elastic policy: slack is kept where it is needed, and only there."""

from __future__ import annotations

import pytest
from engine_helpers import CAPACITY_PER_S, PROFILE, SLO_S, request, scheduler_of


@pytest.mark.parametrize("n_waiting", [3, 10, 20])
def test_slack_is_kept_for_later_requests_near_the_capacity_of_the_fastest_level_and_only_there(n_waiting):
    def level_index_at(share):
        scheduler = scheduler_of()
        # These have come and gone in the last tenth of a second.
        for number in range(int(share * CAPACITY_PER_S / 10) - n_waiting):
            scheduler._forecast.rate.count(0.95 + number * 1e-6)
        for number in range(n_waiting):
            scheduler.add(request(number, 1.0))
        return scheduler.schedule(1.0).level_index

    indices = [level_index_at(share) for share in (0, 0.2, 0.5, 0.8, 0.9, 0.97, 1.1)]
    assert indices == sorted(indices)
    assert indices[0] == indices[2] < indices[-1] == len(PROFILE.levels) - 1


def test_in_a_hurry_the_reserve_is_spent_on_an_efficient_batch():
    scheduler = scheduler_of()
    for number in range(90):
        scheduler.add(request(number))
    now_s = SLO_S - scheduler.settings.reserve - 0.0005  # without the reserve there is time for two at most
    batch = scheduler.schedule(now_s)
    assert batch.level == "level0"
    assert len(batch.jobs) == PROFILE.levels[-1].efficient_batch_size(SLO_S / 2) == 9
    assert batch.due_s <= SLO_S and not scheduler.take_shed()
