"""Batches with long queries: the level and the size at which they, and the jobs behind them, are in time.

A policy knows the run times of usual queries. A long query may need dozens of times as long at a good level, and little
more at a fast one. So it is the long query whose level is lowered, and not that of the usual ones around it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from heapq import heapreplace

from elasticdenser.engine.arrival_rate import WINDOW_S
from elasticdenser.engine.queue_state import Choice, QueueState

_CAUTION = 12.0
"""Run times are predicted to be longer by this multiple of their scatter, as the elastic policy does. In simulations
where they scatter by a quarter, .01 to .02 of the long queries are late without it."""
_DELAY_SHARE = 0.5
"""Share of the reserve that a batch may use up unchecked: a check is half of a decision's time."""
_MAX_LOST = 0.05
"""Mean number of requests that may be lost because a long query takes all workers: better levels are worth no more."""


def fit_long_jobs(state: QueueState, choice: Choice, level_indices: Sequence[int]) -> Choice:
    """Return the level and the size of the next batch, where some of its jobs may be long.

    Jobs before the first long one are served as chosen. A long job joins them if all are in time with it, and so is the
    rest of the queue afterwards. If it is the first job, and too slow at the chosen level, it runs alone at the best
    level at which the rest can still be served at the chosen level. If there is none, it runs with the jobs that would
    have been served with it, at the best level at which all are in time, and the rest at the fastest level.

    Args:
        state: The state on which the choice is based.
        choice: Level and size of the batch for usual queries; all its jobs accept the level.
        level_indices: Indices of the levels that may be used, best first; the last is the policy's fastest one.
    """
    queue, (chosen_index, size) = state.queue, choice
    n_usual = queue.n_usual(size)
    if n_usual == size:
        return choice
    limit, _ = queue.group_at(0, level_indices[-1], 1)
    faster_indices = [index for index in level_indices if chosen_index < index <= limit]
    if faster_indices:
        n = _n_in_time(state, choice, n_usual, is_cautious=True)
        if n > n_usual and not _leaves_time(state, Choice(chosen_index, n), chosen_index, state.reserve_s):
            n = n_usual
        if n:
            return Choice(chosen_index, n)
        for rest_index, wanted, reserve_s in ((chosen_index, 1, state.reserve_s), (level_indices[-1], size, 0.0)):
            for index in faster_indices:
                candidate = Choice(index, _group_size(state, index, wanted))
                if _n_in_time(state, candidate, 0, is_cautious=True) == candidate.batch_size and _leaves_time(
                    state, candidate, rest_index, reserve_s
                ):
                    return candidate
        choice = Choice(limit, _group_size(state, limit, size))
    return Choice(choice.level_index, max(1, _n_in_time(state, choice, n_usual, is_cautious=False)))


def _group_size(state: QueueState, level_index: int, n: int) -> int:
    """Return how many of the first `n` jobs run together at a level."""
    return state.queue.group_at(0, level_index, min(n, state.max_batch_sizes[level_index]))[1]


def _n_in_time(state: QueueState, choice: Choice, n_usual: int, *, is_cautious: bool) -> int:
    """Return the size of the largest part of a batch, from its first job on, that is in time.

    Args:
        state: The state.
        choice: Level and size of the batch.
        n_usual: Number of jobs before the first long one; they are not checked.
        is_cautious: Allow for the scatter of run times, and keep the reserve.
    """
    latency_s, extra_s, due_s = state.levels[choice.level_index].latency_s, 0.0, math.inf
    factor, reserve_s = (_cautious_factor(state), state.reserve_s) if is_cautious else (state.correction_ratio, 0.0)
    for n, job in enumerate(state.queue.jobs[: choice.batch_size], 1):
        due_s = min(due_s, job.deadline_s)
        if job.extras_s:
            extra_s += job.extras_s[choice.level_index]
        end_s = state.now_s + factor * (latency_s[n] + extra_s)
        if n > n_usual and end_s + reserve_s > due_s:
            return n - 1
    return choice.batch_size


def _leaves_time(state: QueueState, choice: Choice, rest_index: int, reserve_s: float) -> bool:
    """Return whether the requests behind a batch, and those that arrive while it runs, can be in time.

    Args:
        state: The state.
        choice: Level and size of the batch.
        rest_index: Level at which the rest of the queue is served.
        reserve_s: Time to keep free before each deadline of the rest.
    """
    level_index, size = choice
    extra_s = state.queue.extra_s(size, level_index)
    run_s = _cautious_factor(state) * (state.levels[level_index].latency_s[size] + extra_s)
    if _expected_losses(state, size, run_s) > _MAX_LOST:
        return False
    delay_s = state.correction_ratio * extra_s - sum(state.queue.least_extras_s[:size])
    if delay_s <= _DELAY_SHARE * state.reserve_s:
        return True
    after = copy(state)
    after.free_s = state.free_s.copy()
    heapreplace(after.free_s, state.now_s + run_s)
    return after.drains_in_time(rest_index, reserve_s, skip=size)


def _cautious_factor(state: QueueState) -> float:
    """Return the factor for profiled run times that allows for their scatter."""
    return state.correction_ratio * (1 + _CAUTION * state.scatter)


def _expected_losses(state: QueueState, size: int, run_s: float) -> float:
    """Return how many requests arrive, on average, too early to wait for the end of a batch that keeps all busy."""
    # A request can wait until the reserve and the time of its own batch are left, for which the reserve is a guess.
    excess_s = run_s - (state.slo_s - 2 * state.reserve_s)
    if excess_s <= 0 or state.n_idle > 1:
        return 0.0
    requests = (request for job in state.queue.jobs[:size] for request in job.requests)
    n_own = sum(request.deadline_s < math.inf and request.arrival_s > state.now_s - WINDOW_S for request in requests)
    return max(0.0, state.rate_per_s - n_own / WINDOW_S) * excess_s
