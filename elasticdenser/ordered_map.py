"""Function applied to items in the threads of a pool, with few items under way at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], n_ahead: int
) -> Iterator[Result]:
    """Yield a function's results in the order of the items; unlike `pool.map`, it does not read all items at once.

    Args:
        pool: The threads.
        function: Called in them.
        items: The items.
        n_ahead: Most items that are under way while a result is awaited; a few more than threads, so that none waits
            for the slowest item.
    """
    started: deque[Future[Result]] = deque()
    try:
        for item in items:
            started.append(pool.submit(function, item))
            if len(started) > n_ahead:
                yield started.popleft().result()
        while started:
            yield started.popleft().result()
    finally:
        for future in started:  # after an error or an interruption nobody asks for them
            future.cancel()
