"""Texts held out of training: the dev sets are made of them, and no training text may come from them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from elasticdenser.datasets.files import read_lines

ARTICLES_PER_MILLE = 20
"""Share of the articles of `wiki/` that the dev sets ask for."""

N_MEDICAL_QUESTIONS = 1000

MAX_WORDS = 250
"""Words of a passage in the dev sets: the encoder reads 256 tokens; what follows would only take room."""

SHARED_WORDS = 8
"""Words in sequence that a training text and a held-out text may not share: shorter ones are mostly common phrases."""


def hash_per_mille(key: str) -> int:
    """Return a number from 0 to 999 that depends on `key` alone, the same on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 1000


def article_of(doc_id: str) -> str:
    """Return the article that a passage of `wiki/` belongs to: `wiki-12` of `wiki-12-0`."""
    return doc_id.rpartition("-")[0]


def is_held_out_article(article: str) -> bool:
    """Return whether no training text may come from this article."""
    return hash_per_mille(article) < ARTICLES_PER_MILLE


def held_out_questions(questions: Iterable[str]) -> set[str]:
    """Return the medical questions that are held out: 1,000 of the distinct ones, by their hashes."""
    return set(sorted(set(questions), key=lambda text: hashlib.sha256(text.encode()).digest())[:N_MEDICAL_QUESTIONS])


def medical_pairs(data: Path) -> list[Mapping[str, str]]:
    """Return the questions and answers of `medquad/`."""
    return [json.loads(line) for _, line in read_lines(data / "medquad" / "pairs.jsonl.gz") if line.strip()]


def shortened(text: str) -> str:
    """Return the words of a text that the encoder may read."""
    return " ".join(text.split()[:MAX_WORDS])


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return re.findall(r"[^\W_]+", text.lower())


class HeldOutTexts:
    """Queries and passages that no training text may repeat.

    Args:
        texts: The held-out texts.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._short: set[tuple[str, ...]] = set()
        self._sequences: set[tuple[str, ...]] = set()
        for text in texts:
            words = words_of(text)
            if len(words) < SHARED_WORDS:
                self._short.add(tuple(words))
            self._sequences.update(_sequences(words))

    def overlap(self, text: str) -> bool:
        """Return whether a text repeats a held-out one: eight words in sequence, or all words of a shorter one."""
        words = words_of(text)
        return tuple(words) in self._short or not self._sequences.isdisjoint(_sequences(words))


def held_out_texts(data: Path) -> HeldOutTexts:
    """Return the queries of all sets in `data`, and the passages of `dev/python-docs`.

    Args:
        data: Folder that `make_dev_sets.py` made.

    Raises:
        SystemExit: There are no dev sets.
    """
    if not (data / "dev" / "python-docs").is_dir():
        raise SystemExit(f"{data} holds no dev sets, expected the folder that make_dev_sets.py made: run it first")
    files = [*data.glob("*/queries.jsonl.gz"), *data.glob("*/*/queries.jsonl.gz")]
    # Installed packages repeat docstrings of the standard library.
    files.append(data / "dev" / "python-docs" / "corpus.jsonl.gz")
    return HeldOutTexts(json.loads(line)["text"] for file in sorted(files) for _, line in read_lines(file))


def _sequences(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + SHARED_WORDS]) for start in range(len(words) - SHARED_WORDS + 1)]
