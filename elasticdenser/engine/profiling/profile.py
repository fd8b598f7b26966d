"""Profile: quality and run times of each level of an index and its encoder, on one machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from elasticdenser.artifacts import write_json
from elasticdenser.dataclass_io import from_value, loads_json
from elasticdenser.engine.profiling.level import Level
from elasticdenser.errors import BadInputError, QueryError
from elasticdenser.hull import concave_hull

VERSION = 1
_TIMES_KEY = "alone_by_tokens_s"
"""Key of `Profile.measured`: level -> `Level.alone_by_tokens_s`. It stands there, and not beside the other times of a
level, because earlier versions of this package wrote it there, and refuse unknown keys elsewhere."""
_MAX_LEVELS = 250
"""The queue stores the index of a level in a byte."""


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

    def max_level_index_for_quality(self, minimum_quality: float, n_tokens: int | None, *, fastest_index: int) -> int:
        """Return the index of the last level of a scheduler before the first one that lacks a minimum quality.

        It is the number of levels if none lacks the quality, and 0, the best level, if all do.

        Args:
            minimum_quality: The quality that all levels up to the returned one must have.
            n_tokens: Length of the query, as for `Level.quality_for`.
            fastest_index: Index of the fastest level that the policy chooses. Levels that are neither this one nor on
                the Pareto front are not used, so their quality does not matter.
        """
        max_index = 0
        for index in sorted({*self.pareto_front, fastest_index}):
            if self.levels[index].quality_for(n_tokens) < minimum_quality:
                return max_index
            max_index = index
        return len(self.levels)

    @cached_property
    def has_quality_by_tokens(self) -> bool:
        """Whether the quality of a level depends on the length of the query."""
        return any(level.quality_by_tokens for level in self.levels)

    @cached_property
    def has_times_by_tokens(self) -> bool:
        """Whether it is known how the run time of a level depends on the length of the query."""
        return any(level.alone_by_tokens_s for level in self.levels)

    def extras_s(self, n_tokens: int | None) -> tuple[float, ...]:
        """Return `Level.extra_s` by level index for a query of a length; empty if it is 0 at every level."""
        if n_tokens is None or not self.has_times_by_tokens:
            return ()
        extras_s = tuple(level.extra_s(n_tokens) for level in self.levels)
        return extras_s if any(extras_s) else ()

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {level.name: index for index, level in enumerate(self.levels)}

    def save(self, path: str | Path) -> None:
        """Write the profile as JSON."""
        rows = [
            {
                "name": level.name,
                "quality": level.quality,
                "latency_s": _with_text_keys(level.measured_s),
                **({} if level.recall is None else {"recall": level.recall}),
                **_quality_by_tokens_row(level),
            }
            for level in self.levels
        ]
        measured = dict(self.measured)
        if times := {
            level.name: _with_text_keys(level.alone_by_tokens_s) for level in self.levels if level.alone_by_tokens_s
        }:
            measured[_TIMES_KEY] = measured.get(_TIMES_KEY, {}) | times
        write_json(path, {"version": VERSION, "levels": rows, "measured": measured})

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
            raise BadInputError(
                f"cannot read this profile ({error.strerror}): expected a file that `elasticdenser profile` wrote", path
            ) from error
        except ValueError as error:
            raise BadInputError(f"this is not JSON ({error}): measure the profile again", path) from error
        try:
            return cls._from_json(value)
        except BadInputError as error:
            raise BadInputError(str(error), path) from error

    @classmethod
    def _from_json(cls, value: Any) -> Self:
        if isinstance(value, dict) and value.get("version", VERSION) != VERSION:
            message = f"got a profile of version {_shortened(value['version'])}; this program reads version {VERSION}"
            raise BadInputError(f"{message}: measure the profile again")
        content = from_value(_ProfileFile, value, "profile")
        times = from_value(_Measured, {_TIMES_KEY: content.measured.get(_TIMES_KEY, {})}, "profile.measured")
        levels = [
            Level(
                name=row.name,
                quality=row.quality,
                recall=row.recall,
                measured_s=row.latency_s,
                quality_by_tokens=row.quality_by_tokens,
                alone_by_tokens_s=times.alone_by_tokens_s.get(row.name, {}),
            )
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
    quality_by_tokens: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _ProfileFile:
    """Content of a file, version 1."""

    version: int
    levels: list[_LevelRow]
    measured: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """The one condition of a measurement that is read."""

    alone_by_tokens_s: dict[str, dict[int, float]]


def _quality_by_tokens_row(level: Level) -> dict[str, Any]:
    """Return the optional key of a level's row; versions of this package before the key refuse it."""
    if not level.quality_by_tokens:
        return {}
    return {"quality_by_tokens": _with_text_keys(level.quality_by_tokens)}


def _with_text_keys(values: Mapping[int, float]) -> dict[str, float]:
    return {str(key): value for key, value in values.items()}


def _shortened(value: object) -> str:
    return repr(value)[:40]
