"""Dense retrieval with an elastic query encoder that meets its deadlines under load.

The public names are imported on first use, so that `import elasticdenser` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elasticdenser.lazy_imports import lazy_attributes
from elasticdenser.version import __version__ as __version__

if TYPE_CHECKING:
    from elasticdenser.classifiers import ElasticClassifier
    from elasticdenser.datasets import Passage, load_qrels, load_queries, open_corpus
    from elasticdenser.encoders import ElasticQueryEncoder, PassageEncoder
    from elasticdenser.engine.answers import Answer
    from elasticdenser.engine.engine import RetrievalEngine
    from elasticdenser.engine.policies.base import Policy
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.errors import ElasticDenserError
    from elasticdenser.index import PassageIndex
    from elasticdenser.rankers import ElasticRanker, LateInteractionRanker
    from elasticdenser.retrieval.hits import Hit
    from elasticdenser.retrieval.retriever import Retriever
    from elasticdenser.subnet import Subnet

_MODULES = {
    "Answer": "engine.answers",
    "ElasticClassifier": "classifiers",
    "ElasticDenserError": "errors",
    "ElasticQueryEncoder": "encoders",
    "ElasticRanker": "rankers",
    "Hit": "retrieval.hits",
    "LateInteractionRanker": "rankers",
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
    "ElasticClassifier",
    "ElasticDenserError",
    "ElasticQueryEncoder",
    "ElasticRanker",
    "Hit",
    "LateInteractionRanker",
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

__getattr__ = lazy_attributes(__name__, _MODULES)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
