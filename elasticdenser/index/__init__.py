"""Index of passages: build, open, search, and exchange with other tools."""

from elasticdenser.index.passage_index import PassageIndex
from elasticdenser.index.rebuilt_index import rebuild

__all__ = ["PassageIndex", "rebuild"]
