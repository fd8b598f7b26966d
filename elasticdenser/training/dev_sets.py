"""Dev sets: queries with judgements or answers, on which sizes of a model in training are measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ir_measures import ScoredDoc
from torch import Tensor

from elasticdenser.arrays import Vectors
from elasticdenser.datasets import load_answers, load_qrels, load_queries
from elasticdenser.datasets.sources import is_dataset_id
from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import AnswerMatch, QuerySet, parse_measures
from elasticdenser.index import PassageIndex, layout
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.token_table import TokenTable
from elasticdenser.query_input import strictly_falling
from elasticdenser.subnet import Subnet
from elasticdenser.training.data import padded
from elasticdenser.training.settings import DevSetSettings

_K = 1000
"""Hits a query, where the measure has no cut-off."""

_BATCH = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class DevSet:
    """Queries, what tells good hits from bad, and the passages to search.

    Args:
        query_set: With one measure.
        index: Of the full encoder.
        exact: Whether all vectors are scanned.
    """

    query_set: QuerySet
    index: PassageIndex
    exact: bool

    @property
    def name(self) -> str:
        """Name and measure."""
        return f"{self.query_set.title} {self.query_set.measures[0]}"

    @property
    def texts(self) -> list[str]:
        """The queries that count."""
        return list(self.query_set.judged.values())

    def value(self, vectors: Vectors, recall: float | None = None) -> float:
        """Return the measure of query vectors, (n_texts, dim), searched with the effort for a recall@10."""
        scores, positions = self.index.search(vectors, self.query_set.k, exact=self.exact, recall=recall)
        run = [
            ScoredDoc(query_id, self.index.doc_ids[position], score)
            for query_id, its_scores, its_positions in zip(self.query_set.judged, scores, positions, strict=True)
            for score, position in zip(strictly_falling(its_scores).tolist(), its_positions.tolist(), strict=True)
            if position >= 0
        ]
        self.query_set.check(run)
        (values,) = self.query_set.measure(run)[0].values()
        return sum(values.values()) / len(values)

    def fingerprint(self) -> list[Any]:
        """Return what a value depends on beside the vectors."""
        vectors = self.index.manifest.files[layout.VECTORS].sha256
        return [self.query_set.fingerprint(), *self.query_set.measures, vectors, self.exact]


def load_dev_set(settings: DevSetSettings, index: PassageIndex, *, data: Path, seed: int) -> DevSet:
    """Load a dev set.

    Args:
        settings: Which.
        index: The passages to search.
        data: Folder that the path starts from.
        seed: Of the queries that are drawn.

    Raises:
        BadInputError: It is missing, damaged or has no judgements, or no split is said.
    """
    source, split = check_dev_set(settings, data=data), settings.split or None
    (measure,) = parse_measures([settings.measure])
    of_answers = measure.NAME == AnswerMatch.NAME
    query_set = QuerySet(
        name="dev",
        title=" ".join(filter(None, [settings.path, settings.split])),
        queries={query.query_id: query.text for query in load_queries(source, split=split)},
        qrels=() if of_answers else load_qrels(source, split=split),
        answers=load_answers(source, split=split) if of_answers else {},
        measures=[settings.measure],
        regex=settings.regex,
        k=int(measure.params.get("cutoff") or _K),
        text_of=index.text,
        has_document=lambda doc_id: index.doc_ids.find(doc_id) >= 0,
    )
    ids = sorted(query_set.judged)
    if 0 < settings.limit < len(ids):
        ids = Random(f"{seed}/{settings.path}").sample(ids, settings.limit)
    kept = set(ids)
    query_set = replace(
        query_set,
        queries={query_id: query_set.queries[query_id] for query_id in ids},
        qrels=[qrel for qrel in query_set.qrels if qrel.query_id in kept],
        answers={query_id: its for query_id, its in query_set.answers.items() if query_id in kept},
    )
    return DevSet(query_set=query_set, index=index, exact=settings.exact)


def check_dev_set(settings: DevSetSettings, *, data: Path) -> str | Path:
    """Return where the queries of a dev set are, without reading them all.

    Raises:
        BadInputError: They are missing, or no split is said.
    """
    place = data / settings.path
    if (place / "qrels").is_dir() and not settings.split:
        raise BadInputError("say which 'split' to choose by, such as dev: never the one you test on", settings.path)
    source = settings.path if not place.exists() and is_dataset_id(settings.path) else place
    next(iter(load_queries(source, split=settings.split or None)), None)
    return source


def values_of_sizes(
    model: ElasticBert, sizes: Iterable[Subnet], dev: DevSet, sequences: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Return the measure of each size of a model; depths of one width share one pass through their layers.

    Args:
        model: On any device.
        sizes: Which.
        dev: The dev set.
        sequences: Token ids of its texts.
    """
    depths: dict[float, list[int]] = {}
    for subnet in sizes:
        depths.setdefault(subnet.width, []).append(subnet.depth)
    return {
        str(Subnet(width, depth)): dev.value(vectors)
        for width, its_depths in depths.items()
        for depth, vectors in _encoded(model, width, its_depths, sequences).items()
    }


def value_of_table(table: TokenTable, dev: DevSet, sequences: Sequence[Sequence[int]]) -> float:
    """Return the measure of level 0."""
    return dev.value(_normalised(table.mean_vectors(sequences)))


@torch.inference_mode()
def _encoded(
    model: ElasticBert, width: float, depths: Sequence[int], sequences: Sequence[Sequence[int]]
) -> dict[int, Vectors]:
    """Return depth -> float32, (n, dim), L2-normalised, from one pass through the layers that depths share."""
    model.eval()
    vectors = {depth: np.empty((len(sequences), model.shape.dim), np.float32) for depth in depths}
    order = sorted(range(len(sequences)), key=lambda at: len(sequences[at]))
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        token_ids, mask = (
            part.to(model.tokens.device) for part in padded([sequences[at] for at in rows], model.shape.n_positions)
        )
        for depth, found in model.at_depths(token_ids, mask, width, depths).items():
            vectors[depth][rows] = _normalised(found)
    return vectors


def _normalised(vectors: Tensor) -> Vectors:
    found: Vectors = F.normalize(vectors.float(), dim=-1).cpu().numpy()
    return found
