"""Words as the bodies of intent models read them: tokens of an encoder, or hashed features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from elasticdenser.models.intent_model import IntentShape, WordInputs
from elasticdenser.models.pqrnn import word_features
from elasticdenser.models.projection import WordProjection
from elasticdenser.models.tokenizer import load_tokenizer


class IntentReader:
    """Reads words for a model; safe to use from several threads.

    Args:
        folder: Folder of the tokenizer; not used where words are hashed.
        shape: Shape of the model.
        max_length: Maximum number of tokens of a text, special tokens included; of hashed words, of words. Words that
            are cut off get the tag of the first token, hashed ones that of the last word which is read.

    Raises:
        ModelError: The tokenizer cannot be used.
    """

    def __init__(self, folder: Path, shape: IntentShape, max_length: int) -> None:
        self._max_length = max_length
        self._projection = None if shape.pqrnn is None else WordProjection(shape.pqrnn.projection)
        self._tokenizer = load_tokenizer(folder, max_length) if self._projection is None else None

    def read(self, texts: Sequence[Sequence[str]]) -> WordInputs:
        """Return the inputs of a batch of texts, each of at least one word."""
        if self._projection is not None:
            return self._hashed(texts, self._projection)
        if self._tokenizer is None:
            raise ValueError("got neither a projection nor a tokenizer")
        encodings = self._tokenizer.encode_batch([list(words) for words in texts], is_pretokenized=True)
        mask = _mask([len(found.ids) for found in encodings])
        token_ids = torch.zeros(mask.shape, dtype=torch.int64)
        token_ids[mask] = torch.tensor([id_ for found in encodings for id_ in found.ids])
        word_mask = _mask([len(words) for words in texts])
        places = torch.zeros(word_mask.shape, dtype=torch.int64)
        for row, found in enumerate(encodings):
            for place in reversed(range(len(found.ids))):  # the first token of a word comes last, and stays
                word = found.word_ids[place]
                if word is not None:
                    places[row, word] = place
        return WordInputs(values=token_ids, mask=mask, places=places, word_mask=word_mask)

    def _hashed(self, texts: Sequence[Sequence[str]], projection: WordProjection) -> WordInputs:
        features, mask = word_features([words[: self._max_length] for words in texts], projection)
        word_mask = _mask([len(words) for words in texts])
        places = torch.arange(word_mask.shape[1]).expand(word_mask.shape) * word_mask
        places = places.clamp(max=mask.shape[1] - 1)
        return WordInputs(values=features, mask=mask, places=places, word_mask=word_mask)


def _mask(lengths: Sequence[int]) -> Tensor:
    counts = torch.tensor(lengths)
    return torch.arange(int(counts.max())) < counts.unsqueeze(-1)
