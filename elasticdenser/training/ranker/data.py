"""Lists of candidates with their targets, as batches by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elasticdenser.arrays import Array, Scores
from elasticdenser.datasets.text_variants import with_variant
from elasticdenser.datasets.typing_errors import with_typing_errors
from elasticdenser.progress import Progress, silent
from elasticdenser.rankers.pairs import PairTokenizer
from elasticdenser.training.ranker.candidates import CandidatePools
from elasticdenser.training.ranker.queries import RankerQueries
from elasticdenser.training.ranker.targets import Labels
from elasticdenser.training.row_cache import cached_rows

# Each purpose has its own random numbers, so that none depends on how many were drawn for another.
_EPOCH, _LIST = 30, 31


@dataclass(frozen=True, kw_only=True, eq=False)
class RankerBatch:
    """Lists of some queries; arrays are (n_queries, list_size).

    Args:
        pairs: Token ids of the pairs of each query; fewer than `list_size` where a query has fewer candidates.
        targets: float32: the teachers' scores; NaN where unknown.
        labels: int8, as in `targets.Labels`.
    """

    pairs: list[list[list[int]]]
    targets: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.pairs)

    def rows(self, numbers: Sequence[int]) -> RankerBatch:
        """Return the lists of some queries."""
        pairs = [self.pairs[number] for number in numbers]
        return RankerBatch(pairs=pairs, targets=self.targets[list(numbers)], labels=self.labels[list(numbers)])


class RankerData:
    """Queries with their pools of candidates and targets, as batches by step.

    Args:
        queries: The queries.
        pools: Their candidates.
        targets: float32, (n_queries, n): the teachers' scores, NaN where unknown; None without teachers.
        labels: Labels of the candidates.
        tokens: Tokens of a passage by its position, as `cached_passage_tokens` returns them.
        tokenizer: Joins queries and passages.
    """

    def __init__(
        self,
        queries: RankerQueries,
        pools: CandidatePools,
        targets: Scores | None,
        labels: Labels,
        tokens: Callable[[int], list[int]],
        tokenizer: PairTokenizer,
    ) -> None:
        self._queries, self._pools, self._labels = queries, pools, labels
        self._targets = np.full(pools.shape, np.nan, np.float32) if targets is None else targets
        self._tokens, self._tokenizer = tokens, tokenizer
        self._epoch: tuple[tuple[int, int, int], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._queries)

    def batch(
        self,
        step: int,
        batch_size: int,
        list_size: int,
        *,
        seed: int,
        typo_share: float = 0.0,
        variant_share: float = 0.0,
    ) -> RankerBatch:
        """Return the batch of a step. It depends on the arguments alone, so that training can resume at any step.

        Every epoch is a permutation of all queries. Each query's list is drawn from its pool; with judgements one
        relevant candidate is drawn first.

        Args:
            step: Number of the step, from 0.
            batch_size: Number of queries.
            list_size: Maximum number of candidates of a query.
            seed: Seed of all that is drawn.
            typo_share: Probability with which a query gets one or two typing errors.
            variant_share: Probability with which a query is given as a variant (`with_variant`).
        """
        n_batches = -(-len(self) // batch_size)
        epoch, number = divmod(step, n_batches)
        order = self._order(epoch, batch_size, seed)
        rows = order[number * len(order) // n_batches : (number + 1) * len(order) // n_batches]
        rng, random = np.random.default_rng((seed, _LIST, step)), Random(f"{seed}/{step}")
        texts = [_changed(self._queries.texts[row], random, typo_share, variant_share) for row in rows.tolist()]
        pairs: list[list[list[int]]] = []
        targets = np.full((len(rows), list_size), np.nan, np.float32)
        labels = np.full((len(rows), list_size), -1, np.int8)
        for at, (row, query) in enumerate(zip(rows.tolist(), self._tokenizer.query_tokens(texts), strict=True)):
            columns = self._drawn(row, list_size, rng)
            pairs.append(
                [self._tokenizer.pair(query, self._tokens(int(self._pools[row, column]))) for column in columns]
            )
            targets[at, : len(columns)] = self._targets[row, columns]
            labels[at, : len(columns)] = self._labels[row, columns]
        return RankerBatch(pairs=pairs, targets=torch.from_numpy(targets), labels=torch.from_numpy(labels))

    def _drawn(self, row: int, list_size: int, rng: np.random.Generator) -> list[int]:
        """Return columns of a query's pool: a relevant candidate, if there is one, and others."""
        present = np.flatnonzero(self._pools[row] >= 0)
        relevant = present[self._labels[row, present] == 1]
        first = rng.permutation(relevant)[:1]
        others = rng.permutation(np.setdiff1d(present, first))
        drawn: list[int] = np.concatenate([first, others])[:list_size].tolist()
        return drawn

    def _order(self, epoch: int, batch_size: int, seed: int) -> NDArray[np.int64]:
        key = (epoch, batch_size, seed)
        if self._epoch is None or self._epoch[0] != key:
            self._epoch = key, np.random.default_rng((seed, _EPOCH, epoch)).permutation(len(self))
        return self._epoch[1]


def cached_passage_tokens(
    contents: Callable[[slice], list[str]],
    n_passages: int,
    tokenizer: PairTokenizer,
    vocabulary: int,
    path: Path,
    progress: Progress = silent,
) -> Callable[[int], list[int]]:
    """Tokenise all passages, or read what an earlier call cached; return a function from a position to its tokens.

    A row of the file is the number of tokens, then the tokens.

    Args:
        contents: Returns the texts of the passages of a slice.
        n_passages: Number of passages.
        tokenizer: Tokenizer of the pairs.
        vocabulary: Number of tokens that it knows.
        path: The file; its name must stand for all that the content depends on.
        progress: Called with (activity, done, total).

    Raises:
        BuildError: Another process makes it, or the file is damaged or cannot be written.
    """
    width = 1 + tokenizer.max_passage_tokens

    def compute(rows: slice) -> Array:
        tokenized = tokenizer.passage_tokens(contents(rows))
        table = np.zeros((len(tokenized), width), np.int64)
        for row, tokens in enumerate(tokenized):
            table[row, 0], table[row, 1 : 1 + len(tokens)] = len(tokens), tokens
        return table

    dtype = "<u2" if vocabulary <= 1 << 16 else "<u4"
    report = partial(progress, "Tokenising passages")
    table = cached_rows(path, (n_passages, width), dtype, compute, report)

    def tokens_of(position: int) -> list[int]:
        row = table[position]
        tokens: list[int] = row[1 : 1 + int(row[0])].tolist()
        return tokens

    return tokens_of


def _changed(text: str, random: Random, typo_share: float, variant_share: float) -> str:
    """Return a query as some people would type it."""
    if variant_share and random.random() < variant_share:
        text = with_variant(text, random)
    if typo_share and random.random() < typo_share:
        text = with_typing_errors(text, random.randint(1, 2), random)
    return text
