"""Profile: what each level of an index and its encoder is worth, and how long it takes, on one machine."""

from __future__ import annotations

import json
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
from elasticdenser.engine.profiling.hull import concave_hull
from elasticdenser.errors import BadInputError, QueryError

VERSION = 1
_MOST_IN_A_BATCH = 4096
_ALMOST = 0.98
_MOST_LEVELS = 250  # a place is a byte in the queue


@dataclass(frozen=True, kw_only=True)
class Level:
    """One way to answer a query.

    Args:
        name: Such as `w0.5-d3` or `level0`.
        quality: Retention, the share of the best level's quality that it keeps.
        measured_s: Seconds that a batch takes, encoding and search together, by batch size; from size 1 on.
        recall: Search effort that belongs to it, as `PassageIndex.search` takes it; None is the greatest.

    Attributes:
        latency_s: Seconds by batch size: 0 for none, then 1, 2, ... to the largest that was measured. Sizes between
            those measured are interpolated; a size never takes less than a smaller one, whatever a noisy clock says.

    Raises:
        BadInputError: The name is empty, or figures are out of range.
    """

    name: str
    quality: float
    measured_s: Mapping[int, float]
    recall: float | None = None
    latency_s: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise BadInputError(f"got a level named {self.name!r}; expected a name such as w0.5-d3 or level0")
        if not _is_positive(self.quality) or self.quality > 2:
            message = (
                f"level {self.name}: got quality {_shown(self.quality)}; expected a share of the best level's, such as"
            )
            raise BadInputError(f"{message} 0.95")
        if self.recall is not None and not (_is_positive(self.recall) and self.recall <= 1):
            raise BadInputError(f"level {self.name}: got recall {_shown(self.recall)}; expected above 0 and at most 1")
        if 1 not in self.measured_s:
            raise BadInputError(
                f"level {self.name}: there is no latency of one query alone; expected batch sizes 1, ..."
            )
        for size, seconds in self.measured_s.items():
            if not isinstance(size, int) or not 1 <= size <= _MOST_IN_A_BATCH or not _is_positive(seconds):
                message = (
                    f"level {self.name}: got {_shown(seconds)} s for a batch of {size!r}; expected seconds above 0"
                )
                raise BadInputError(f"{message} for sizes from 1 to {_MOST_IN_A_BATCH}")
        object.__setattr__(self, "measured_s", dict(sorted(self.measured_s.items())))
        object.__setattr__(self, "latency_s", tuple(accumulate(_interpolated(self.measured_s), max)))

    def largest_batch(self, budget_s: float) -> int:
        """Return the size of the largest batch that takes at most `budget_s`; 0 if a single query takes longer."""
        return max(0, bisect_right(self.latency_s, budget_s) - 1)

    def capacity_per_s(self, max_run_s: float = math.inf) -> float:
        """Return queries a second of one worker, in batches that run for at most `max_run_s`, or of one query."""
        largest = max(1, self.largest_batch(max_run_s))
        return max(size / self.latency_s[size] for size in range(1, largest + 1))

    def enough(self, max_run_s: float = math.inf) -> int:
        """Return the size of the smallest batch that is almost as efficient as any that runs at most so long."""
        wanted = _ALMOST * self.capacity_per_s(max_run_s)
        return next(size for size, seconds in enumerate(self.latency_s) if size and size / seconds >= wanted)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The levels of an index and its encoder on one machine.

    Args:
        levels: In any order; kept best first, of equal quality the faster first. A level's number in this order is
            its *place*.
        measured: What was measured where, for the record.

    Raises:
        BadInputError: There is no level, or two share a name.
    """

    levels: Sequence[Level]
    measured: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.levels, key=lambda level: (-level.quality, level.latency_s[1])))
        if not ordered:
            raise BadInputError("there are no levels: expected at least one")
        if len(ordered) > _MOST_LEVELS:
            raise BadInputError(f"got {len(ordered)} levels; expected {_MOST_LEVELS} at most: keep the best of them")
        names = [level.name for level in ordered]
        if twice := [name for name in names if names.count(name) > 1]:
            raise BadInputError(f"two levels are named {twice[0]}: expected each once")
        object.__setattr__(self, "levels", ordered)

    @cached_property
    def ladder(self) -> tuple[int, ...]:
        """Places of the levels worth using, best first: no other is as good and as fast, alone and in batches."""

        def cost(level: Level) -> tuple[float, float]:
            return level.latency_s[1], 1 / level.capacity_per_s()

        costs = [cost(level) for level in self.levels]
        kept: list[int] = []
        for place, (alone_s, each_s) in enumerate(costs):
            if not any(costs[better][0] <= alone_s and costs[better][1] <= each_s for better in kept):
                kept.append(place)
        return tuple(kept)

    @cached_property
    def hull(self) -> tuple[int, ...]:
        """Places of the levels on the ladder that no mixture of two others beats in quality at equal cost, best first.

        A scheduler mixes levels by alternating between them. At a rate between the capacities of two levels a third
        one in between is only of use if it is better than their mixture: if it lies on the concave hull of quality
        over the time that a query takes in a large batch.
        """
        levels = [self.levels[place] for place in self.ladder]
        points = [(1 / level.capacity_per_s(), level.quality) for level in levels]
        return tuple(self.ladder[number] for number in concave_hull(points))

    def place(self, name: str) -> int:
        """Return the place of the level of that name.

        Raises:
            QueryError: There is none.
        """
        try:
            return self._places[name]
        except KeyError:
            raise QueryError(f"got level {name!r}; the profile has: {', '.join(self._places)}") from None

    def floor(self, minimum: str | None) -> int:
        """Return the place of the smallest level on the ladder that is at least as good as the level `minimum`.

        Args:
            minimum: A level's name; None takes any.

        Raises:
            QueryError: There is no level of that name.
        """
        if minimum is None:
            return len(self.levels)
        quality = self.levels[self.place(minimum)].quality
        return max(place for place in self.ladder if self.levels[place].quality >= quality)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {level.name: place for place, level in enumerate(self.levels)}

    def save(self, path: str | Path) -> None:
        """Write the profile as JSON."""
        rows = [
            {"name": one.name, "quality": one.quality, "latency_s": {str(n): s for n, s in one.measured_s.items()}}
            | ({} if one.recall is None else {"recall": one.recall})
            for one in self.levels
        ]
        write_json(path, {"version": VERSION, "levels": rows, "measured": dict(self.measured)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BadInputError: The file is missing, or is no profile.
        """
        path = Path(path)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInputError(f"cannot read this profile ({error.strerror}): expected a .json file", path) from error
        except (ValueError, RecursionError) as error:
            raise BadInputError(f"this is no JSON ({error}): make the profile again", path) from error
        try:
            return cls._from_json(value)
        except BadInputError as error:
            raise BadInputError(str(error), path) from None

    @classmethod
    def _from_json(cls, value: Any) -> Self:
        value = _table(value, "the profile", required=("version", "levels"), optional=("measured",))
        if value["version"] != VERSION:
            message = f"got a profile of version {value['version']!r}; this program reads version {VERSION}"
            raise BadInputError(f"{message}: make the profile again")
        if not isinstance(value["levels"], list) or not isinstance(value.get("measured", {}), dict):
            raise BadInputError("expected levels to be a list and measured a table")
        levels = []
        for number, row in enumerate(value["levels"], 1):
            row = _table(row, f"level number {number}", required=("name", "quality", "latency_s"), optional=("recall",))
            latency_s = _table(row["latency_s"], f"latency_s of level number {number}")
            if bad := [size for size in latency_s if not (size.isascii() and size.isdigit() and len(size) < 12)]:
                message = f"level number {number}: got batch size {_shown(bad[0])}; expected a whole number from 1"
                raise BadInputError(f"{message} to {_MOST_IN_A_BATCH}")
            measured_s = {int(size): seconds for size, seconds in latency_s.items()}
            level = {"name": row["name"], "quality": row["quality"], "recall": row.get("recall")}
            levels.append(Level(**level, measured_s=measured_s))
        return cls(levels=levels, measured=value.get("measured", {}))


