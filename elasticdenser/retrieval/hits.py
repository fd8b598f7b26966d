"""Hit: a passage that a search found for a query."""

from __future__ import annotations

from typing import Any, Self

from ir_measures import ScoredDoc

from elasticdenser.subnet import Subnet


class Hit(ScoredDoc):  # type: ignore[misc]  # ir_measures is not typed
    """A `ScoredDoc` of ir_measures, (query_id, doc_id, score), with the subnet that encoded the query.

    Attributes:
        subnet: The subnet.
        passage_id: Id of the passage in the index: `doc_id`, or the best chunk of a document if hits are by document.
    """

    subnet: Subnet
    _passage_id: str | None = None

    @property
    def passage_id(self) -> str:
        """Id of the passage in the index."""
        return self.doc_id if self._passage_id is None else self._passage_id

    def __new__(cls, query_id: str, doc_id: str, score: float, subnet: Subnet, passage_id: str | None = None) -> Self:
        """Make a hit of its values."""
        hit: Self = tuple.__new__(cls, (query_id, doc_id, score))  # the fastest way: there are many
        hit.subnet = subnet
        if passage_id is not None:
            hit._passage_id = passage_id
        return hit

    def __getnewargs__(self) -> tuple[Any, ...]:
        # Used for copies and pickles.
        return (*self, self.subnet, self._passage_id)

    def _replace(self, **changes: Any) -> Hit:
        subnet = changes.pop("subnet", self.subnet)
        return Hit(*super()._replace(**changes), subnet, self._passage_id)
