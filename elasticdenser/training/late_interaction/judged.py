"""Judged queries of a late-interaction ranker, and their candidates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from elasticdenser.datasets import load_qrels, load_queries
from elasticdenser.errors import BadInputError
from elasticdenser.models.activation_files import Bytes, encode_rows
from elasticdenser.progress import Progress
from elasticdenser.rankers.pairs import SeparateTokenizer
from elasticdenser.rankers.query_tokens import EncodeQuery
from elasticdenser.rankers.token_rows import STORED, PassageRows, StoredPassages
from elasticdenser.training.inputs import corpus_of, reservoir_sample
from elasticdenser.training.late_interaction.recipe import JudgedSettings

_BATCH = 64
"""Passages that are encoded in one call."""


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgedQueries:
    """Queries, their relevant passages, and others.

    Args:
        queries: Texts of the queries.
        relevant: For each query, the ids of its relevant passages.
        passages: Id -> text of all passages.
    """

    queries: list[str]
    relevant: list[set[str]]
    passages: dict[str, str]


def load_judged_queries(settings: JudgedSettings, *, data: Path, seed: int) -> JudgedQueries:
    """Draw queries and passages.

    Args:
        settings: What to draw.
        data: Folder that paths are relative to.
        seed: Seed of what is drawn.

    Raises:
        BadInputError: A file is missing or damaged, or no relevant passage is in the corpus.
    """
    random = Random(f"{seed}/{settings.path}/{settings.split}")
    relevant_of: dict[str, set[str]] = defaultdict(set)
    for qrel in load_qrels(data / settings.path, split=settings.split):
        if qrel.relevance > 0:
            relevant_of[qrel.query_id].add(qrel.doc_id)
    queries = load_queries(data / settings.path, split=settings.split)
    queries = [query for query in queries if query.query_id in relevant_of]
    queries = random.sample(queries, min(settings.limit, len(queries)))
    relevant = [relevant_of[query.query_id] for query in queries]
    needed: set[str] = set().union(*relevant)
    passages: dict[str, str] = {}

    def others() -> Iterator[tuple[str, str]]:
        for passage in corpus_of((settings.path,), data):
            if passage.doc_id in needed:
                passages[passage.doc_id] = passage.content
            else:
                yield passage.doc_id, passage.content

    drawn = reservoir_sample(others(), settings.n_passages, random)
    if not passages:
        raise BadInputError("no relevant passage of these queries is in the corpus: name another", settings.path)
    return JudgedQueries(queries=[query.text for query in queries], relevant=relevant, passages=passages | dict(drawn))


class JudgedLists:
    """Candidates of judged queries, with the vectors of their tokens.

    Attributes:
        queries: Token ids of each query, with special tokens.
        labels: Of each query, which candidates are relevant: bool, (n_candidates,).

    Args:
        judged: The judged queries.
        rows: Encodes passages.
        tokenizer: The ranker's.
        k: As in `JudgedSettings`.
        encode: Encodes a query by the full encoder, for the search of its nearest passages.
        progress: Called with (activity, done, total).
    """

    def __init__(
        self,
        judged: JudgedQueries,
        rows: PassageRows,
        tokenizer: SeparateTokenizer,
        *,
        k: int,
        encode: EncodeQuery,
        progress: Progress,
    ) -> None:
        self._rows = rows
        self.queries = tokenizer.queries(judged.queries)
        number_of = {doc_id: number for number, doc_id in enumerate(judged.passages)}
        self._stored = _stored(list(judged.passages.values()), rows, tokenizer, progress)
        vectors = rows.parted(self._stored).texts
        self._candidates: list[list[int]] = []
        self.labels: list[NDArray[np.bool_]] = []
        for query, relevant_ids in zip(self.queries, judged.relevant, strict=True):
            relevant = {number_of[doc_id] for doc_id in relevant_ids if doc_id in number_of}
            nearest = np.argsort(-(vectors @ encode(query).text), kind="stable")[:k].tolist()
            candidates = sorted(relevant.union(nearest))
            self._candidates.append(candidates)
            self.labels.append(np.array([number in relevant for number in candidates]))

    def passages_of(self, number: int) -> StoredPassages:
        """Return the candidates of a query, given by its number."""
        return self._rows.parted([self._stored[candidate] for candidate in self._candidates[number]])


def _stored(texts: list[str], rows: PassageRows, tokenizer: SeparateTokenizer, progress: Progress) -> list[Bytes]:
    """Return the rows of each passage as they are stored."""
    stored: list[Bytes] = []
    for start in range(0, len(texts), _BATCH):
        tokens = tokenizer.passages(texts[start : start + _BATCH])
        ends = np.cumsum([len(rows.key_of(passage)) for passage in tokens])
        stored += np.split(encode_rows(rows.encode(tokens), STORED), ends[:-1])
        progress("Encoding judged passages", len(stored), len(texts))
    return stored
