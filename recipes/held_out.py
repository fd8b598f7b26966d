"""Texts held out of training: the dev sets are made of them, and no training text may come from them."""

from __future__ import annotations

import hashlib

ARTICLES_PER_MILLE = 20
"""Share of the articles of `wiki/` that the dev sets ask for."""

N_MEDICAL_QUESTIONS = 1000


def hash_per_mille(key: str) -> int:
    """Return a number from 0 to 999 that depends on `key` alone, the same on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 1000


def article_of(doc_id: str) -> str:
    """Return the article that a passage of `wiki/` belongs to: `wiki-12` of `wiki-12-0`."""
    return doc_id.rpartition("-")[0]


def is_held_out_article(article: str) -> bool:
    """Return whether no training text may come from this article."""
    return hash_per_mille(article) < ARTICLES_PER_MILLE


def held_out_questions(questions: list[str]) -> set[str]:
    """Return the medical questions that are held out: 1,000 of the distinct ones, by their hashes."""
    return set(sorted(set(questions), key=lambda text: hashlib.sha256(text.encode()).digest())[:N_MEDICAL_QUESTIONS])
