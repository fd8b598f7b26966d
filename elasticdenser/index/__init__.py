"""Index of passages: build, open, search, and exchange with other tools."""

from elasticdenser.index.passage_index import PassageIndex, rebuild

__all__ = ["PassageIndex", "rebuild"]
