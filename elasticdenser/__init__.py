"""Dense retrieval with an elastic query encoder that stays fast under any load.

The public names are imported on first use, so that `import elasticdenser` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elasticdenser.datasets import Passage, load_qrels, load_queries, open_corpus
    from elasticdenser.encoders import ElasticQueryEncoder, PassageEncoder
    from elasticdenser.engine.answers import Answer
    from elasticdenser.engine.engine import RetrievalEngine
    from elasticdenser.engine.policies.base import Policy
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.errors import ElasticDenserError
    from elasticdenser.index import PassageIndex
    from elasticdenser.retrieval.retriever import Hit, Retriever
    from elasticdenser.subnet import Subnet

__version__ = "0.1.0"

_MODULES = {
    "Answer": "engine.answers",
    "ElasticDenserError": "errors",
    "ElasticQueryEncoder": "encoders",
    "Hit": "retrieval.retriever",
    "Passage": "datasets",
    "PassageEncoder": "encoders",
    "PassageIndex": "index",
    "Policy": "engine.policies.base",
    "Profile": "engine.profiling.profile",
    "RetrievalEngine": "engine.engine",
    "Retriever": "retrieval.retriever",
    "Subnet": "subnet",
    "load_qrels": "datasets",
    "load_queries": "datasets",
    "open_corpus": "datasets",
}
"""Public name -> module that defines it."""

__all__ = [
    "Answer",
    "ElasticDenserError",
    "ElasticQueryEncoder",
    "Hit",
    "Passage",
    "PassageEncoder",
    "PassageIndex",
    "Policy",
    "Profile",
    "RetrievalEngine",
    "Retriever",
    "Subnet",
    "load_qrels",
    "load_queries",
    "open_corpus",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
