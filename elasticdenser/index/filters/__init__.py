"""Filters on metadata: a small language like SQL's conditions, and a form in JSON, which mean the same."""

from elasticdenser.index.filters.nodes import Filter
from elasticdenser.index.filters.reading import AnyFilter, parse_filter

__all__ = ["AnyFilter", "Filter", "parse_filter"]
