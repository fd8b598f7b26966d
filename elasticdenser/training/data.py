"""Training texts with the full encoder's vectors, as batches by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from elasticdenser.datasets.text_variants import with_variant
from elasticdenser.datasets.typing_errors import with_typing_errors
from elasticdenser.errors import BadInputError
from elasticdenser.index import PassageIndex
from elasticdenser.training.batches import Batch, TextReader, padded, token_ids_of

_BLOCK_BATCHES = 32
"""Batches of a block, within which texts are sorted by length: larger blocks hardly save more padding, and make
batches less random."""

_LONG_TEXT = 32
"""Number of tokens of the longest text above which a batch holds fewer texts: few queries are longer."""

_MIN_LONG_TEXTS = 4
"""Texts that a batch of long texts holds at least: the gradient of fewer is mostly noise."""

# Each purpose has its own random numbers, so that none depends on how many were drawn for another.
_EPOCH_ORDER, _BATCH_ORDER, _BANK, _LONG_TEXTS = range(4)

_TokenizedBatch = tuple[NDArray[np.int64], list[list[int]]]
"""Row numbers of the texts of a batch, and their token ids."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TextOrder:
    """Texts of consecutive steps in random order: an epoch, or texts drawn by difficulty.

    Args:
        number: Number of the epoch or period, part of the seed of all that is drawn for it.
        first_step: Number of its first step.
        n_batches: Number of its steps.
        rows: (n,), int64, n at least `n_batches`: numbers of the texts.
    """

    number: int
    first_step: int
    n_batches: int
    rows: NDArray[np.int64]


