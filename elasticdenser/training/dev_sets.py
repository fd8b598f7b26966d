"""Dev sets: queries with judgements or answers, on which the subnets of a model in training are measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ir_measures import ScoredDoc
from numpy.typing import NDArray
from torch import Tensor

from elasticdenser.arrays import Vectors
from elasticdenser.datasets import load_answers, load_qrels, load_queries
from elasticdenser.datasets.sources import is_dataset_id
from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import AnswerMatch, QuerySet, parse_measures
from elasticdenser.index import PassageIndex
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.token_table import TokenTable
from elasticdenser.retrieval.scores import strictly_decreasing
from elasticdenser.subnet import Subnet
from elasticdenser.training.batches import padded
from elasticdenser.training.settings import DevSetSettings

_DEFAULT_K = 1000
"""Hits of each query where the measure has no cut-off: the depth of the runs of TREC and MS MARCO."""

_BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class DevSet:
    """Queries with judgements or answers, and the passages to search.

    Args:
        query_set: The queries, with one measure.
        index: Passages of the full encoder.
        exact: Whether all vectors are scanned.
    """

    query_set: QuerySet
    index: PassageIndex
    exact: bool

    @property
    def name(self) -> str:
        """Name of the dev set with its measure."""
        return f"{self.query_set.title} {self.query_set.measures[0]}"

    @property
    def texts(self) -> list[str]:
        """Queries that have judgements or answers."""
        return list(self.query_set.judged.values())

    def value(self, vectors: Vectors, recall: float | None = None) -> float:
        """Return the mean of the measure over the queries; see `values` for the arguments."""
        return float(self.values(vectors, recall).mean())

    def values(self, vectors: Vectors, recall: float | None = None) -> NDArray[np.float64]:
        """Return the measure of each query.

        Args:
            vectors: float32, (n_texts, dim), L2-normalised: vectors of `texts`.
            recall: Search with the least effort that reaches this recall@10; None is the greatest effort.

        Returns:
            float64, (n_texts,).
        """
        scores, positions = self.index.search(vectors, self.query_set.k, exact=self.exact, recall=recall)
        run = [
            ScoredDoc(query_id, self.index.doc_ids[position], score)
            for query_id, query_scores, query_positions in zip(self.query_set.judged, scores, positions, strict=True)
            for score, position in zip(
                strictly_decreasing(query_scores).tolist(), query_positions.tolist(), strict=True
            )
            if position >= 0
        ]
        self.query_set.check(run)
        (values,) = self.query_set.measure(run)[0].values()
        return np.array([values[query_id] for query_id in self.query_set.judged])

    def fingerprint(self) -> list[Any]:
        """Return all that a value depends on beside the vectors of the queries."""
        vectors = self.index.manifest.vectors_sha256
        return [self.query_set.fingerprint(), *self.query_set.measures, vectors, self.exact]


def load_dev_set(settings: DevSetSettings, index: PassageIndex, *, data: Path, seed: int) -> DevSet:
    """Load a dev set.

    Args:
        settings: Settings of the dev set.
        index: The passages to search.
        data: Folder that the path is relative to.
        seed: Seed of the queries that are drawn.

    Raises:
        BadInputError: Queries or judgements are missing or damaged, or the split is.
    """
    source, split = check_dev_set(settings, data=data), settings.split or None
    (measure,) = parse_measures([settings.measure])
    has_answers = measure.NAME == AnswerMatch.NAME
    query_set = QuerySet(
        name="dev",
        title=" ".join(filter(None, [settings.path, settings.split])),
        queries={query.query_id: query.text for query in load_queries(source, split=split)},
        qrels=() if has_answers else load_qrels(source, split=split),
        answers=load_answers(source, split=split) if has_answers else {},
        measures=[settings.measure],
        regex=settings.regex,
        k=int(measure.params.get("cutoff") or _DEFAULT_K),
        text_of=index.text,
        has_document=lambda doc_id: index.doc_ids.find(doc_id) >= 0,
    )
    query_ids = sorted(query_set.judged)
    if 0 < settings.limit < len(query_ids):
        query_ids = Random(f"{seed}/{settings.path}").sample(query_ids, settings.limit)
    drawn = set(query_ids)
    query_set = replace(
        query_set,
        queries={query_id: query_set.queries[query_id] for query_id in query_ids},
        qrels=[qrel for qrel in query_set.qrels if qrel.query_id in drawn],
        answers={query_id: answers for query_id, answers in query_set.answers.items() if query_id in drawn},
    )
    return DevSet(query_set=query_set, index=index, exact=settings.exact)


def check_dev_set(settings: DevSetSettings, *, data: Path) -> str | Path:
    """Return the source of a dev set's queries; at most the first of them is read.

    Raises:
        BadInputError: The queries or the split are missing.
    """
    path = data / settings.path
    if (path / "qrels").is_dir() and not settings.split:
        raise BadInputError("'split' is missing: name one, such as dev, but never the one you test on", settings.path)
    source = settings.path if not path.exists() and is_dataset_id(settings.path) else path
    next(iter(load_queries(source, split=settings.split or None)), None)
    return source


def measure_subnets(
    model: ElasticBert, subnets: Iterable[Subnet], dev: DevSet, sequences: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Return the measure of each subnet by name.

    Args:
        model: The model, on any device.
        subnets: The subnets to measure.
        dev: The dev set.
        sequences: Token ids of its texts.
    """
    return {name: dev.value(vectors) for name, vectors in subnet_vectors(model, subnets, sequences)}


def subnet_vectors(
    model: ElasticBert, subnets: Iterable[Subnet], sequences: Sequence[Sequence[int]]
) -> Iterator[tuple[str, Vectors]]:
    """Yield each subnet's name with its vectors; the subnets of one width share one pass through their layers.

    Args:
        model: The model, on any device.
        subnets: The subnets.
        sequences: Token ids of the texts.
    """
    depths_by_width: dict[float, list[int]] = {}
    for subnet in subnets:
        depths_by_width.setdefault(subnet.width, []).append(subnet.depth)
    for width, depths in depths_by_width.items():
        for depth, vectors in _vectors_by_depth(model, width, depths, sequences).items():
            yield str(Subnet(width, depth)), vectors


def level0_vectors(table: TokenTable, sequences: Sequence[Sequence[int]]) -> Vectors:
    """Return level 0's vectors of texts with these token ids: float32, (n_texts, dim), L2-normalised."""
    return _normalised(table.mean_vectors(sequences))


@torch.inference_mode()
def _vectors_by_depth(
    model: ElasticBert, width: float, depths: Sequence[int], sequences: Sequence[Sequence[int]]
) -> dict[int, Vectors]:
    """Return depth -> float32, (n, dim), L2-normalised, from one pass through the layers that depths share."""
    model.eval()
    vectors = {depth: np.empty((len(sequences), model.shape.dim), np.float32) for depth in depths}
    by_length = sorted(range(len(sequences)), key=lambda row: len(sequences[row]))
    for start in range(0, len(by_length), _BATCH_SIZE):
        rows = by_length[start : start + _BATCH_SIZE]
        token_ids, mask = (
            part.to(model.tokens.device) for part in padded([sequences[row] for row in rows], model.shape.n_positions)
        )
        for depth, batch_vectors in model.at_depths(token_ids, mask, width, depths).items():
            vectors[depth][rows] = _normalised(batch_vectors)
    return vectors


def _normalised(vectors: Tensor) -> Vectors:
    normalised: Vectors = F.normalize(vectors.float(), dim=-1).cpu().numpy()
    return normalised
