"""Level: a subnet with a search effort and perhaps reranking, its quality and its run times."""

from __future__ import annotations

import math
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise

from elasticdenser.engine.profiling.level_name import LevelName, parse_level_name
from elasticdenser.errors import BadInputError

_MAX_BATCH_SIZE = 4096
"""Bounds the table of run times, which holds one for every batch size."""
_EFFICIENT_SHARE = 0.98
"""A batch is efficient from this share of the best throughput on: the last 2 % may need a batch twice as large, in
which every request waits longer."""
_USUAL_TOKENS = 32
"""Queries of up to this length are usual ones, whose run times `measured_s` gives; nearly all questions are."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """Level at which a query can be answered: a subnet of the encoder with a search effort, and perhaps reranking.

    Args:
        name: The subnet of the encoder, such as `w0.5-d3` or `level0`, and what is reranked, if anything, such as
            `w1-d6+50:w0.5-d3`; see `level_name`.
        quality: Retention: share of the best level's quality.
        quality_by_tokens: The same for queries of one length, where that is known: by the largest number of tokens of a
            range of lengths, special tokens included. The range begins behind the one before.
        measured_s: Run time of a batch, encoding, search and reranking together, by batch size; size 1 is required.
        alone_by_tokens_s: Run time of a single query by its length in tokens, special tokens included, where that is
            known.
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
    quality_by_tokens: Mapping[int, float] = field(default_factory=dict)
    alone_by_tokens_s: Mapping[int, float] = field(default_factory=dict)
    latency_s: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise BadInputError(f"got a level named {self.name!r}; expected a name such as w0.5-d3 or level0")
        self._check_quality(self.quality, "")
        for tokens, quality in self.quality_by_tokens.items():
            if type(tokens) is not int or tokens < 1:
                message = f"level {self.name}: got a quality for queries of up to {_shortened(tokens)} tokens"
                raise BadInputError(f"{message}; expected 1 or more: measure the profile again")
            self._check_quality(quality, f" for queries of up to {tokens} tokens")
        if self.recall is not None and not (_is_positive(self.recall) and self.recall <= 1):
            raise BadInputError(
                f"level {self.name}: got recall {_shortened(self.recall)}; expected above 0 and at most 1"
            )
        if 1 not in self.measured_s:
            message = f"level {self.name}: there is no latency of one query alone"
            raise BadInputError(f"{message}; expected batch sizes 1, ...: measure the profile again")
        for size, seconds in self.measured_s.items():
            if not isinstance(size, int) or not 1 <= size <= _MAX_BATCH_SIZE or not _is_positive(seconds):
                message = f"level {self.name}: got {_shortened(seconds)} s for a batch of {size!r}"
                raise BadInputError(f"{message}; expected seconds above 0 for sizes from 1 to {_MAX_BATCH_SIZE}")
        for tokens, seconds in self.alone_by_tokens_s.items():
            if type(tokens) is not int or tokens < 1 or not _is_positive(seconds):
                message = f"level {self.name}: got {_shortened(seconds)} s for a query of {_shortened(tokens)} tokens"
                raise BadInputError(
                    f"{message}; expected seconds above 0 for 1 token or more: measure the profile again"
                )
        object.__setattr__(self, "measured_s", dict(sorted(self.measured_s.items())))
        object.__setattr__(self, "quality_by_tokens", dict(sorted(self.quality_by_tokens.items())))
        object.__setattr__(self, "alone_by_tokens_s", dict(sorted(self.alone_by_tokens_s.items())))
        object.__setattr__(self, "latency_s", tuple(accumulate(_interpolated(self.measured_s), max)))

    @property
    def parts(self) -> LevelName:
        """The parts of the name: the subnet of the encoder, and the stages of reranking."""
        return parse_level_name(self.name)

    def quality_for(self, n_tokens: int | None) -> float:
        """Return the quality for queries of a length.

        Args:
            n_tokens: Number of tokens, special tokens included; None if unknown.

        Returns:
            The quality in the range that holds the length; `quality` if there is none.
        """
        if n_tokens is not None:
            for max_tokens, quality in self.quality_by_tokens.items():
                if n_tokens <= max_tokens:
                    return quality
        return self.quality

    def extra_s(self, n_tokens: int | None) -> float:
        """Return the time that a query takes beyond a usual one, alone or in a batch.

        Args:
            n_tokens: Number of tokens, special tokens included; None if unknown.

        Returns:
            Seconds, interpolated between the lengths that were measured, and linear beyond them; 0 for a query of usual
            or unknown length.
        """
        if n_tokens is None or n_tokens <= _USUAL_TOKENS or not self.alone_by_tokens_s:
            return 0.0
        lengths, times_s = self._alone_points
        end = min(max(1, bisect_left(lengths, n_tokens)), len(lengths) - 1)
        slope_s = (times_s[end] - times_s[end - 1]) / (lengths[end] - lengths[end - 1])
        return max(0.0, times_s[end] + slope_s * (n_tokens - lengths[end]) - self.latency_s[1])

    def largest_batch(self, budget_s: float) -> int:
        """Return the size of the largest batch that takes at most `budget_s`; 0 if a single query takes longer."""
        return max(0, bisect_right(self.latency_s, budget_s) - 1)

    def capacity_per_s(self, max_run_s: float = math.inf) -> float:
        """Return the queries per second of one worker, alone or in batches that run for at most `max_run_s`."""
        largest = max(1, self.largest_batch(max_run_s))
        return max(size / self.latency_s[size] for size in range(1, largest + 1))

    def efficient_batch_size(self, max_run_s: float = math.inf) -> int:
        """Return the size of the smallest batch that reaches nearly the capacity at this longest run time."""
        required_per_s = _EFFICIENT_SHARE * self.capacity_per_s(max_run_s)
        return next(size for size, seconds in enumerate(self.latency_s) if size and size / seconds >= required_per_s)

    @cached_property
    def _alone_points(self) -> tuple[list[int], list[float]]:
        """Lengths, from 0 on, and times of single queries.

        A query never takes longer than a longer one, even if a measurement says so: what disturbs one makes it slower.
        """
        falling_s = accumulate(reversed(list(self.alone_by_tokens_s.values())), min)
        return [0, *self.alone_by_tokens_s], [0.0, *reversed(list(falling_s))]

    def _check_quality(self, quality: float, where: str) -> None:
        if not _is_positive(quality) or quality > 2:  # above 1 if the best level was not measured
            message = (
                f"level {self.name}: got quality {_shortened(quality)}{where}; expected a share of the best level's"
            )
            raise BadInputError(f"{message}, such as 0.95")


def _is_positive(value: object) -> bool:
    # Compared, not converted: an integer of 400 digits cannot be converted to a float.
    return type(value) in (int, float) and 0 < value <= sys.float_info.max  # type: ignore[operator]


def _shortened(value: object) -> str:
    return repr(value)[:40]


def _interpolated(measured_s: Mapping[int, float]) -> Iterable[float]:
    """Yield the run times of batches of 0, 1, 2, ... up to the largest measured."""
    yield 0.0
    points = sorted(measured_s.items())
    for (size, seconds), (next_size, next_seconds) in pairwise(points):
        for between in range(size, next_size):
            yield seconds + (next_seconds - seconds) * (between - size) / (next_size - size)
    yield points[-1][1]
