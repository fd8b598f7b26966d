"""What training reads: the full encoder's vectors and their nearest passages, kept on disk, in batches by step.

Layout of the folder, where a name is the first 12 digits of a SHA-256 over all that its content depends on:

    NAME/about.json       what the targets were made of
    NAME/targets.f16      float16, (n_texts, dim): vectors of the full encoder, as it gives them
    NAME/neighbours.i32   int32, (n_texts, n_neighbours): positions in an index, nearest first; in a NAME of its own
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from elasticdenser.artifacts import write_json
from elasticdenser.datasets.typing_errors import with_typing_errors
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BadInputError
from elasticdenser.index import PassageIndex, layout
from elasticdenser.progress import Progress, silent
from elasticdenser.query_input import check_query
from elasticdenser.training.row_cache import kept_rows

_BLOCK = 32
"""Batches among which texts are sorted by length: more save little padding, and make batches less random."""

_LONG = 32
"""Tokens of a text, as padded, from which on its batch holds fewer texts."""

_FEWEST = 4
"""Texts of such a batch at least, where there are as many."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What one step of training reads.

    Args:
        token_ids: int64, (n, length), padded with 0.
        mask: bool, (n, length): True where there is a token.
        targets: float32, (n, dim), L2-normalised: the full encoder's vectors of the texts without typing errors.
        bank: float32, (m, dim), in no telling order: vectors of passages, as the index has them, the nearest of each
            query among them; without an index the batch's targets and others.
    """

    token_ids: Tensor
    mask: Tensor
    targets: Tensor
    bank: Tensor


_Tokenized = tuple[NDArray[np.int64], list[list[int]]]
"""Numbers of the texts of a batch, and their token ids."""


class TrainingData:
    """Texts with the full encoder's vectors, in batches; made by `prepare`.

    Attributes:
        targets: float16, (n_texts, dim), memory-mapped, as the encoder gives them.
        neighbours: int32, (n_texts, n_neighbours), memory-mapped: positions in the index, nearest first; None
            without an index.
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
        self._order: tuple[tuple[int, int], NDArray[np.int64]] | None = None
        self._block: tuple[tuple[float, ...], list[_Tokenized]] | None = None

    @classmethod
    def prepare(
        cls,
        texts: Sequence[str],
        encoder: ElasticQueryEncoder,
        index: PassageIndex | None,
        folder: Path,
        *,
        n_neighbours: int = 8,
        progress: Progress = silent,
    ) -> TrainingData:
        """Encode the texts and find their nearest passages, or read what an earlier call kept of these very ones.

        A call that was interrupted goes on where it was. Other texts, another encoder or another index get folders of
        their own beside it; nothing is deleted.

        Args:
            texts: The training texts.
            encoder: The full encoder; its vectors, in its arithmetic, are the targets.
            index: Passages of the same encoder, or None.
            folder: Where targets and neighbours are kept.
            n_neighbours: Nearest passages of each text, at least 1; capped at the number of passages.
            progress: Called with (what, done, of how many).

        Raises:
            BadInputError: There are no texts, or n_neighbours is below 1.
            QueryError: A text is empty or not Unicode.
            EncoderMismatchError: The index was made by another encoder.
            BuildError: Another process prepares the same texts, a kept file is damaged, or the disk refuses.
        """
        texts = list(texts)
        if not texts:
            raise BadInputError("got no training texts; expected at least one")
        if n_neighbours < 1:
            raise BadInputError(f"got {n_neighbours} neighbours of each text; expected at least 1")
        for number, text in enumerate(texts, 1):
            check_query(text, f"training text number {number}")
        if index is not None:
            index.check_encoder(encoder.fingerprint)
        about = {"n_texts": len(texts), "texts_sha256": texts_sha256(texts), "encoder": identity_of(encoder)}
        place = folder / _name(about)
        targets = kept_rows(
            place / "targets.f16",
            (len(texts), encoder.dim),
            "<f2",
            lambda rows: encoder.encode(texts[rows]),
            partial(progress, "Encoding training texts"),
        )
        if not (place / "about.json").exists():
            write_json(place / "about.json", about)
        neighbours = None
        if index is not None:
            neighbours = _neighbours(index, targets, folder, about, n_neighbours, progress)
        return cls(texts, encoder, index, targets=targets, neighbours=neighbours)

    def __len__(self) -> int:
        return len(self._texts)

    def batches_per_epoch(self, size: int) -> int:
        """Return after how many steps every text had its turn.

        Raises:
            BadInputError: `size` is below 1.
        """
        if size < 1:
            raise BadInputError(f"got batches of {size} texts; expected at least 1")
        return -(-len(self) // size)

    def batch(self, step: int, size: int, *, seed: int, typo_share: float = 0.0, n_random: int = 512) -> Batch:
        """Return the batch of a step. It depends on the arguments alone, so that training can go on from any step.

        Every epoch is a permutation of all texts, cut into batches of texts of similar length. The batches of an epoch
        hold equally many texts, give or take one; of texts of more than 32 tokens fewer: those are drawn at random, and
        the rest waits for another epoch.

        Args:
            step: From 0.
            size: Texts of a batch at most.
            seed: Of the order, the typing errors and the bank; at least 0.
            typo_share: Probability with which a text gets one or two typing errors.
            n_random: Passages in the bank (without an index: targets) that are drawn at random, beside the near ones.

        Raises:
            BadInputError: `size` is below 1.
        """
        epoch, at = divmod(step, self.batches_per_epoch(size))
        block, within = divmod(at, _BLOCK)
        key = (epoch, block, size, seed, typo_share)
        # What is remembered of the last call only saves time: it is a function of its key.
        made = self._block
        if made is None or made[0] != key:
            self._block = made = key, self._make_block(epoch, block, size, seed, typo_share)
        rows, sequences = made[1][within]
        # One batch of long texts would cost as much as ten of queries. They are sorted: which are kept is drawn.
        keep = max(_FEWEST, size * _LONG // max(_LONG, *map(len, sequences)))
        if keep < len(rows):
            kept = np.sort(np.random.default_rng((seed, 3, step)).choice(len(rows), keep, replace=False))
            rows, sequences = rows[kept], [sequences[place] for place in kept]
        token_ids, mask = padded(sequences, self._encoder.settings.max_length)
        bank = self._bank(rows, np.random.default_rng((seed, 2, step)), n_random)
        return Batch(token_ids=token_ids, mask=mask, targets=self._targets_of(rows), bank=bank)

    def _make_block(self, epoch: int, block: int, size: int, seed: int, typo_share: float) -> list[_Tokenized]:
        """Return batches of texts of similar length, in random order; lengths are those with typing errors."""
        n_batches = self.batches_per_epoch(size)
        numbers = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, n_batches) + 1)
        bounds = numbers * len(self) // n_batches
        rows = self._permutation(epoch, seed)[bounds[0] : bounds[-1]]
        random = Random(f"{seed}/{epoch}/{block}")
        texts = [
            with_typing_errors(self._texts[row], random.randint(1, 2), random)
            if random.random() < typo_share
            else self._texts[row]
            for row in rows
        ]
        sequences = token_ids_of(self._encoder, texts)
        by_length = np.argsort([len(ids) for ids in sequences], kind="stable")
        batches = np.split(by_length, bounds[1:-1] - bounds[0])
        order = np.random.default_rng((seed, 1, epoch, block)).permutation(len(batches))
        return [(rows[batches[at]], [sequences[place] for place in batches[at]]) for at in order]

    def _permutation(self, epoch: int, seed: int) -> NDArray[np.int64]:
        key = (epoch, seed)
        made = self._order
        if made is None or made[0] != key:
            self._order = made = key, np.random.default_rng((seed, 0, epoch)).permutation(len(self))
        return made[1]

    def _bank(self, rows: NDArray[np.int64], rng: np.random.Generator, n_random: int) -> Tensor:
        if self._index is None or self.neighbours is None:
            drawn = rng.choice(len(self), min(n_random, len(self)), replace=False)
            return self._targets_of(np.union1d(rows, drawn))
        drawn = rng.choice(len(self._index), min(n_random, len(self._index)), replace=False)
        # Rising positions: a cold disk is read in one direction.
        positions = np.union1d(self.neighbours[rows].ravel(), drawn)
        bank = torch.from_numpy(np.array(self._index.vectors[positions]))
        # Temperatures are meant for cosines; among vectors of other lengths, differences of length stay.
        return bank if self._encoder.settings.normalize else bank / bank.norm(dim=-1).mean()

    def _targets_of(self, rows: NDArray[np.int64]) -> Tensor:
        return F.normalize(torch.from_numpy(self.targets[rows].astype(np.float32)), dim=-1)


