"""Results in the order of the items, with few items under way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from elasticdenser.ordered_map import ordered_map


def test_results_are_in_the_order_of_the_items():
    first_may_end = Event()

    def work(item):
        if item == 0:
            first_may_end.wait(10)
        elif item == 1:
            first_may_end.set()
        return item * item

    with ThreadPoolExecutor(2) as pool:
        assert list(ordered_map(pool, work, range(20), 4)) == [item * item for item in range(20)]


def test_few_items_are_read_ahead():
    read = []
    items = (read.append(item) or item for item in range(1000))
    with ThreadPoolExecutor(2) as pool:
        results = ordered_map(pool, str, items, 4)
        assert next(results) == "0" and len(read) == 5
        results.close()
    assert len(read) == 5


def test_after_an_error_nothing_more_is_started():
    started = []

    def work(item):
        started.append(item)
        raise ValueError(item)

    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="0"):
        list(ordered_map(pool, work, range(1000), 4))
    assert len(started) <= 5
