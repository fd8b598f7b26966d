"""Statistical significance: bootstrap intervals of means, paired randomisation tests, and Holm's correction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation.comparison import Cell, Difference, Interval
from elasticdenser.lazy_imports import check_installed

CONFIDENCE = 0.95
"""Share of intervals that contain the true mean, as is the convention of the field."""

_TOLERANCE = 1e-9
"""Values of two systems on a query that differ by less count as equal: the difference comes from rounding."""

_NUMBERS_PER_BATCH = 2_000_000
"""Numbers in memory at once while resampling: 16 MB."""


def check_significance() -> None:
    """Check, before any work, that the package which computes intervals and p-values is installed.

    Raises:
        MissingExtraError: It is not.
    """
    check_installed("the significance of differences", "eval", "scipy")


def bootstrap_interval(
    values: ArrayLike, *, confidence: float = CONFIDENCE, n_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean over queries.

    The percentile interval always exists and stays within the range of the values. The BCa interval does not exist if
    all resamples are alike, as with 40 queries of which 38 are solved, and in simulations with values from 0 to 1 it
    did not cover the true mean better.

    Args:
        values: A value for each query, at least one.
        confidence: Share of intervals that should contain the true mean.
        n_resamples: Number of resamples of the queries.
        seed: Seed of the resamples; the same seed gives the same interval.

    Returns:
        Lower and upper end of the interval; both are the mean if all values are equal.

    Raises:
        BadInputError: There are no values.
    """
    check_significance()
    from scipy import stats

    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        raise BadInputError("got no values, expected at least one: a mean needs a query")
    if np.all(sample == sample[0]):
        return float(sample[0]), float(sample[0])
    interval = stats.bootstrap(
        (sample,),
        np.mean,
        confidence_level=confidence,
        n_resamples=n_resamples,
        batch=max(1, _NUMBERS_PER_BATCH // sample.size),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def randomisation_test(a: ArrayLike, b: ArrayLike, *, n_resamples: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p-value of the paired randomisation test of the mean difference.

    If the two systems were equally good, the two values of a query could be swapped at random. The p-value is the share
    of such swaps with a difference at least as large as the observed one (Smucker, Allan and Carterette, CIKM 2007),
    among all swaps if there are at most `n_resamples`, otherwise among that many random swaps and the observed one.

    Args:
        a: Values of one system, one for each query.
        b: Values of the other system, for the same queries in the same order.
        n_resamples: Number of random swaps.
        seed: Seed of the random swaps; the same seed gives the same p-value.

    Raises:
        BadInputError: `a` and `b` differ in length.
    """
    check_significance()
    from scipy import stats

    differences = _differences(a, b)
    # Sums of whole numbers are exact, so that swaps whose difference equals the observed one are recognised.
    steps = np.rint(differences[differences != 0] / _TOLERANCE)
    if steps.size < 2:
        return 1.0  # swapping a single pair changes only the sign of the difference
    options: dict[str, Any] = {
        "statistic": lambda sample, axis=-1: np.abs(np.sum(sample, axis=axis)),
        "vectorized": True,
        "n_resamples": n_resamples,
        "batch": max(1, _NUMBERS_PER_BATCH // steps.size),
        "alternative": "greater",
    }
    if 2**steps.size <= n_resamples:
        return float(stats.permutation_test((steps,), permutation_type="samples", **options).pvalue)
    # permutation_test sorts random numbers for each pair; drawing signs is the same test and several times faster.
    rng = np.random.default_rng(seed)

    def swapped(size: tuple[int, ...]) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = np.where(rng.integers(0, 2, size=size, dtype=np.int8), steps, -steps)
        return drawn

    return float(stats.monte_carlo_test(steps, swapped, **options).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for multiple tests (Holm, A simple sequentially rejective procedure, 1979), in order."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = highest
    return adjusted


def paired_differences(cell: Cell, baseline: Cell, measure: str) -> dict[str, float]:
    """Return query id -> value of the cell minus value of the baseline; rounding errors count as 0.

    Raises:
        BadInputError: The two cells have different queries.
    """
    values, baseline_values = cell.values[measure], baseline.values[measure]
    _check_queries(cell, baseline, measure)
    differences = _differences(list(values.values()), [baseline_values[query_id] for query_id in values])
    return dict(zip(values, differences.tolist(), strict=True))


def intervals_of(cells: Iterable[Cell]) -> tuple[Interval, ...]:
    """Return the bootstrap interval of every cell and measure.

    Raises:
        BadInputError: A cell has no queries, or two cells of a query set have different queries.
    """
    cells = tuple(cells)
    _check_all(cells)
    intervals = []
    for cell in cells:
        for measure, values in cell.values.items():
            low, high = bootstrap_interval(list(values.values()))
            names = {"query_set": cell.query_set, "system": cell.system, "measure": measure}
            intervals.append(Interval(**names, low=low, high=high))
    return tuple(intervals)


def differences_of(cells: Iterable[Cell], baseline: str) -> tuple[Difference, ...]:
    """Return the difference between each cell and the baseline on the same query set, for each measure.

    The p-values are Holm-corrected across the systems on a query set and measure. A query set on which the baseline
    was not run has no differences.

    Raises:
        BadInputError: Two cells of a query set have different queries.
    """
    cells = tuple(cells)
    _check_all(cells)
    differences: list[Difference] = []
    for base in (cell for cell in cells if cell.system == baseline):
        others = [cell for cell in cells if cell.query_set == base.query_set and cell.system != baseline]
        for measure in base.values:
            compared = [cell for cell in others if measure in cell.values]
            p_values = [_p_value(cell, base, measure) for cell in compared]
            for cell, p, p_holm in zip(compared, p_values, holm(p_values), strict=True):
                differences.append(_difference(cell, base, measure, p, p_holm))
    return tuple(differences)


def _p_value(cell: Cell, baseline: Cell, measure: str) -> float:
    differences = list(paired_differences(cell, baseline, measure).values())
    return randomisation_test(differences, np.zeros(len(differences)))


def _difference(cell: Cell, baseline: Cell, measure: str, p: float, p_holm: float) -> Difference:
    differences = np.array(list(paired_differences(cell, baseline, measure).values()))
    low, high = bootstrap_interval(differences)
    return Difference(
        query_set=cell.query_set,
        system=cell.system,
        baseline=baseline.system,
        measure=measure,
        difference=float(differences.mean()),
        low=low,
        high=high,
        p=p,
        p_holm=p_holm,
        n_better=int(np.sum(differences > 0)),
        n_worse=int(np.sum(differences < 0)),
    )


def _differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise BadInputError(
            f"cannot pair {first.size} values with {second.size}: expected a value of each system for every query"
        )
    differences = first - second
    return np.where(np.abs(differences) < _TOLERANCE, 0.0, differences)


def _check_all(cells: Sequence[Cell]) -> None:
    """Refuse cells without queries, and cells of a query set whose queries differ."""
    first_cells: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        for measure, values in cell.values.items():
            if not values:
                raise BadInputError(
                    f"{cell.system!r} has no {measure} for any query of {cell.query_set!r}: run it again"
                )
            _check_queries(cell, first_cells.setdefault((cell.query_set, measure), cell), measure)


def _check_queries(cell: Cell, other: Cell, measure: str) -> None:
    """Refuse two cells that have different queries."""
    queries, other_queries = cell.values[measure].keys(), other.values[measure].keys()
    if queries == other_queries:
        return
    unshared = min(queries ^ other_queries)
    has, lacks = (cell, other) if unshared in queries else (other, cell)
    raise BadInputError(
        f"{cell.system!r} has {measure} for {len(queries)} queries of {cell.query_set!r}, {other.system!r} for "
        f"{len(other_queries)}: query {unshared!r} is in {has.system!r} and not in {lacks.system!r}; expected the same "
        "queries for every system: evaluate both on the same queries"
    )
