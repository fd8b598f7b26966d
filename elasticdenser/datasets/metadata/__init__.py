"""Metadata of passages: which fields of records are kept, their types, and their values."""

from elasticdenser.datasets.metadata.inference import MetadataInference
from elasticdenser.datasets.metadata.selection import ALL, AnySelection, MetadataSelection
from elasticdenser.datasets.metadata.types import FieldType

__all__ = ["ALL", "AnySelection", "FieldType", "MetadataInference", "MetadataSelection"]
