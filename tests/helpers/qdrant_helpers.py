"""A small index for tests of Qdrant."""

from __future__ import annotations

TEXTS = ["who wrote dune", "frank herbert wrote dune", "cats", "how long is a piece of string?", "read a csv file"]


def build_small(path, encoder, n_copies=1):
    """Build an index of some passages with different titles."""
    from elasticdenser import PassageIndex

    texts = [(f"title {number}", text) for number in range(n_copies) for text in TEXTS]
    passages = [{"_id": f"d{number}", "title": title, "text": text} for number, (title, text) in enumerate(texts)]
    return PassageIndex.build(passages, path, encoder, workers=1)
