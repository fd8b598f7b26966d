"""Profile: quality and run times of each level of an index and its encoder, on one machine."""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Self

from elasticdenser.artifacts import write_json
from elasticdenser.dataclass_io import from_value, loads_json
from elasticdenser.engine.profiling.hull import concave_hull
from elasticdenser.errors import BadInputError, QueryError

VERSION = 1
_MAX_BATCH_SIZE = 4096
"""Bounds the table of run times, which holds one for every batch size."""
_MAX_LEVELS = 250
"""The queue stores the index of a level in a byte."""
_EFFICIENT_SHARE = 0.98
"""A batch is efficient from this share of the best throughput on: the last 2 % may need a batch twice as large, in
which every request waits longer."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """Level at which a query can be answered: a subnet of the encoder with a search effort.

    Args:
        name: The subnet, such as `w0.5-d3` or `level0`.
        quality: Retention: share of the best level's quality.
        measured_s: Run time of a batch, encoding and search together, by batch size; size 1 is required.
        recall: Search effort, as `PassageIndex.search` takes it; None is the greatest.

    Attributes:
        latency_s: Run time of a batch by batch size: 0 for none, then for 1, 2, ... up to the largest that was
            measured. Sizes between those measured are interpolated. A batch never takes less time than a smaller one,
            even if a measurement says so.

    Raises:
        BadInputError: The name is empty, or a value is out of range.
    """

    name: str
    quality: float
    measured_s: Mapping[int, float]
    recall: float | None = None
    latency_s: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise BadInputError(f"got a level named {self.name!r}; expected a name such as w0.5-d3 or level0")
        if not _is_positive(self.quality) or self.quality > 2:  # above 1 if the best level was not measured
            message = f"level {self.name}: got quality {_shown(self.quality)}; expected a share of the best level's"
            raise BadInputError(f"{message}, such as 0.95")
        if self.recall is not None and not (_is_positive(self.recall) and self.recall <= 1):
            raise BadInputError(f"level {self.name}: got recall {_shown(self.recall)}; expected above 0 and at most 1")
        if 1 not in self.measured_s:
            message = f"level {self.name}: there is no latency of one query alone"
            raise BadInputError(f"{message}; expected batch sizes 1, ...: measure the profile again")
        for size, seconds in self.measured_s.items():
            if not isinstance(size, int) or not 1 <= size <= _MAX_BATCH_SIZE or not _is_positive(seconds):
                message = f"level {self.name}: got {_shown(seconds)} s for a batch of {size!r}"
                raise BadInputError(f"{message}; expected seconds above 0 for sizes from 1 to {_MAX_BATCH_SIZE}")
        object.__setattr__(self, "measured_s", dict(sorted(self.measured_s.items())))
        object.__setattr__(self, "latency_s", tuple(accumulate(_interpolated(self.measured_s), max)))

    def largest_batch(self, budget_s: float) -> int:
        """Return the size of the largest batch that takes at most `budget_s`; 0 if a single query takes longer."""
        return max(0, bisect_right(self.latency_s, budget_s) - 1)

    def capacity_per_s(self, max_run_s: float = math.inf) -> float:
        """Return the queries a second of one worker, in batches of one query or that run for at most `max_run_s`."""
        largest = max(1, self.largest_batch(max_run_s))
        return max(size / self.latency_s[size] for size in range(1, largest + 1))

    def efficient_batch_size(self, max_run_s: float = math.inf) -> int:
        """Return the size of the smallest batch that reaches nearly the capacity at this longest run time."""
        required_per_s = _EFFICIENT_SHARE * self.capacity_per_s(max_run_s)
        return next(size for size, seconds in enumerate(self.latency_s) if size and size / seconds >= required_per_s)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Levels of an index and its encoder on one machine.

    Args:
        levels: The levels in any order; the attribute holds them best first, and of equal quality the fastest first.
            The position of a level in this order is its *level index*.
        measured: Conditions of the measurement, for the record.

    Raises:
        BadInputError: There is no level, or two have the same name.
    """

    levels: Sequence[Level]
    measured: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.levels, key=lambda level: (-level.quality, level.latency_s[1])))
        if not ordered:
            raise BadInputError("there are no levels: expected at least one")
        if len(ordered) > _MAX_LEVELS:
            raise BadInputError(f"got {len(ordered)} levels; expected {_MAX_LEVELS} at most: keep the best of them")
        names = [level.name for level in ordered]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise BadInputError(f"two levels are named {repeated[0]}: expected each once")
        object.__setattr__(self, "levels", ordered)

    @cached_property
    def pareto_front(self) -> tuple[int, ...]:
        """Indices of the levels for which no other is as good and as fast, alone and in batches; best first."""
        costs = [(level.latency_s[1], 1 / level.capacity_per_s()) for level in self.levels]
        front: list[int] = []
        for index, (alone_s, in_batch_s) in enumerate(costs):
            if not any(costs[better][0] <= alone_s and costs[better][1] <= in_batch_s for better in front):
                front.append(index)
        return tuple(front)

    @cached_property
    def hull(self) -> tuple[int, ...]:
        """Indices of the levels on the Pareto front that no mixture of two others beats at equal cost; best first.

        A scheduler mixes levels by alternating between them. At a rate between the capacities of two levels, a third
        level is only useful if it is better than their mixture: if it lies on the concave hull of quality over the time
        of a query in a large batch.
        """
        levels = [self.levels[index] for index in self.pareto_front]
        points = [(1 / level.capacity_per_s(), level.quality) for level in levels]
        return tuple(self.pareto_front[position] for position in concave_hull(points))

    def level_index(self, name: str) -> int:
        """Return the index of the level of that name.

        Raises:
            QueryError: There is no such level.
        """
        try:
            return self._indices[name]
        except KeyError:
            raise QueryError(f"got level {name!r}; the profile has: {', '.join(self._indices)}") from None

    def max_level_index(self, minimum_level: str | None) -> int:
        """Return the index of the last level on the Pareto front that is at least as good as a minimum level.

        Args:
            minimum_level: Name of the level; None accepts any, and returns the number of levels.

        Raises:
            QueryError: There is no such level.
        """
        if minimum_level is None:
            return len(self.levels)
        quality = self.levels[self.level_index(minimum_level)].quality
        return max(index for index in self.pareto_front if self.levels[index].quality >= quality)

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {level.name: index for index, level in enumerate(self.levels)}

    def save(self, path: str | Path) -> None:
        """Write the profile as JSON."""
        rows = [
            {
                "name": level.name,
                "quality": level.quality,
                "latency_s": {str(size): seconds for size, seconds in level.measured_s.items()},
                **({} if level.recall is None else {"recall": level.recall}),
            }
            for level in self.levels
        ]
        write_json(path, {"version": VERSION, "levels": rows, "measured": dict(self.measured)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a profile that `save` wrote.

        Raises:
            BadInputError: The file is missing, or is not a profile.
        """
        path = Path(path)
        try:
            value = loads_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInputError(f"cannot read this profile ({error.strerror}): expected a .json file", path) from error
        except ValueError as error:
            raise BadInputError(f"this is not JSON ({error}): measure the profile again", path) from error
        try:
            return cls._from_json(value)
        except BadInputError as error:
            raise BadInputError(str(error), path) from error

    @classmethod
    def _from_json(cls, value: Any) -> Self:
        if isinstance(value, dict) and value.get("version", VERSION) != VERSION:
            message = f"got a profile of version {_shown(value['version'])}; this program reads version {VERSION}"
            raise BadInputError(f"{message}: measure the profile again")
        content = from_value(_ProfileFile, value, "profile")
        levels = [
            Level(name=row.name, quality=row.quality, recall=row.recall, measured_s=row.latency_s)
            for row in content.levels
        ]
        return cls(levels=levels, measured=content.measured)


@dataclass(frozen=True, kw_only=True)
class _LevelRow:
    """Level in a file."""

    name: str
    quality: float
    latency_s: dict[int, float]
    recall: float | None = None


@dataclass(frozen=True, kw_only=True)
class _ProfileFile:
    """Content of a file, version 1."""

    version: int
    levels: list[_LevelRow]
    measured: dict[str, Any] = field(default_factory=dict)


def _is_positive(value: object) -> bool:
    # Compared, not converted: an integer of 400 digits cannot be converted to a float.
    return type(value) in (int, float) and 0 < value <= sys.float_info.max  # type: ignore[operator]


def _shown(value: object) -> str:
    return repr(value)[:40]


def _interpolated(measured_s: Mapping[int, float]) -> Iterable[float]:
    """Yield the run times of batches of 0, 1, 2, ... up to the largest measured."""
    yield 0.0
    points = sorted(measured_s.items())
    for (size, seconds), (next_size, next_seconds) in pairwise(points):
        for between in range(size, next_size):
            yield seconds + (next_seconds - seconds) * (between - size) / (next_size - size)
    yield points[-1][1]
