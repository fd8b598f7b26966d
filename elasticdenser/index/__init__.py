"""The index: building, opening, searching and exchanging it."""

from elasticdenser.index.passage_index import PassageIndex, rebuild

__all__ = ["PassageIndex", "rebuild"]
