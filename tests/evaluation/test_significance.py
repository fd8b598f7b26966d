from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import Cell
from elasticdenser.evaluation.significance import (
    bootstrap_interval,
    differences_of,
    holm,
    intervals_of,
    paired_differences,
    randomisation_test,
)

VALUES = st.floats(0, 1, allow_nan=False)
PAIRS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=30)
FEW = 500


def enumerated(a, b):
    """Return the p-value over all swaps, in whole numbers: multiples of 1/60 hold the values of these tests exactly."""
    differences = np.rint(60 * (np.array(a) - np.array(b))).astype(int)
    observed = abs(differences.sum())
    swaps = itertools.product((-1, 1), repeat=len(differences))
    return np.mean([abs(np.dot(signs, differences)) >= observed for signs in swaps])


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9, 12])
def test_randomisation_is_exact_for_few_pairs(n):
    rng = np.random.default_rng(n)
    values = np.array([0, 1 / 10, 1 / 6, 1 / 5, 1 / 4, 1 / 3, 1 / 2, 1])
    a, b = rng.choice(values, n), rng.choice(values, n)
    assert randomisation_test(a, b) == pytest.approx(enumerated(a, b))


def test_randomisation_sees_ties_through_rounding():
    # 0.1 + 0.2 - 0.3 is not 0 in floating point: every swap has a difference as large as the observed one.
    assert randomisation_test([0.1, 0.2, 0.0], [0.0, 0.0, 0.3]) == 1
    assert randomisation_test([0.3, 0.6], [0.3 + 1e-12, 0.6 - 1e-12]) == 1


@pytest.mark.parametrize("n", [40, 500])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_randomisation_agrees_with_enumeration_by_sampling_and_t_test(n, shift):
    rng = np.random.default_rng(n)
    b = rng.normal(size=n)
    a = b + rng.normal(shift, 1, size=n)
    assert randomisation_test(a, b) == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.025)


def test_randomisation_ignores_queries_without_difference():
    a, b = np.array([0.5, 1, 0.2]), np.array([0.25, 0.5, 0.1])
    assert (
        randomisation_test(np.append(a, np.ones(100)), np.append(b, np.ones(100))) == randomisation_test(a, b) == 0.25
    )


@pytest.mark.slow
def test_randomisation_of_thousands_of_queries():
    rng = np.random.default_rng(0)
    a = rng.normal(size=7000)
    assert randomisation_test(a, a + 0.1 + 0.01 * rng.normal(size=7000)) == pytest.approx(1 / 10_001)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_randomisation_is_a_symmetric_probability(pairs):
    a, b = zip(*pairs, strict=True)
    p = randomisation_test(a, b, n_resamples=FEW)
    assert 0 < p <= 1
    assert p == randomisation_test(b, a, n_resamples=FEW)


@pytest.mark.slow
def test_randomisation_has_the_false_positive_rate_that_it_should():
    rng = np.random.default_rng(0)
    p_values = [randomisation_test(*rng.random((2, 30)), n_resamples=FEW) for _ in range(600)]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.025)


def test_randomisation_needs_pairs():
    with pytest.raises(BadInputError, match="cannot pair 2 values with 3"):
        randomisation_test([1, 2], [1, 2, 3])


def test_bootstrap_of_one_value_and_of_equal_values():
    assert bootstrap_interval([0.25]) == (0.25, 0.25)
    assert bootstrap_interval([0.1] * 7) == (0.1, 0.1)
    with pytest.raises(BadInputError, match="at least one"):
        bootstrap_interval([])


@pytest.mark.slow
def test_bootstrap_is_near_the_normal_interval_and_repeatable():
    values = np.random.default_rng(0).normal(size=800)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    interval = bootstrap_interval(values)
    assert interval == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert interval == bootstrap_interval(values)
    assert interval != bootstrap_interval(values, seed=1)
    narrow = bootstrap_interval(values, confidence=0.5)
    assert interval[0] < narrow[0] < narrow[1] < interval[1]


