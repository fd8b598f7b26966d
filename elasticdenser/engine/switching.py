"""Search that is exchanged for another while the engine runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from elasticdenser.engine.batch_search import BatchSearch, Hits
from elasticdenser.engine.request import Query


class SwitchingSearch(BatchSearch):
    """Searches with another `BatchSearch`, which can be exchanged; searches that have begun end as they began.

    Args:
        search: The first search.
    """

    def __init__(self, search: BatchSearch) -> None:
        self._search, self.is_asynchronous = search, search.is_asynchronous

    def switch(self, search: BatchSearch) -> None:
        """Search with another `BatchSearch` of the same kind from now on."""
        self._search = search

    def search_batch(self, queries: Sequence[Query], level: str) -> Collection[Hits]:
        """Search in the calling thread; see `BatchSearch`."""
        return self._search.search_batch(queries, level)

    def start_batch(self, queries: Sequence[Query], level: str) -> Callable[[], Collection[Hits]]:
        """Start a search; see `BatchSearch`."""
        return self._search.start_batch(queries, level)

    def shorten(self, text: str) -> str:
        """Return a query with the same hits; see `BatchSearch`."""
        return self._search.shorten(text)

    def count_tokens(self, text: str) -> int | None:
        """Return the number of tokens of a query; see `BatchSearch`."""
        return self._search.count_tokens(text)