def _is_positive(value: object) -> bool:
    # No function of math: those make a float of an integer first, and one of 400 digits has none.
    return type(value) in (int, float) and 0 < value <= sys.float_info.max  # type: ignore[operator]


def _shown(value: object) -> str:
    return repr(value)[:40]


def _interpolated(measured_s: Mapping[int, float]) -> Iterable[float]:
    """Yield seconds for batches of 0, 1, 2, ... up to the largest measured."""
    yield 0.0
    points = sorted(measured_s.items())
    for (size, seconds), (next_size, next_seconds) in pairwise(points):
        for between in range(size, next_size):
            yield seconds + (next_seconds - seconds) * (between - size) / (next_size - size)
    yield points[-1][1]


def _table(
    value: Any, what: str, required: Sequence[str] = (), optional: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return `value` if it is a JSON object with these keys; without any, whatever its keys are."""
    if not isinstance(value, dict):
        raise BadInputError(f"{what} is {str(value)[:40]!r}; expected a JSON object")
    known = [*required, *(optional or ())]
    if missing := [key for key in required if key not in value]:
        raise BadInputError(f"{what}: {missing[0]!r} is missing: make the profile again")
    if known and (unknown := [key for key in value if key not in known]):
        raise BadInputError(f"{what}: unknown key {unknown[0]!r}, expected some of {', '.join(known)}")
    return value