@pytest.mark.slow
def test_bootstrap_covers_the_true_mean():
    rng = np.random.default_rng(0)
    values = (0, 0.1, 0.2, 0.25, 0.5, 1)
    intervals = [bootstrap_interval(rng.choice(values, 100), n_resamples=FEW) for _ in range(400)]
    assert np.mean([low <= np.mean(values) <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.03)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=40))
def test_bootstrap_stays_within_the_values(values):
    low, high = bootstrap_interval(values, n_resamples=100)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12


def test_holm_gives_the_values_of_a_worked_example():
    # Four tests: 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1, which is raised to the value before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@pytest.mark.slow
@given(st.lists(st.floats(1e-4, 1), max_size=12))
def test_holm_only_raises_and_keeps_the_order(p_values):
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert all(adjusted[i] <= adjusted[j] for i, j in itertools.pairwise(order))


def cell(query_set, system, **measures):
    values = {m: {f"q{i}": float(value) for i, value in enumerate(numbers)} for m, numbers in measures.items()}
    return Cell(query_set=query_set, system=system, values=values)


def test_differences_by_query_set_and_measure():
    rng = np.random.default_rng(0)
    base = rng.random(60)
    better, worse = base + 0.1 * (rng.random(60) < 0.5), base - rng.random(60)
    cells = (
        cell("one", "worse", RR=worse),
        cell("one", "base", RR=base, R=np.ones(60)),
        cell("one", "better", RR=better, R=np.ones(60)),
        cell("two", "better", RR=better),  # no baseline here
    )
    differences = {(d.system, d.measure): d for d in differences_of(cells, "base")}
    assert set(differences) == {("better", "RR"), ("worse", "RR"), ("better", "R")}
    loss = differences["worse", "RR"]
    assert (loss.query_set, loss.baseline) == ("one", "base")
    assert loss.difference == pytest.approx((worse - base).mean())
    assert (loss.low, loss.high) == pytest.approx(bootstrap_interval(worse - base))
    assert loss.low < loss.difference < loss.high < 0
    assert loss.p == pytest.approx(1 / 10_001) and loss.p_holm == pytest.approx(2 / 10_001)
    assert (loss.n_better, loss.n_worse) == (0, 60)
    assert differences["better", "RR"].n_better == np.sum(better > base)
    same = differences["better", "R"]
    assert (same.difference, same.low, same.high, same.p, same.p_holm) == (0, 0, 0, 1, 1)
    assert (same.n_better, same.n_worse) == (0, 0)
    assert differences_of(cells, "base") == differences_of(cells, "base")
    assert differences_of(cells, "none") == ()


def test_intervals_of_every_cell_and_measure():
    cells = (cell("one", "a", RR=[0, 1, 0.5], R=[1, 1, 1]), cell("two", "a", RR=[0.5]))
    intervals = {(i.query_set, i.system, i.measure): (i.low, i.high) for i in intervals_of(cells)}
    assert intervals == {
        ("one", "a", "RR"): bootstrap_interval([0, 1, 0.5]),
        ("one", "a", "R"): (1, 1),
        ("two", "a", "RR"): (0.5, 0.5),
    }
    assert intervals_of(()) == ()


def test_values_are_paired_by_query_not_by_position():
    base = Cell(query_set="s", system="base", values={"RR": {"a": 1.0, "b": 0.0}})
    other = Cell(query_set="s", system="other", values={"RR": {"b": 0.0, "a": 1.0}})
    assert paired_differences(other, base, "RR") == {"b": 0, "a": 0}


@pytest.mark.parametrize("compute", [intervals_of, lambda cells: differences_of(cells, "base")])
def test_cells_must_have_the_same_queries(compute):
    with pytest.raises(BadInputError) as caught:
        compute([cell("set", "base", RR=[1, 0]), cell("set", "other", RR=[1, 0, 1])])
    message = str(caught.value)
    assert all(part in message for part in ("'other'", "'base'", "'set'", "3 queries", "for 2", "'q2' is in 'other'"))
    with pytest.raises(BadInputError, match="no RR for any query of 'set'"):
        compute([cell("set", "base", RR=[])])