def _neighbours(
    index: PassageIndex,
    targets: NDArray[np.float16],
    folder: Path,
    about: dict[str, Any],
    n_neighbours: int,
    progress: Progress,
) -> NDArray[np.int32]:
    n_neighbours = min(n_neighbours, len(index))
    # Positions hold for these vectors in this order alone, whatever corpus and encoder they are said to be of.
    vectors_sha256 = index.manifest.files[layout.VECTORS].sha256
    structure = asdict(index.manifest.structure)
    about = {**about, "vectors_sha256": vectors_sha256, "structure": structure, "n_neighbours": n_neighbours}
    return kept_rows(
        folder / _name(about) / "neighbours.i32",
        (len(targets), n_neighbours),
        "<i4",
        # What was kept, not what was encoded: the same neighbours, interrupted or not.
        lambda rows: index.search(targets[rows].astype(np.float32), n_neighbours)[1],
        partial(progress, "Finding nearest passages"),
    )


def token_ids_of(encoder: ElasticQueryEncoder, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of queries, as the encoder reads them when it encodes."""
    # Private, but of this package.
    return encoder._tokenize(texts, encoder.settings.query_prompt)


def padded(sequences: Sequence[Sequence[int]], most: int | None = None) -> tuple[Tensor, Tensor]:
    """Return token ids, int64, (n, length), padded with 0, and the mask, bool, that is True where there is a token.

    Args:
        sequences: Of at most `most` tokens each.
        most: Tokens that the encoder takes; None is any number.
    """
    lengths = np.array([len(ids) for ids in sequences])
    # Few different lengths: oneDNN compiles its kernels for each.
    step = 2 if lengths.max() <= 16 else 8
    mask = np.arange(min(-(-lengths.max() // step) * step, most or sys.maxsize)) < lengths[:, None]
    token_ids = np.zeros(mask.shape, np.int64)
    token_ids[mask] = np.concatenate([np.asarray(ids, np.int64) for ids in sequences])
    return torch.from_numpy(token_ids), torch.from_numpy(mask)


def identity_of(encoder: ElasticQueryEncoder) -> dict[str, Any]:
    """Return what an encoder's vectors depend on; where it lies is not part of that."""
    fingerprint = encoder.fingerprint.to_json()
    return {key: fingerprint[key] for key in ("weights_sha256", "settings", "dtype")}


def texts_sha256(texts: Sequence[str]) -> str:
    """Return the SHA-256 over texts in their order."""
    digest = hashlib.sha256()
    for text in texts:
        raw = text.encode()
        digest.update(b"%d:" % len(raw) + raw)
    return digest.hexdigest()


def _name(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
