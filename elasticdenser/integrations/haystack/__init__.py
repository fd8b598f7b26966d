"""Retriever and document store for Haystack."""

from elasticdenser.errors import MissingExtraError

try:
    import haystack as _haystack  # noqa: F401  # absent: the message names the extra
except ImportError as error:
    raise MissingExtraError("the integration of Haystack", "haystack") from error

from elasticdenser.integrations.haystack.document_store import ElasticDenserDocumentStore
from elasticdenser.integrations.haystack.retriever import ElasticDenserRetriever

__all__ = ["ElasticDenserDocumentStore", "ElasticDenserRetriever"]
