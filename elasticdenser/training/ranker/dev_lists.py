"""Dev lists: candidates of queries with judgements or answers, which the subnets of a ranker put in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ir_measures import ScoredDoc
from numpy.typing import NDArray

from elasticdenser.datasets.runs import read_run
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import QuerySet
from elasticdenser.index import PassageIndex
from elasticdenser.models.scorer import ElasticScorer
from elasticdenser.rankers.elastic_ranker import length_batches
from elasticdenser.rankers.pairs import PairTokenizer
from elasticdenser.retrieval.scores import strictly_decreasing
from elasticdenser.subnet import Subnet
from elasticdenser.training.batches import padded
from elasticdenser.training.dev_sets import load_dev_set
from elasticdenser.training.ranker.settings import DevListSettings

_BATCH_TOKENS = {"cpu": 4096}
_GPU_BATCH_TOKENS = 131_072


@dataclass(frozen=True, kw_only=True, eq=False)
class DevLists:
    """Queries with judgements or answers, and the candidates of each.

    Args:
        name: Name, with the measure.
        query_set: The queries, with one measure.
        candidates: Query id -> document ids, in the order of the first stage.
        pairs: Token ids of all pairs, query by query.
    """

    name: str
    query_set: QuerySet
    candidates: Mapping[str, Sequence[str]]
    pairs: Sequence[Sequence[int]]

    def first_stage(self) -> float:
        """Return the measure of the candidates in the order of the first stage."""
        return self.value(-np.concatenate([np.arange(len(docs)) for docs in self.candidates.values()]))

    def value(self, scores: NDArray[Any]) -> float:
        """Return the measure of the candidates in the order of scores, (n_pairs,); equal ones keep their order."""
        run, start = [], 0
        for query_id, doc_ids in self.candidates.items():
            own = scores[start : start + len(doc_ids)].astype(np.float32)
            order = np.argsort(-own, kind="stable")
            ranked = strictly_decreasing(own[order]).tolist()
            run += [ScoredDoc(query_id, doc_ids[at], score) for at, score in zip(order, ranked, strict=True)]
            start += len(doc_ids)
        (values,) = self.query_set.measure(run)[0].values()
        return float(np.mean([values[query_id] for query_id in self.query_set.judged]))

    def relevant(self) -> NDArray[np.bool_] | None:
        """Return whether each candidate is judged relevant, bool, (n_pairs,); None without judgements."""
        if not self.query_set.qrels:
            return None
        relevant = {(qrel.query_id, qrel.doc_id) for qrel in self.query_set.qrels if qrel.relevance > 0}
        ids = ((query_id, doc_id) for query_id, doc_ids in self.candidates.items() for doc_id in doc_ids)
        return np.array([pair in relevant for pair in ids], bool)

    def measure_subnets(
        self, model: ElasticScorer, subnets: Sequence[Subnet], *, bfloat16: bool = False
    ) -> dict[str, float]:
        """Return the measure of each subnet by name; the subnets of one width share one pass through their layers."""
        depths: dict[float, list[int]] = {}
        for subnet in subnets:
            depths.setdefault(subnet.width, []).append(subnet.depth)
        return {
            str(Subnet(width, depth)): self.value(scores)
            for width, depths_of_width in depths.items()
            for depth, scores in scores_at_depths(model, self.pairs, width, depths_of_width, bfloat16=bfloat16).items()
        }

    def fingerprint(self) -> list[Any]:
        """Return all that a value depends on beside the model."""
        candidates = {query_id: list(doc_ids) for query_id, doc_ids in self.candidates.items()}
        return [self.query_set.fingerprint(), *self.query_set.measures, candidates]


@torch.inference_mode()
def scores_at_depths(
    model: ElasticScorer,
    pairs: Sequence[Sequence[int]],
    width: float,
    depths: Sequence[int],
    *,
    bfloat16: bool = False,
) -> dict[int, NDArray[np.float32]]:
    """Return depth -> scores of pairs, float32, (n_pairs,)."""
    model.eval()
    device = model.tokens.device
    scores = {depth: np.empty(len(pairs), np.float32) for depth in depths}
    max_tokens = _BATCH_TOKENS.get(device.type, _GPU_BATCH_TOKENS)
    for batch in length_batches([len(pair) for pair in pairs], max_tokens):
        token_ids, mask = padded([pairs[number] for number in batch])
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
            outputs = model.at_depths(token_ids.to(device), mask.to(device), width, depths)
        for depth, output in outputs.items():
            scores[depth][batch] = output[:, 0].float().cpu().numpy()
    return scores


def load_dev_lists(
    settings: DevListSettings,
    index: PassageIndex,
    encoder: ElasticQueryEncoder,
    tokenizer: PairTokenizer,
    *,
    data: Path,
    seed: int,
) -> DevLists:
    """Load dev lists.

    Args:
        settings: Their settings.
        index: The passages.
        encoder: The encoder of the index, for candidates where there is no run.
        tokenizer: Tokenizer of pairs.
        data: Folder that paths are relative to.
        seed: Seed of the queries that are drawn.

    Raises:
        BadInputError: A file is missing or damaged, or no candidate is among the passages.
    """
    dev = load_dev_set(settings, index, data=data, seed=seed)
    query_set = dev.query_set
    queries = query_set.judged
    hits = _run_hits(settings, data) if settings.run else _nearest(queries, index, encoder, settings.k)
    candidates = {
        query_id: [doc_id for doc_id in hits(query_id) if index.doc_ids.find(doc_id) >= 0][: settings.k]
        for query_id in queries
    }
    candidates = {query_id: doc_ids for query_id, doc_ids in candidates.items() if doc_ids}
    if not candidates:
        raise BadInputError(
            "no candidate of these dev lists is among the passages: add their corpus to 'passages' of the recipe or of "
            "the dev lists",
            settings.path,
        )
    pairs: list[list[int]] = []
    for query_id, doc_ids in candidates.items():
        (query,) = tokenizer.query_tokens([queries[query_id]])
        passages = tokenizer.passage_tokens([index.passage(doc_id).content for doc_id in doc_ids])
        pairs += [tokenizer.pair(query, passage) for passage in passages]
    name = f"{dev.name} {settings.run}".strip()
    return DevLists(name=name, query_set=query_set, candidates=candidates, pairs=pairs)


def _run_hits(settings: DevListSettings, data: Path) -> Callable[[str], list[str]]:
    found: dict[str, list[str]] = {}
    for hit in sorted(read_run(data / settings.run), key=lambda hit: -hit.score):
        found.setdefault(hit.query_id, []).append(hit.doc_id)
    return lambda query_id: found.get(query_id, [])


def _nearest(
    queries: Mapping[str, str], index: PassageIndex, encoder: ElasticQueryEncoder, k: int
) -> Callable[[str], list[str]]:
    positions = index.search(encoder.encode(list(queries.values())), min(k, len(index)))[1]
    found = {
        query_id: [index.doc_ids[position] for position in row if position >= 0]
        for query_id, row in zip(queries, positions.tolist(), strict=True)
    }
    return found.__getitem__
