"""Start of level 0 that needs few texts: the full encoder's vectors of single tokens.

As model2vec does (Tulkens and van Dongen 2024), the encoder reads each token of its vocabulary alone. The vectors are
whitened (Su et al. 2021), over the tokens of a text as they are to be expected: otherwise a few directions that all
tokens share drown the others. Frequent tokens are weighted down (smooth inverse frequency, Arora et al. 2017). Unigram
tokenizers say how frequent tokens are; for others the texts are counted, with a prior by rank, because vocabularies
begin with frequent tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from elasticdenser.arrays import Floats, Vectors, l2_normalised
from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BadInputError, QueryError
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

_PRIOR_TEXTS = 1000
"""Number of texts that the prior by rank weighs as much as."""

_AT_ONCE = 4096


class TokenEncoder(Protocol):
    """Encoder of single tokens: an `ElasticQueryEncoder`, or a substitute for one."""

    settings: EncoderSettings

    def encode_tokens(self, token_ids: range, /) -> Vectors:
        """Return float32, (n_tokens, dim)."""


class TokenOutputs(NamedTuple):
    """Vectors of single tokens.

    Args:
        vectors: float32, (n_tokens, dim), L2-normalised.
        probabilities: float32, (n_tokens,): how often the tokenizer expects each token, 1 for special ones; None if it
            does not say.
    """

    vectors: Vectors
    probabilities: Floats | None

    def weighted(self, shares: NDArray[np.float64], n_texts: int) -> Vectors:
        """Return whitened vectors, the shorter the more frequent their tokens are.

        Args:
            shares: float64, (n_tokens,): the tokens' shares of each text, summed over the texts; used if the tokenizer
                has no probabilities.
            n_texts: Number of texts.
        """
        probabilities = self.probabilities
        if probabilities is None:
            prior = 1 / np.arange(1, len(shares) + 1)  # Zipf's law
            prior /= prior.sum()
            probabilities = ((shares + _PRIOR_TEXTS * prior) / (n_texts + _PRIOR_TEXTS)).astype(np.float32)
        expected = np.where(probabilities < 1, probabilities, 0)
        weighted: Vectors = whitened(self.vectors, expected) * (_SMOOTHING / (_SMOOTHING + probabilities))[:, None]
        return weighted


def token_outputs(encoder: TokenEncoder, n_tokens: int, progress: Progress = silent) -> Vectors:
    """Encode every token of the vocabulary alone.

    Args:
        encoder: The full encoder.
        n_tokens: Size of the vocabulary.
        progress: Called with (activity, done, total).

    Returns:
        float32, (n_tokens, dim), L2-normalised.
    """
    vectors = np.empty((n_tokens, encoder.settings.dim), np.float32)
    for start in range(0, n_tokens, _AT_ONCE):
        ids = range(start, min(start + _AT_ONCE, n_tokens))
        vectors[start : ids.stop] = encoder.encode_tokens(ids)
        progress("Encoding tokens", ids.stop, n_tokens)
    return l2_normalised(vectors)


def whitened(vectors: Vectors, weights: Floats) -> Vectors:
    """Return the vectors around their mean, with equal variance in all directions.

    Args:
        vectors: float32, (n, dim).
        weights: float32, (n,): how much each counts in the mean and the variances; at least one is above 0.

    Returns:
        float32, (n, dim).
    """
    weights = weights / weights.sum()
    centred = vectors - weights @ vectors
    variances, axes = np.linalg.eigh((centred * weights[:, None]).T.astype(np.float64) @ centred)
    scale = 1 / np.sqrt(np.maximum(variances, max(_LEAST_VARIANCE * variances[-1], 1e-12)))
    result: Vectors = centred @ ((axes * scale) @ axes.T).astype(np.float32)
    return result


def outputs_of(
    encoder: ElasticQueryEncoder,
    n_tokens: int,
    folder: Path,
    *,
    device: torch.device | str = "auto",
    progress: Progress = silent,
) -> TokenOutputs:
    """Return the vectors of all tokens of an encoder, computed unless a file has them.

    Args:
        encoder: The full encoder.
        n_tokens: Size of its vocabulary.
        folder: Folder of the file.
        device: Where to compute.
        progress: Called with (activity, done, total).

    Raises:
        BuildError: The file is damaged or cannot be written.
        BadInputError: The encoder cannot encode single tokens.
    """
    path = folder / f"tokens-{fingerprint_of(encoder_identity(encoder))[:12]}.npy"
    if not path.exists():
        # As queries are served, mostly in 8 bits: precise enough for a start, and several times as fast.
        fast = ElasticQueryEncoder(encoder.location, encoder.settings, device=str(device))
        try:
            vectors = token_outputs(fast, n_tokens, progress)
        except QueryError as error:
            raise BadInputError(f"{error}: train by a recipe with start = 'embeddings' in [table]") from error
        with explained_os_errors(path):
            folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb") as file:
            np.save(file, vectors.astype(np.float16))
    with readable_file(path):
        saved: Vectors = np.load(path).astype(np.float32)
        if saved.shape != (n_tokens, encoder.dim) or not np.isfinite(saved).all():
            raise ValueError(f"got numbers of the shape {saved.shape}, expected ({n_tokens}, {encoder.dim})")
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
