"""Search structures: derived from the stored vectors, they propose candidates for a query.

To add a form of structure, add one file with a class that satisfies `SearchStructure`, and one line in `registry`.
"""

from elasticdenser.index.structures.base import CandidateSource, SearchStructure
from elasticdenser.index.structures.building import build_structure
from elasticdenser.index.structures.exhaustive import ExhaustiveSearch
from elasticdenser.index.structures.index_structure import IndexStructure, choose_factory
from elasticdenser.index.structures.registry import check_factory

__all__ = [
    "CandidateSource",
    "ExhaustiveSearch",
    "IndexStructure",
    "SearchStructure",
    "build_structure",
    "check_factory",
    "choose_factory",
]
