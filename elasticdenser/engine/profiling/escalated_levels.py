"""Levels that escalate: every query is encoded by a small subnet, and a share of them again by the largest.

Their run times follow from those of the two subnets. Timing would say less, as a batch takes the longer the more of its
queries escalate: a few timings of a single query would show either the one time or the other. The scheduler plans with
more queries than the mean, because a batch that takes longer than planned is late.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from elasticdenser.engine.profiling.agreement import JudgeLevels
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.level_name import escalated_name
from elasticdenser.engine.profiling.level_timing import without_cache
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.profiling.search_effort import retained_share
from elasticdenser.retrieval.escalation import N_COMPARED, margins

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Retriever

_MAX_QUERIES = 2000
"""Enough for a margin that a share of .1 of all queries is below, within .007 of them."""
_SURE = 0.8
"""Share of the batches that take no longer than planned. With the mean instead, .2 to 1 % more of the answers were late
under real load; with .95 hardly any such level was on the hull."""


def add_escalated_levels(
    retriever: Retriever, queries: Sequence[str], profile: Profile, shares: Sequence[float], *, judge: JudgeLevels
) -> Profile:
    """Return a profile with levels added that escalate to the best subnet.

    Each other subnet on the hull is paired with it, for each share of the queries. What a level gains is judged as a
    share of the way from the small subnet to the large one, so that its quality is on the scale of theirs.

    Args:
        retriever: The retriever.
        queries: Texts like those that it will be asked; their margins set the levels'.
        profile: Levels that do not escalate.
        shares: Shares of the queries that escalate, above 0 and below 1.
        judge: Judges the levels, at the greatest search effort.
    """
    plain = [level for level in profile.levels if not level.parts.stages]
    ladder = Profile(levels=plain)
    large, *others = (ladder.levels[position] for position in ladder.hull)
    pairs: dict[str, tuple[Level, float]] = {}
    with without_cache(retriever.encoder):
        for small in others:
            for share, margin in _margins_of(retriever, queries, small.name, shares).items():
                pairs[escalated_name(small.name, margin, large.name)] = small, share
        names = [*dict.fromkeys(small.name for small, _ in pairs.values()), *pairs]
        judged = judge(names, large.name) if names else {}
    added = []
    for name, (small, share) in pairs.items():
        room = 1 - judged[small.name]
        gained = min(max(0.0, (judged[name] - judged[small.name]) / room), 1.0) if room > 0 else 0.0
        if gained > share:  # at random, a share of the queries gains as large a share of the room
            added.append(escalated_level(name, small, large, share, gained))
    measured = {**profile.measured, "escalated_shares": {level.name: pairs[level.name][1] for level in added}}
    return Profile(levels=[*profile.levels, *added], measured=measured)


def _margins_of(
    retriever: Retriever, queries: Sequence[str], subnet: str, shares: Sequence[float]
) -> dict[float, float]:
    """Return the margin below which each share of the queries is; none for a share of which all are alike."""
    sample = list(queries) if len(queries) <= _MAX_QUERIES else Random(0).sample(list(queries), _MAX_QUERIES)
    vectors = retriever.encoder.encode(sample, subnet)
    found = margins(*retriever.index.search(vectors, N_COMPARED))
    found = found[np.isfinite(found)]
    if not len(found):
        return {}
    limits = {share: float(np.quantile(found, share)) for share in shares}
    return {share: limit for share, limit in limits.items() if limit > 0}


def escalated_level(name: str, small: Level, large: Level, share: float, gained: float) -> Level:
    """Return a level, with quality and run times of the two that it consists of.

    Args:
        name: Its name.
        small: Level of all queries.
        large: Level of those that escalate.
        share: Share of the queries that escalate.
        gained: Share of the way from the quality of the small level to that of the large one.
    """
    effort = retained_share(small.recall) / retained_share(large.recall)  # both searches take that of the small level

    def between(tokens: int | None) -> float:
        low, high = small.quality_for(tokens), effort * large.quality_for(tokens)
        return low + gained * max(0.0, high - low)

    sizes = [size for size in small.measured_s if size < len(large.latency_s)]
    lengths = [tokens for tokens in small.alone_by_tokens_s if tokens in large.alone_by_tokens_s]
    measured_s = {size: small.latency_s[size] + large.latency_s[_usual_most(size, share)] for size in sizes}

    def alone_s(tokens: int) -> float:
        # Beyond the time of a usual query, a long one takes that of the small level, and the large one's if it
        # escalates: as these times are added up for all queries of a batch, their mean counts.
        beyond_s = share * (large.alone_by_tokens_s[tokens] - large.latency_s[1])
        small_s = small.alone_by_tokens_s[tokens]
        return max(small_s, small_s + measured_s[1] - small.latency_s[1] + beyond_s)

    return Level(
        name=name,
        quality=between(None),
        recall=small.recall,
        quality_by_tokens={tokens: between(tokens) for tokens in small.quality_by_tokens},
        measured_s=measured_s,
        alone_by_tokens_s={tokens: alone_s(tokens) for tokens in lengths},
    )


def _usual_most(size: int, share: float) -> int:
    """Return how many queries of a batch escalate at most, with the probability `_SURE`."""
    probability = 0.0
    for n in range(size + 1):
        probability += comb(size, n) * share**n * (1 - share) ** (size - n)
        if probability >= _SURE:
            return n
    return size
