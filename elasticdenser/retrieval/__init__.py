"""Retrieval: from queries to hits, by vectors, by words or by a fusion of both, with optional reranking."""
