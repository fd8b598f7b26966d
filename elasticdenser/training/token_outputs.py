"""Start of level 0 that needs no texts: the full encoder's vectors of single tokens.

As model2vec does (Tulkens and van Dongen 2024), the encoder reads each token of its vocabulary alone. The vectors are
whitened (Su et al. 2021): otherwise a few directions that all tokens share drown the others. Frequent tokens are
weighted down (smooth inverse frequency, Arora et al. 2017).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from elasticdenser.arrays import Floats, Vectors
from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.models.tokenizer import load_encoder_tokenizer
from elasticdenser.progress import Progress, silent
from elasticdenser.training.snapshots import readable_file
from elasticdenser.training.targets import encoder_identity

_SMOOTHING = 3e-5
"""The constant of the weights. 1e-5 to 1e-4 make little difference for multilingual-e5-small and all-mpnet-base-v2."""

_LEAST_VARIANCE = 1e-6
"""Directions with less than this share of the greatest variance are not stretched further."""

_AT_ONCE = 4096


class TokenEncoder(Protocol):
    """What encodes single tokens: an `ElasticQueryEncoder`, or a substitute for one."""

    settings: EncoderSettings

    def encode_tokens(self, token_ids: range, /) -> Vectors:
        """Return float32, (n_tokens, dim)."""


class TokenOutputs(NamedTuple):
    """Vectors of single tokens.

    Args:
        vectors: float32, (n_tokens, dim): whitened, around 0.
        probabilities: float32, (n_tokens,): how often the tokenizer expects each token; None if it does not say.
    """

    vectors: Vectors
    probabilities: Floats | None

    def weighted(self, shares: Floats) -> Vectors:
        """Return the vectors, the shorter the more frequent their tokens are.

        Args:
            shares: float32, (n_tokens,): the tokens' shares of the training texts, used if the tokenizer has none.
        """
        probabilities = shares if self.probabilities is None else self.probabilities
        weights = _SMOOTHING / (_SMOOTHING + probabilities)
        return self.vectors * weights[:, None]


def token_outputs(encoder: TokenEncoder, n_tokens: int, progress: Progress = silent) -> Vectors:
    """Encode every token of the vocabulary alone.

    Args:
        encoder: The full encoder.
        n_tokens: Size of the vocabulary.
        progress: Called with (activity, done, total).

    Returns:
        float32, (n_tokens, dim): whitened vectors around 0.
    """
    vectors = np.empty((n_tokens, encoder.settings.dim), np.float32)
    for start in range(0, n_tokens, _AT_ONCE):
        ids = range(start, min(start + _AT_ONCE, n_tokens))
        vectors[start : ids.stop] = encoder.encode_tokens(ids)
        progress("Encoding tokens", ids.stop, n_tokens)
    return whitened(vectors)


def whitened(vectors: Vectors) -> Vectors:
    """Return float32, (n, dim): the vectors' directions around their mean, with equal variance in all directions."""
    directions = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    directions -= directions.mean(axis=0)
    variances, axes = np.linalg.eigh(directions.T.astype(np.float64) @ directions / len(vectors))
    scale = 1 / np.sqrt(np.maximum(variances, _LEAST_VARIANCE * variances[-1]))
    result: Vectors = directions @ ((axes * scale) @ axes.T).astype(np.float32)
    return result


def outputs_of(encoder: ElasticQueryEncoder, n_tokens: int, folder: Path, progress: Progress = silent) -> TokenOutputs:
    """Return the vectors of all tokens of an encoder, computed unless a file has them.

    Args:
        encoder: The full encoder.
        n_tokens: Size of its vocabulary.
        folder: Folder of the file.
        progress: Called with (activity, done, total).

    Raises:
        BuildError: The file is damaged or cannot be written.
    """
    # As queries are served, mostly in 8 bits: precise enough for a start, and several times as fast.
    fast = ElasticQueryEncoder(encoder.location, encoder.settings)
    path = folder / f"tokens-{fingerprint_of(encoder_identity(fast))[:12]}.npy"
    if not path.exists():
        vectors = token_outputs(fast, n_tokens, progress)
        with explained_os_errors(path):
            folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb") as file:
            np.save(file, vectors.astype(np.float16))
    with readable_file(path):
        saved: Vectors = np.load(path).astype(np.float32)
    tokenizer = load_encoder_tokenizer(encoder.location.path, encoder.settings.max_length)
    return TokenOutputs(saved, _probabilities(tokenizer.to_str(), n_tokens))


def _probabilities(tokenizer: str, n_tokens: int) -> Floats | None:
    """Return the probabilities of a unigram tokenizer's tokens, special ones being certain; others have none."""
    model = json.loads(tokenizer)["model"]
    if model["type"] != "Unigram":
        return None
    scores = np.array([score for _, score in model["vocab"]][:n_tokens], np.float32)
    probabilities = np.ones(n_tokens, np.float32)
    probabilities[: len(scores)] = np.exp(np.minimum(scores, 0))
    return probabilities
