"""Retrieval: from queries to hits, by vectors, by words, by both fused, and reranked."""
