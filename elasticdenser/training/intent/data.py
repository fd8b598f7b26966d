"""Utterances of a task as batches by step, and the outputs of a teacher for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elasticdenser.arrays import Array
from elasticdenser.classifiers.intent_inputs import IntentReader
from elasticdenser.classifiers.intent_tagger import IntentTagger
from elasticdenser.datasets.intents import Utterance
from elasticdenser.datasets.typing_errors import with_typing_errors
from elasticdenser.models.intent_model import WordInputs
from elasticdenser.training.row_cache import cached_rows

_EPOCH = 60
"""Purpose of the random numbers; others are in the data of encoders, rankers and classifiers."""

IGNORED = -100
"""Tag number of padding, which torch's cross-entropy leaves out."""

_WINDOW_BATCHES = 32
"""Batches whose utterances are sorted by length together: padding would cost as much as the words themselves."""

_BATCH = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class IntentBatch:
    """Utterances of a step.

    Args:
        inputs: The words.
        intents: int64, (n,): numbers of the intents.
        tags: int64, (n, n_words): numbers of the tags; `IGNORED` at the padding.
        target_intents: float32, (n, n_intents): the teacher's outputs; None without a teacher.
        target_tags: float32, (n, n_words, n_tags), likewise.
    """

    inputs: WordInputs
    intents: Tensor
    tags: Tensor
    target_intents: Tensor | None
    target_tags: Tensor | None

    def __len__(self) -> int:
        return len(self.intents)

    def part(self, rows: slice, device: torch.device) -> IntentBatch:
        """Return some rows on a device."""
        return IntentBatch(
            inputs=self.inputs.part(rows, device),
            intents=self.intents[rows].to(device),
            tags=self.tags[rows].to(device),
            target_intents=None if self.target_intents is None else self.target_intents[rows].to(device),
            target_tags=None if self.target_tags is None else self.target_tags[rows].to(device),
        )


class TeacherOutputs:
    """Outputs of a teacher for utterances, on the disk.

    One row of float16 for each utterance, with the logits of the intents, and after it one for each of its words, with
    those of the tags; rows are as long as the longer of both.

    Args:
        teacher: The teacher.
        utterances: The utterances.
        path: File of the outputs; computed where it is missing.
        progress: Called with the number of rows that are done, and of all rows.

    Raises:
        BuildError: Another process computes them, or the file is damaged or cannot be written.
    """

    def __init__(
        self,
        teacher: IntentTagger,
        utterances: Sequence[Utterance],
        path: Path,
        progress: Callable[[int, int], None],
    ) -> None:
        settings = teacher.manifest.settings
        self._teacher, self._utterances = teacher, utterances
        self._n_intents, self._n_tags = len(settings.intents), len(settings.tags)
        self._width = max(self._n_intents, self._n_tags)
        self._starts = np.cumsum([0, *(1 + len(utterance.words) for utterance in utterances)])
        shape = (int(self._starts[-1]), self._width)
        self._rows = cached_rows(path, shape, "<f2", self._compute, progress)

    def of(self, numbers: Sequence[int], n_words: int) -> tuple[Tensor, Tensor]:
        """Return the outputs for some utterances, as `IntentBatch` has them; words are padded to `n_words`."""
        intents = torch.zeros(len(numbers), self._n_intents)
        tags = torch.zeros(len(numbers), n_words, self._n_tags)
        for row, number in enumerate(numbers):
            found = torch.from_numpy(self._rows[self._starts[number] : self._starts[number + 1]].astype(np.float32))
            intents[row] = found[0, : self._n_intents]
            tags[row, : len(found) - 1] = found[1:, : self._n_tags]
        return intents, tags

    def _compute(self, rows: slice) -> Array:
        """Return some rows: of the utterances that they belong to, all are computed and the others cut off."""
        first = int(np.searchsorted(self._starts, rows.start, "right")) - 1
        last = int(np.searchsorted(self._starts, rows.stop, "left"))
        by_length = sorted(range(first, last), key=lambda number: len(self._utterances[number].words))
        parts: dict[int, Array] = {}
        for start in range(0, len(by_length), _BATCH):
            numbers = by_length[start : start + _BATCH]
            words = [self._utterances[number].words for number in numbers]
            intents, tags = self._teacher.outputs(words)
            for row, number in enumerate(numbers):
                part = np.zeros((1 + len(words[row]), self._width), np.float32)
                part[0, : self._n_intents] = intents[row]
                part[1:, : self._n_tags] = tags[row, : len(words[row])]
                parts[number] = part
        offset = rows.start - int(self._starts[first])
        computed: Array = np.concatenate([parts[number] for number in range(first, last)])
        return computed[offset : offset + rows.stop - rows.start]


