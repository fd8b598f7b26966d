"""Queries that a ranker is trained on, with the judgements and the hits of runs that are known for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from elasticdenser.datasets import load_qrels, load_queries
from elasticdenser.datasets.runs import read_run
from elasticdenser.datasets.sources import is_dataset_id
from elasticdenser.errors import BadInputError
from elasticdenser.training.ranker.settings import QuerySetSource
from elasticdenser.training.texts import TextSource, training_texts


@dataclass(frozen=True, kw_only=True, eq=False)
class RankerQueries:
    """Training queries by number.

    Args:
        texts: The queries.
        judgements: Number -> position of a judged passage -> relevance; only of queries with a relevant passage.
        hits: Number -> position of a hit -> score in the run, best first.
    """

    texts: Sequence[str]
    judgements: Mapping[int, Mapping[int, int]]
    hits: Mapping[int, Mapping[int, float]]

    def __len__(self) -> int:
        return len(self.texts)

    def sha256(self) -> str:
        """Return the SHA-256 over queries, judgements and hits."""
        digest = hashlib.sha256()
        for part in (list(self.texts), dict(self.judgements), dict(self.hits)):
            digest.update(json.dumps(part, ensure_ascii=False, sort_keys=True).encode())
        return digest.hexdigest()


def gather_queries(
    texts: Sequence[TextSource],
    query_sets: Sequence[QuerySetSource],
    find: Callable[[str], int],
    *,
    data: Path,
    seed: int,
) -> RankerQueries:
    """Gather the training queries: first those without judgements.

    Args:
        texts: Sources of queries without judgements.
        query_sets: Sources of queries by id.
        find: Returns the position of a document id among the passages, below 0 if it is not there.
        data: Folder that paths are relative to.
        seed: Seed of limits.

    Raises:
        BadInputError: A source is missing or damaged, or none of its documents is among the passages.
    """
    gathered = training_texts(texts, data=data, seed=seed) if texts else []
    judgements: dict[int, dict[int, int]] = {}
    hits: dict[int, dict[int, float]] = {}
    for source in query_sets:
        judged, found = _judgements(source, find, data), _hits(source, find, data)
        queries = {
            query.query_id: query.text for query in load_queries(_path(source, data), split=source.split or None)
        }
        query_ids = sorted(query_id for query_id in queries if query_id in judged or query_id in found)
        if not query_ids:
            raise BadInputError(
                "no query has a relevant passage or a hit among the passages of the recipe: add its corpus to "
                "'passages'",
                source.path,
            )
        if 0 < source.limit < len(query_ids):
            query_ids = sorted(Random(f"{seed}/{source.path}").sample(query_ids, source.limit))
        for number, query_id in enumerate(query_ids, len(gathered)):
            if query_id in judged:
                judgements[number] = judged[query_id]
            if query_id in found:
                hits[number] = found[query_id]
        gathered += [" ".join(queries[query_id].split()) for query_id in query_ids]
    return RankerQueries(texts=gathered, judgements=judgements, hits=hits)


def _judgements(source: QuerySetSource, find: Callable[[str], int], data: Path) -> dict[str, dict[int, int]]:
    """Return query id -> position -> relevance, of queries with a relevant passage."""
    if not source.split:
        return {}
    judged: dict[str, dict[int, int]] = {}
    for qrel in load_qrels(_path(source, data), split=source.split):
        if (position := find(qrel.doc_id)) >= 0:
            judged.setdefault(qrel.query_id, {})[position] = int(qrel.relevance)
    return {query_id: by_position for query_id, by_position in judged.items() if max(by_position.values()) > 0}


def _hits(source: QuerySetSource, find: Callable[[str], int], data: Path) -> dict[str, dict[int, float]]:
    """Return query id -> position -> score, best first."""
    found: dict[str, dict[int, float]] = {}
    if source.run:
        for hit in sorted(read_run(data / source.run), key=lambda hit: -hit.score):
            if (position := find(hit.doc_id)) >= 0:
                found.setdefault(hit.query_id, {})[position] = hit.score
    return found


def _path(source: QuerySetSource, data: Path) -> str | Path:
    path = data / source.path
    return source.path if not path.exists() and is_dataset_id(source.path) else path
