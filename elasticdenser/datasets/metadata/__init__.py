"""Metadata of passages: which fields of records are kept, their types, and their values."""

from elasticdenser.datasets.metadata.inference import MetadataInference
from elasticdenser.datasets.metadata.selection import AnySelection, MetadataSelection
from elasticdenser.datasets.metadata.types import FieldType

__all__ = ["AnySelection", "FieldType", "MetadataInference", "MetadataSelection"]
