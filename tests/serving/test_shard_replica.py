"""How many replicas a load asks for; replicas themselves are in test_ray_serving.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from elasticdenser.serving.shard_replica import LOAD_METRIC, replicas_for_load


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({LOAD_METRIC: {"a": 2.5, "b": 0.5}}, 1.5),
        ({LOAD_METRIC: {"a": 0.0}}, 0.0),  # Serve does not go below the least number
        ({LOAD_METRIC: {}}, 3),
        ({}, 3),
        (None, 3),
    ],
)
def test_as_many_replicas_as_the_load_needs_and_no_change_before_any_has_reported(metrics, expected):
    config = SimpleNamespace(get_target_ongoing_requests=lambda: 2)
    context = SimpleNamespace(aggregated_metrics=metrics, target_num_replicas=3, config=config)
    assert replicas_for_load(context) == (expected, {})
