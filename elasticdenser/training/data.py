"""Training texts with the full encoder's vectors, as batches by step."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from elasticdenser.datasets.typing_errors import with_typing_errors
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BadInputError
from elasticdenser.index import PassageIndex
from elasticdenser.training.batches import Batch, padded, token_ids_of

_BLOCK_BATCHES = 32
"""Batches among which texts are sorted by length: more save little padding, and make batches less random."""

_LONG_TEXT = 32
"""Tokens, as padded, from which on a batch holds fewer texts: few queries are longer."""

_MIN_LONG_TEXTS = 4
"""Texts that a batch of long texts holds at least: the gradient of fewer is mostly noise."""

# Each kind of random numbers has a generator of its own, so that none depends on how many another one has drawn.
_EPOCH_ORDER, _BATCH_ORDER, _BANK, _LONG_TEXTS = range(4)

_TokenizedBatch = tuple[NDArray[np.int64], list[list[int]]]
"""Row numbers of the texts of a batch, and their token ids."""


class TrainingData:
    """Training texts with the full encoder's vectors, as batches by step; made by `prepare_data`.

    Args:
        texts: The training texts.
        encoder: The full encoder.
        index: Passages for the bank; None makes banks of targets.
        targets: float16, (n_texts, dim): vectors of the texts, as the encoder gives them.
        neighbours: int32, (n_texts, n_neighbours): positions in the index, nearest first; None without an index.
    """

    def __init__(
        self,
        texts: Sequence[str],
        encoder: ElasticQueryEncoder,
        index: PassageIndex | None,
        *,
        targets: NDArray[np.float16],
        neighbours: NDArray[np.int32] | None,
    ) -> None:
        self._texts, self._encoder, self._index = texts, encoder, index
        self.targets, self.neighbours = targets, neighbours
        # The last epoch's order and the last block, each with the arguments that it is a function of.
        self._cached_order: tuple[tuple[int, int], NDArray[np.int64]] | None = None
        self._cached_block: tuple[tuple[float, ...], list[_TokenizedBatch]] | None = None

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

    def batch(self, step: int, batch_size: int, *, seed: int, typo_share: float = 0.0, n_random: int = 512) -> Batch:
        """Return the batch of a step. It depends on the arguments alone, so that training can resume at any step.

        Every epoch is a permutation of all texts, cut into batches of texts of similar length. The batches of an epoch
        hold equally many texts, or one more. Batches with texts of more than 32 tokens hold fewer: these are
        drawn at random, and the others wait for another epoch.

        Args:
            step: Number of the step, from 0.
            batch_size: Maximum number of texts.
            seed: Seed of the order, the typing errors and the bank; at least 0.
            typo_share: Probability with which a text gets one or two typing errors.
            n_random: Passages in the bank (without an index: targets) that are drawn at random, beside the near ones.

        Raises:
            BadInputError: `batch_size` is below 1.
        """
        epoch, batch_number = divmod(step, self.batches_per_epoch(batch_size))
        block_number, number_in_block = divmod(batch_number, _BLOCK_BATCHES)
        block = self._block(epoch, block_number, batch_size, seed, typo_share)
        rows, sequences = block[number_in_block]
        # A batch of long texts would cost as much as ten of queries. Texts are sorted by length: draw those to keep.
        n_texts = max(_MIN_LONG_TEXTS, batch_size * _LONG_TEXT // max(_LONG_TEXT, *map(len, sequences)))
        if n_texts < len(rows):
            rng = np.random.default_rng((seed, _LONG_TEXTS, step))
            drawn = np.sort(rng.choice(len(rows), n_texts, replace=False))
            rows, sequences = rows[drawn], [sequences[number] for number in drawn]
        token_ids, mask = padded(sequences, self._encoder.settings.max_length)
        bank = self._bank(rows, np.random.default_rng((seed, _BANK, step)), n_random)
        return Batch(token_ids=token_ids, mask=mask, targets=self._normalised_targets(rows), bank=bank)

    def _block(
        self, epoch: int, block_number: int, batch_size: int, seed: int, typo_share: float
    ) -> list[_TokenizedBatch]:
        """Return some batches in a row, tokenised together."""
        key = (epoch, block_number, batch_size, seed, typo_share)
        if self._cached_block is None or self._cached_block[0] != key:
            self._cached_block = key, self._make_block(epoch, block_number, batch_size, seed, typo_share)
        return self._cached_block[1]

    def _make_block(
        self, epoch: int, block_number: int, batch_size: int, seed: int, typo_share: float
    ) -> list[_TokenizedBatch]:
        """Return batches of texts of similar length, in random order; lengths are those with typing errors."""
        n_batches = self.batches_per_epoch(batch_size)
        first = block_number * _BLOCK_BATCHES
        batch_numbers = np.arange(first, min(first + _BLOCK_BATCHES, n_batches) + 1)
        bounds = batch_numbers * len(self) // n_batches
        rows = self._epoch_order(epoch, seed)[bounds[0] : bounds[-1]]
        random = Random(f"{seed}/{epoch}/{block_number}")
        texts = [
            with_typing_errors(self._texts[row], random.randint(1, 2), random)
            if random.random() < typo_share
            else self._texts[row]
            for row in rows
        ]
        sequences = token_ids_of(self._encoder, texts)
        by_length = np.argsort([len(token_ids) for token_ids in sequences], kind="stable")
        batches = np.split(by_length, bounds[1:-1] - bounds[0])
        order = np.random.default_rng((seed, _BATCH_ORDER, epoch, block_number)).permutation(len(batches))
        shuffled = [batches[number] for number in order]
        return [(rows[numbers], [sequences[number] for number in numbers]) for numbers in shuffled]

    def _epoch_order(self, epoch: int, seed: int) -> NDArray[np.int64]:
        """Return the permutation of all texts that an epoch is."""
        key = (epoch, seed)
        if self._cached_order is None or self._cached_order[0] != key:
            rng = np.random.default_rng((seed, _EPOCH_ORDER, epoch))
            self._cached_order = key, rng.permutation(len(self))
        return self._cached_order[1]

    def _bank(self, rows: NDArray[np.int64], rng: np.random.Generator, n_random: int) -> Tensor:
        if self._index is None or self.neighbours is None:
            drawn = rng.choice(len(self), min(n_random, len(self)), replace=False)
            return self._normalised_targets(np.union1d(rows, drawn))
        drawn = rng.choice(len(self._index), min(n_random, len(self._index)), replace=False)
        # Rising positions: a cold disk is read in one direction.
        positions = np.union1d(self.neighbours[rows].ravel(), drawn)
        bank = torch.from_numpy(np.array(self._index.vectors[positions]))
        # Temperatures are meant for cosines. Vectors of other lengths are scaled together: their differences count.
        return bank if self._encoder.settings.normalize else bank / bank.norm(dim=-1).mean()

    def _normalised_targets(self, rows: NDArray[np.int64]) -> Tensor:
        return F.normalize(torch.from_numpy(self.targets[rows].astype(np.float32)), dim=-1)
