"""Augmentation of training texts: copies with some words replaced by similar ones, as in TinyBERT (Jiao et al. 2020).

TinyBERT takes the candidates for a word from BERT's masked language model, and those for words of several tokens from
GloVe. Here the candidates are the words of the training texts with the nearest word embeddings of the encoder. Its
vectors of single tokens (`token_outputs`) serve less well: they are near by topic, word embeddings by what can take a
word's place. Words of several tokens are neither replaced nor candidates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from random import Random

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from elasticdenser.arrays import Vectors
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.progress import Progress, silent
from elasticdenser.training.classifier.settings import AugmentationSettings

_WORD = re.compile(r"(?<![\w'’.])[^\W_]+(?:['’][^\W_]+)*(?![\w'’]|\.\w)")
"""Words and numbers, with their apostrophes; not the parts of "do n't", "ship 's", "U.S." and "2.5"."""

_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Copies of texts, which depend on its values and their numbers alone.

    Args:
        settings: How many copies, and how much is replaced.
        candidates: Word -> words that can replace it.
        seed: Seed of all that is drawn.
    """

    settings: AugmentationSettings
    candidates: Mapping[str, tuple[str, ...]]
    seed: int

    @cached_property
    def key(self) -> str:
        """Hash of all that the copies depend on beside the texts."""
        return fingerprint_of([asdict(self.settings), dict(self.candidates), self.seed])[:12]

    def copy(self, texts: tuple[str, ...], number: int) -> tuple[str, ...]:
        """Return the texts of an example with some of their words replaced.

        Args:
            texts: The texts.
            number: Number of the copy, different for each copy of each example.
        """
        random = Random(f"{self.seed}/copy/{number}")

        def replacement(word: re.Match[str]) -> str:
            candidates = self.candidates.get(word[0])
            return random.choice(candidates) if candidates and random.random() < self.settings.share else word[0]

        return tuple(_WORD.sub(replacement, text) for text in texts)


def similar_words(
    texts: Iterable[str], tokenizer: Tokenizer, embeddings: Vectors, n: int, progress: Progress = silent
) -> dict[str, tuple[str, ...]]:
    """Return the most similar words of the texts for each of their words that is a single token.

    Args:
        texts: The texts.
        tokenizer: Tokenizer of the encoder.
        embeddings: float32, (n_tokens, dim): its word embeddings, of any length.
        n: Number of similar words; fewer if the texts have fewer words.
        progress: Called with (activity, done, total).

    Returns:
        Word -> similar words, the most similar one first. Spellings of one token, such as capitals that the tokenizer
        does not tell apart, have the same ones.
    """
    words = sorted({word for text in texts for word in _WORD.findall(text)})
    encodings = tokenizer.encode_batch(words, add_special_tokens=False)
    tokens = {word: found.ids[0] for word, found in zip(words, encodings, strict=True) if len(found.ids) == 1}
    # The token of unknown characters is not spelt as a word.
    spelt = {token: text for token in sorted({*tokens.values()}) if _WORD.fullmatch(text := tokenizer.decode([token]))}
    spellings = [*spelt.values()]
    similar: dict[int, tuple[str, ...]] = {}
    vectors = embeddings[[*spelt]].astype(np.float64)  # rounding must not change the order from one machine to another
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    for start in range(0, len(spelt), _AT_ONCE):
        nearest = _nearest(vectors, range(start, min(start + _AT_ONCE, len(spelt))), n)
        for token, row in zip([*spelt][start : start + _AT_ONCE], nearest.tolist(), strict=True):
            similar[token] = tuple(spellings[place] for place in row)
        progress("Similar words", start + len(nearest), len(spelt))
    return {word: similar[token] for word, token in tokens.items() if similar.get(token)}


def _nearest(vectors: NDArray[np.float64], rows: range, n: int) -> NDArray[np.int64]:
    """Return the `n` other rows with the highest inner products, int64, (len(rows), n), the highest first."""
    n = min(n, len(vectors) - 1)
    scores = vectors[rows.start : rows.stop] @ vectors.T
    scores[range(len(rows)), rows] = -np.inf
    best = np.argpartition(-scores, n, axis=1)[:, :n]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    nearest: NDArray[np.int64] = np.take_along_axis(best, order, axis=1)
    return nearest
