"""Raw texts and their second readings, as batches by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from elasticdenser.datasets.text_variants import with_variant
from elasticdenser.datasets.typing_errors import with_typing_errors
from elasticdenser.errors import BadInputError
from elasticdenser.models.tokenizer import load_tokenizer
from elasticdenser.training.mirror.recipe import MirrorSettings

MASKS = ("[MASK]", "<mask>")
"""Mask tokens of BERT and of RoBERTa, each with its like."""

_EPOCH = 60
"""Purpose of the random numbers; others are in the data of encoders, rankers and classifiers."""

_LEAST_CHARACTERS = 30
"""Texts with fewer are not masked: too little would be left (as in the code that Liu et al. published)."""


def with_masked_span(text: str, n_characters: int, mask: str, random: Random) -> str:
    """Return a text in which a mask token replaces some characters in sequence (random span masking, Liu et al. 2021).

    Args:
        text: Any text; one of fewer than 30 characters stays as it is.
        n_characters: Length of the span.
        mask: The mask token.
        random: Source of randomness.
    """
    if not n_characters or len(text) < max(_LEAST_CHARACTERS, n_characters + 1):
        return text
    start = random.randrange(len(text) - n_characters + 1)
    return f"{text[:start]} {mask} {text[start + n_characters :]}"


class MirrorData:
    """Texts of a mirror training.

    Args:
        texts: At least two texts.
        folder: Folder of the transformer, with its tokenizer.
        max_length: Maximum number of tokens of a text.
        settings: Settings of the steps.

    Raises:
        BadInputError: There are fewer than two texts, or spans shall be masked by a tokenizer without a mask token.
        ModelError: The tokenizer cannot be read.
    """

    def __init__(self, texts: Sequence[str], folder: Path, max_length: int, settings: MirrorSettings) -> None:
        if len(texts) < 2:
            raise BadInputError(f"got {len(texts)} training texts, expected at least two to tell apart")
        self._texts, self._settings = texts, settings
        self._tokenizer = load_tokenizer(folder, max_length)
        self._mask = _mask_of(self._tokenizer, folder) if settings.span else ""
        self._epoch: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._texts)

    def batch(self, step: int) -> list[list[int]]:
        """Return the token ids of the texts of a step, then those of their second readings in the same order.

        It depends on the settings and the step alone, so that training can resume at any step. Every epoch is a
        permutation of all texts.
        """
        settings = self._settings
        n_batches = -(-len(self) // settings.batch)
        epoch, number = divmod(step, n_batches)
        order = self._order(epoch)
        rows = order[number * len(order) // n_batches : (number + 1) * len(order) // n_batches]
        texts = [self._texts[row] for row in rows.tolist()]
        random = Random(f"{settings.seed}/{step}")
        readings = [self.second_reading(text, random) for text in texts]
        return [found.ids for found in self._tokenizer.encode_batch([*texts, *readings])]

    def second_reading(self, text: str, random: Random) -> str:
        """Return a text as it is read the second time."""
        settings = self._settings
        if random.random() < settings.variant_share:
            text = with_variant(text, random)
        if random.random() < settings.typo_share:
            text = with_typing_errors(text, random.randint(1, 2), random)
        return with_masked_span(text, settings.span, self._mask, random)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._epoch is None or self._epoch[0] != epoch:
            rows = np.random.default_rng((self._settings.seed, _EPOCH, epoch)).permutation(len(self))
            self._epoch = epoch, rows
        return self._epoch[1]


def _mask_of(tokenizer: Tokenizer, folder: Path) -> str:
    for mask in MASKS:
        if tokenizer.token_to_id(mask) is not None:
            return mask
    raise BadInputError(
        f"got a tokenizer without a mask token ({' or '.join(MASKS)}), expected one: set span = 0 in [train], which "
        "leaves dropout alone to make the readings differ",
        folder,
    )