class TrainingData:
    """Training texts with the full encoder's vectors, as batches by step; made by `prepare_data`.

    Args:
        texts: The training texts.
        encoder: The full encoder, or what reads the texts for the model in training.
        index: Passages for the bank; None makes banks of targets.
        targets: float16, (n_texts, dim): vectors of the texts, as the encoder gives them.
        neighbours: int32, (n_texts, n_neighbours): positions in the index, nearest first; None without an index.
        normalized: Whether the vectors of the index are L2-normalised; None is as the encoder's settings say.
    """

    def __init__(
        self,
        texts: Sequence[str],
        encoder: TextReader,
        index: PassageIndex | None,
        *,
        targets: NDArray[np.float16],
        neighbours: NDArray[np.int32] | None,
        normalized: bool | None = None,
    ) -> None:
        self._texts, self._encoder, self._index = texts, encoder, index
        self._normalized = normalized
        self.targets, self.neighbours = targets, neighbours
        # The last epoch and the last block, each with the arguments that it was made from.
        self._cached_epoch: tuple[tuple[int, int, int], TextOrder] | None = None
        self._cached_block: tuple[tuple[TextOrder, *tuple[float, ...]], list[_TokenizedBatch]] | None = None

    def __len__(self) -> int:
        return len(self._texts)

    def batches_per_epoch(self, batch_size: int) -> int:
        """Return the number of steps in which every text is read once.

        Raises:
            BadInputError: `batch_size` is below 1.
        """
        if batch_size < 1:
            raise BadInputError(f"got batches of {batch_size} texts, expected at least 1")
        return -(-len(self) // batch_size)

    def batch(
        self,
        step: int,
        batch_size: int,
        *,
        seed: int,
        typo_share: float = 0.0,
        variant_share: float = 0.0,
        n_random: int = 512,
        order: TextOrder | None = None,
    ) -> Batch:
        """Return the batch of a step. It depends on the arguments alone, so that training can resume at any step.

        Every epoch is a permutation of all texts, cut into batches of texts of similar length. The batches of an epoch
        hold equally many texts, give or take one. Batches with texts of more than 32 tokens hold fewer, drawn at
        random; the other texts wait for another epoch.

        Args:
            step: Number of the step, from 0.
            batch_size: Maximum number of texts.
            seed: Seed of the order, the variants, the typing errors and the bank; at least 0.
            typo_share: Probability with which a text gets one or two typing errors.
            variant_share: Probability with which a text is given as a variant (`with_variant`), before typing errors.
            n_random: Passages in the bank (without an index: targets) that are drawn at random, beside the near ones.
            order: The texts of this step and its neighbours; None is an epoch.

        Raises:
            BadInputError: `batch_size` is below 1.
        """
        order = order or self._epoch(step, batch_size, seed)
        block_number, number_in_block = divmod(step - order.first_step, _BLOCK_BATCHES)
        block = self._block(order, block_number, seed, typo_share, variant_share)
        rows, sequences = block[number_in_block]
        # A batch of long texts would cost as much as ten of queries. Drawn at random, as texts are sorted by length.
        n_texts = max(_MIN_LONG_TEXTS, batch_size * _LONG_TEXT // max(_LONG_TEXT, *map(len, sequences)))
        if n_texts < len(rows):
            rng = np.random.default_rng((seed, _LONG_TEXTS, step))
            drawn = np.sort(rng.choice(len(rows), n_texts, replace=False))
            rows, sequences = rows[drawn], [sequences[number] for number in drawn]
        token_ids, mask = padded(sequences, self._encoder.settings.max_length)
        bank = self._bank(rows, np.random.default_rng((seed, _BANK, step)), n_random)
        return Batch(token_ids=token_ids, mask=mask, targets=self.normalised_targets(rows), bank=bank)

    def token_ids(self, rows: NDArray[np.int64]) -> list[list[int]]:
        """Return the token ids of texts as they are."""
        return token_ids_of(self._encoder, [self._texts[row] for row in rows])

    def _block(
        self, order: TextOrder, block_number: int, seed: int, typo_share: float, variant_share: float
    ) -> list[_TokenizedBatch]:
        """Return consecutive batches, tokenised together."""
        key = (order, block_number, seed, typo_share, variant_share)
        if self._cached_block is None or self._cached_block[0] != key:
            self._cached_block = key, self._make_block(order, block_number, seed, typo_share, variant_share)
        return self._cached_block[1]

    def _make_block(
        self, order: TextOrder, block_number: int, seed: int, typo_share: float, variant_share: float
    ) -> list[_TokenizedBatch]:
        """Return batches of texts of similar length, in random order; lengths are those of the texts as changed."""
        first = block_number * _BLOCK_BATCHES
        batch_numbers = np.arange(first, min(first + _BLOCK_BATCHES, order.n_batches) + 1)
        bounds = batch_numbers * len(order.rows) // order.n_batches
        rows = order.rows[bounds[0] : bounds[-1]]
        texts = [self._texts[row] for row in rows]
        block_seed = f"{seed}/{order.number}/{block_number}"
        if variant_share:
            random = Random(f"{block_seed}/variants")
            texts = [with_variant(text, random) if random.random() < variant_share else text for text in texts]
        random = Random(block_seed)
        texts = [
            with_typing_errors(text, random.randint(1, 2), random) if random.random() < typo_share else text
            for text in texts
        ]
        sequences = token_ids_of(self._encoder, texts)
        by_length = np.argsort([len(token_ids) for token_ids in sequences], kind="stable")
        batches = np.split(by_length, bounds[1:-1] - bounds[0])
        shuffle = np.random.default_rng((seed, _BATCH_ORDER, order.number, block_number)).permutation(len(batches))
        shuffled = [batches[number] for number in shuffle]
        return [(rows[numbers], [sequences[number] for number in numbers]) for numbers in shuffled]

    def _epoch(self, step: int, batch_size: int, seed: int) -> TextOrder:
        """Return the epoch of a step: a permutation of all texts."""
        n_batches = self.batches_per_epoch(batch_size)
        epoch = step // n_batches
        key = (epoch, batch_size, seed)
        if self._cached_epoch is None or self._cached_epoch[0] != key:
            rows = np.random.default_rng((seed, _EPOCH_ORDER, epoch)).permutation(len(self))
            first_step = epoch * n_batches
            order = TextOrder(number=epoch, first_step=first_step, n_batches=n_batches, rows=rows)
            self._cached_epoch = key, order
        return self._cached_epoch[1]

    def _bank(self, rows: NDArray[np.int64], rng: np.random.Generator, n_random: int) -> Tensor:
        if self._index is None or self.neighbours is None:
            drawn = rng.choice(len(self), min(n_random, len(self)), replace=False)
            return self.normalised_targets(np.union1d(rows, drawn))
        drawn = rng.choice(len(self._index), min(n_random, len(self._index)), replace=False)
        # Rising positions: a cold disk is read in one direction.
        positions = np.union1d(self.neighbours[rows].ravel(), drawn)
        bank = torch.from_numpy(np.array(self._index.vectors[positions]))
        # Temperatures are meant for cosines. Vectors of other lengths are scaled together: their differences count.
        normalized = self._encoder.settings.normalize if self._normalized is None else self._normalized
        return bank if normalized else bank / bank.norm(dim=-1).mean()

    def normalised_targets(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the targets of texts, float32, (n, dim), L2-normalised."""
        return F.normalize(torch.from_numpy(self.targets[rows].astype(np.float32)), dim=-1)
