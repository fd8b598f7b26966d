"""Examples of a task as batches by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elasticdenser.arrays import Scores
from elasticdenser.classifiers.inputs import InputTokenizer
from elasticdenser.datasets.glue import Example
from elasticdenser.datasets.typing_errors import with_typing_errors
from elasticdenser.training.batches import padded
from elasticdenser.training.classifier.augmentation import Augmentation

_EPOCH = 40
"""Purpose of the random numbers; others are in the data of encoders and rankers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ExampleBatch:
    """Examples of a step.

    Args:
        token_ids: int64, (n, length), padded with 0.
        mask: bool, (n, length): True where there is a token.
        labels: float32, (n,): numbers of classes, or shares of a regression's highest number; NaN for copies.
        targets: float32, (n, n_outputs): the teacher's outputs; None without a teacher.
    """

    token_ids: Tensor
    mask: Tensor
    labels: Tensor
    targets: Tensor | None

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: slice, device: torch.device) -> ExampleBatch:
        """Return some rows on a device."""
        return ExampleBatch(
            token_ids=self.token_ids[rows].to(device),
            mask=self.mask[rows].to(device),
            labels=self.labels[rows].to(device),
            targets=None if self.targets is None else self.targets[rows].to(device),
        )


class ExampleData:
    """Examples with their labels and, once there is a teacher, its outputs.

    With an augmentation, copies of all examples follow the examples, then further copies of all, and so on. They are
    made when they are read.

    Args:
        examples: The examples.
        tokenizer: Joins pairs of texts.
        highest: Highest number of a regression; 0 for classes.
        augmentation: Makes copies without labels; None makes none.

    Attributes:
        examples: As given, without copies.
        augmentation: As given.
        targets: float32, (n_examples_and_copies, n_outputs): the teacher's outputs; None without a teacher.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        tokenizer: InputTokenizer,
        highest: float,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.examples, self.augmentation, self._tokenizer = examples, augmentation, tokenizer
        n_copies = 0 if augmentation is None else augmentation.settings.copies
        self._labels = np.full(len(examples) * (1 + n_copies), np.nan, np.float32)
        self._labels[: len(examples)] = [example.label / (highest or 1.0) for example in examples]
        self.targets: Scores | None = None
        self._epoch: tuple[tuple[int, int], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, step: int, batch_size: int, *, seed: int, typo_share: float = 0.0) -> ExampleBatch:
        """Return the batch of a step. It depends on the arguments alone, so that training can resume at any step.

        Every epoch is a permutation of all examples and copies.

        Args:
            step: Number of the step, from 0.
            batch_size: Number of examples.
            seed: Seed of all that is drawn.
            typo_share: Probability with which the first text of an example or copy gets one or two typing errors.
        """
        n_batches = -(-len(self) // batch_size)
        epoch, number = divmod(step, n_batches)
        order = self._order(epoch, seed)
        rows = order[number * len(order) // n_batches : (number + 1) * len(order) // n_batches]
        random = Random(f"{seed}/{step}")
        texts = [_mistyped(self._texts(row), random, typo_share) for row in rows.tolist()]
        return self._batch_of(rows, texts)

    def in_order(self, start: int, stop: int) -> ExampleBatch:
        """Return some examples and copies without typing errors, in their order."""
        rows = np.arange(start, min(stop, len(self)))
        return self._batch_of(rows, [self._texts(row) for row in rows.tolist()])

    def _texts(self, row: int) -> tuple[str, ...]:
        texts = self.examples[row % len(self.examples)].texts
        if self.augmentation is None or row < len(self.examples):
            return texts
        return self.augmentation.copy(texts, row)

    def _batch_of(self, rows: NDArray[np.int64], texts: Sequence[Sequence[str]]) -> ExampleBatch:
        token_ids, mask = padded(self._tokenizer.tokenize(texts))
        targets = None if self.targets is None else torch.from_numpy(np.array(self.targets[rows]))
        return ExampleBatch(
            token_ids=token_ids, mask=mask, labels=torch.from_numpy(self._labels[rows]), targets=targets
        )

    def _order(self, epoch: int, seed: int) -> NDArray[np.int64]:
        key = (epoch, seed)
        if self._epoch is None or self._epoch[0] != key:
            self._epoch = key, np.random.default_rng((seed, _EPOCH, epoch)).permutation(len(self))
        return self._epoch[1]


def _mistyped(texts: tuple[str, ...], random: Random, share: float) -> tuple[str, ...]:
    if not share or random.random() >= share:
        return texts
    return (with_typing_errors(texts[0], random.randint(1, 2), random), *texts[1:])
