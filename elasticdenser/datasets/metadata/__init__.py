"""Metadata of passages: which fields of records are kept, their types, and their values."""

from elasticdenser.datasets.metadata.inference import MetadataInference
from elasticdenser.datasets.metadata.selection import MetadataSelection
from elasticdenser.datasets.metadata.types import FieldType

__all__ = ["FieldType", "MetadataInference", "MetadataSelection"]
