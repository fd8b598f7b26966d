"""Times of the two parts of a query, encoding and search, from the profile of one machine that does both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.simulation.fleet.settings import FleetSettings
from elasticdenser.errors import BadInputError

_MIN_ENCODING_SHARE = 0.1
"""Encoding takes at least this share of the whole, where two measurements of different runs would say less."""


@dataclass(frozen=True, kw_only=True)
class FleetTimes:
    """Run times by level and batch size on the machines of a fleet.

    Args:
        encoding: Levels with the times of encoding, on a router.
        search: The same levels with the times of a search, in one shard.
    """

    encoding: Profile
    search: Profile

    @classmethod
    def split(
        cls, profile: Profile, search_s: Mapping[float | None, Mapping[int, float]], *, scale: float = 1.0
    ) -> Self:
        """Return the times of a fleet whose machines are like the one of a profile.

        Args:
            profile: Levels with the times of encoding and search together.
            search_s: Time of a search alone by the level's search effort (`Level.recall`) and batch size, on the same
                machine and index; size 1 is required.
            scale: Passages of a shard as a multiple of those of the profile's index; the time of a search grows with
                them. With an inverted file that has more lists it would grow less.

        Raises:
            BadInputError: The search time of an effort is missing.
        """
        encoding, search = [], []
        for level in profile.levels:
            if level.recall not in search_s:
                raise BadInputError(f"level {level.name}: there is no search time for recall {level.recall}")
            parts = Level(name=level.name, quality=level.quality, measured_s=search_s[level.recall])
            sizes = [size for size in level.measured_s if size < len(parts.latency_s)]
            own = {size: level.latency_s[size] - parts.latency_s[size] for size in sizes}
            least = {size: _MIN_ENCODING_SHARE * level.latency_s[size] for size in sizes}
            encoding.append(_level(level, {size: max(own[size], least[size]) for size in sizes}))
            search.append(_level(level, {size: scale * parts.latency_s[size] for size in sizes}))
        return cls(encoding=Profile(levels=encoding), search=Profile(levels=search))

    def expected(self, settings: FleetSettings) -> Profile:
        """Return the levels with the time that a router expects of a batch, as a profile measured under load says it.

        Alone, a batch takes an encoding, a search and both ways there. With as many batches in flight as the settings
        allow, it takes at least their number times what the busiest part needs for one (Little's law): the encoder of
        the router, or its share of the replicas.
        """
        share = settings.routers / settings.replicas
        levels = []
        for encoding, search in zip(self.encoding.levels, self.search.levels, strict=True):
            measured_s = {}
            for size, encoding_s in encoding.measured_s.items():
                search_s = search.latency_s[size]
                under_load_s = settings.in_flight * max(encoding_s, share * search_s)
                measured_s[size] = max(encoding_s + search_s + 2 * settings.network_s, under_load_s)
            levels.append(_level(encoding, measured_s))
        return Profile(levels=levels)


def _level(level: Level, measured_s: Mapping[int, float]) -> Level:
    return Level(name=level.name, quality=level.quality, recall=level.recall, measured_s=measured_s)
