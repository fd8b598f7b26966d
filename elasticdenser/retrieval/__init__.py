"""Retrieval: queries to hits, by vectors, by words, and both fused."""
