"""Policies by name."""

from __future__ import annotations

from elasticdenser.engine.policies.base import Policy
from elasticdenser.engine.policies.baselines import Aimd, SlackFit, Static, Thresholds
from elasticdenser.engine.policies.elastic import Elastic
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.errors import QueryError

SPELLINGS = "elastic, thresholds, slackfit, static:LEVEL, aimd:LEVEL"


def make_policy(spelling: str, profile: Profile, *, slo_s: float, workers: int = 1) -> Policy:
    """Return a new policy.

    Args:
        spelling: `elastic`, `thresholds`, `slackfit`, `static:LEVEL` or `aimd:LEVEL`, such as `static:w0.5-d3`.
        profile: The levels.
        slo_s: The usual deadline, in seconds after arrival.
        workers: Number of workers.

    Raises:
        QueryError: There is no such policy or level.
    """
    name, _, level = spelling.partition(":")
    if name in ("static", "aimd") and level:
        return Static(profile, level) if name == "static" else Aimd(profile, level, slo_s=slo_s)
    if spelling == "elastic":
        return Elastic(profile)
    if spelling == "thresholds":
        return Thresholds(profile, slo_s=slo_s, workers=workers)
    if spelling == "slackfit":
        return SlackFit(profile, slo_s=slo_s)
    raise QueryError(f"got policy {spelling!r}; expected one of: {SPELLINGS}")