class UtteranceData:
    """Utterances with their labels and, with a teacher, its outputs.

    Args:
        utterances: The utterances.
        reader: Reads their words.
        intents: Names of the intents.
        tags: Names of the tags.

    Attributes:
        targets: The teacher's outputs; None without a teacher.
    """

    def __init__(
        self, utterances: Sequence[Utterance], reader: IntentReader, intents: Sequence[str], tags: Sequence[str]
    ) -> None:
        self.utterances, self._reader = utterances, reader
        self._intents = {name: number for number, name in enumerate(intents)}
        self._tags = {name: number for number, name in enumerate(tags)}
        self.targets: TeacherOutputs | None = None
        self._lengths = np.array([len(utterance.words) for utterance in utterances])
        self._epoch: tuple[tuple[int, int, int], list[NDArray[np.int64]]] | None = None

    def __len__(self) -> int:
        return len(self.utterances)

    def batch(self, step: int, batch_size: int, *, seed: int, typo_share: float = 0.0) -> IntentBatch:
        """Return the batch of a step. It depends on the arguments alone, so that training can resume at any step.

        Every epoch is a permutation of all utterances, in batches of similar lengths.

        Args:
            step: Number of the step, from 0.
            batch_size: Number of utterances.
            seed: Seed of all that is drawn.
            typo_share: Probability with which a word gets a typing error.
        """
        epoch, number = divmod(step, -(-len(self) // batch_size))
        rows = self._batches(epoch, seed, batch_size)[number].tolist()
        random = Random(f"{seed}/{step}")
        texts = [_mistyped(self.utterances[row].words, random, typo_share) for row in rows]
        inputs = self._reader.read(texts)
        tags = torch.full(inputs.word_mask.shape, IGNORED)
        tags[inputs.word_mask] = torch.tensor([self._tags[tag] for row in rows for tag in self.utterances[row].tags])
        targets = (None, None) if self.targets is None else self.targets.of(rows, tags.shape[1])
        return IntentBatch(
            inputs=inputs,
            intents=torch.tensor([self._intents[self.utterances[row].intent] for row in rows]),
            tags=tags,
            target_intents=targets[0],
            target_tags=targets[1],
        )

    def _batches(self, epoch: int, seed: int, batch_size: int) -> list[NDArray[np.int64]]:
        """Return the rows of the batches of an epoch: windows of it, sorted by length and cut, in random order."""
        key = (epoch, seed, batch_size)
        if self._epoch is None or self._epoch[0] != key:
            random = np.random.default_rng((seed, _EPOCH, epoch))
            order, n_batches = random.permutation(len(self)), -(-len(self) // batch_size)
            for start in range(0, len(self), _WINDOW_BATCHES * batch_size):
                window = order[start : start + _WINDOW_BATCHES * batch_size]
                window[:] = window[np.argsort(self._lengths[window], kind="stable")]
            batches = np.array_split(order, n_batches)
            self._epoch = key, [batches[number] for number in random.permutation(n_batches)]
        return self._epoch[1]


def label_names(utterances: Sequence[Utterance]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of all intents and of all tags of utterances, sorted."""
    intents = sorted({utterance.intent for utterance in utterances})
    tags = sorted({tag for utterance in utterances for tag in utterance.tags})
    return tuple(intents), tuple(tags)


def _mistyped(words: tuple[str, ...], random: Random, share: float) -> Sequence[str]:
    if not share:
        return words
    return [with_typing_errors(word, 1, random) or word if random.random() < share else word for word in words]
