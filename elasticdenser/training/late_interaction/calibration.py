"""Calibration of a late-interaction ranker on judged queries: two numbers a subnet, which change no order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from random import Random

import numpy as np

from elasticdenser.arrays import Scores
from elasticdenser.datasets import load_qrels, load_queries
from elasticdenser.encoders.token_encoder import Projector
from elasticdenser.errors import BadInputError
from elasticdenser.models.activation_files import Bytes, encode_rows
from elasticdenser.models.calibration import Calibration, fit_calibration
from elasticdenser.progress import Progress
from elasticdenser.rankers.pairs import SeparateTokenizer
from elasticdenser.rankers.token_rows import STORED, PassageRows, passage_scores
from elasticdenser.subnet import Subnet
from elasticdenser.training.inputs import corpus_of
from elasticdenser.training.late_interaction.recipe import CalibrationSettings

_BATCH = 64
"""Passages that are encoded in one call."""


def fitted_calibrations(
    settings: CalibrationSettings,
    projectors: Mapping[Subnet, Projector],
    rows: PassageRows,
    tokenizer: SeparateTokenizer,
    *,
    vector_weight: float,
    data: Path,
    seed: int,
    progress: Progress,
) -> dict[str, Calibration]:
    """Return the calibration of each subnet by name.

    Args:
        settings: The judged queries.
        projectors: Encoder of queries at each subnet, the full encoder first.
        rows: Encodes passages.
        tokenizer: The ranker's.
        vector_weight: As in `LateInteractionSettings`.
        data: Folder that paths are relative to.
        seed: Seed of the queries and passages that are drawn.
        progress: Called with (activity, done, total).

    Raises:
        BadInputError: A file is missing or damaged, or no relevant passage is in the corpus.
    """
    random = Random(f"{seed}/calibration")
    judged = _judged_queries(settings, data, random)
    passages = _passages(settings, data, set().union(*judged.values()), random)
    number_of = {doc_id: number for number, doc_id in enumerate(passages)}
    stored = _stored(list(passages.values()), rows, tokenizer, progress)
    vectors = rows.parted(stored).texts
    full, *_ = projectors
    labels: list[bool] = []
    scores: dict[Subnet, list[Scores]] = {subnet: [] for subnet in projectors}
    for tokens, relevant_ids in zip(tokenizer.queries(list(judged)), judged.values(), strict=True):
        relevant = {number_of[doc_id] for doc_id in relevant_ids if doc_id in number_of}
        nearest = np.argsort(-(vectors @ projectors[full]([tokens]).texts[0]), kind="stable")[: settings.k].tolist()
        candidates = sorted(relevant.union(nearest))
        labels += [number in relevant for number in candidates]
        of_query = rows.parted([stored[number] for number in candidates])
        for subnet, projector in projectors.items():
            scores[subnet].append(passage_scores(projector([tokens]), of_query, vector_weight))
    if not any(labels):
        raise BadInputError("no relevant passage of these queries is in the corpus: name another", settings.path)
    return {str(subnet): fit_calibration(np.concatenate(own), np.array(labels)) for subnet, own in scores.items()}


def _judged_queries(settings: CalibrationSettings, data: Path, random: Random) -> dict[str, set[str]]:
    """Return the texts of the queries that are drawn -> ids of their relevant documents."""
    relevant: dict[str, set[str]] = defaultdict(set)
    for qrel in load_qrels(data / settings.path, split=settings.split):
        if qrel.relevance > 0:
            relevant[qrel.query_id].add(qrel.doc_id)
    queries = [
        query for query in load_queries(data / settings.path, split=settings.split) if query.query_id in relevant
    ]
    drawn = random.sample(queries, min(settings.limit, len(queries)))
    return {query.text: relevant[query.query_id] for query in drawn}


def _passages(settings: CalibrationSettings, data: Path, needed: set[str], random: Random) -> dict[str, str]:
    """Return ids of the needed passages and of others, drawn at random -> their texts."""
    corpus = list(corpus_of((settings.path,), data))
    others = [passage for passage in corpus if passage.doc_id not in needed]
    drawn = random.sample(others, min(settings.n_passages, len(others)))
    taken = [*(passage for passage in corpus if passage.doc_id in needed), *drawn]
    return {passage.doc_id: passage.content for passage in taken}


def _stored(texts: list[str], rows: PassageRows, tokenizer: SeparateTokenizer, progress: Progress) -> list[Bytes]:
    """Return the rows of each passage as they are stored."""
    stored: list[Bytes] = []
    for start in range(0, len(texts), _BATCH):
        tokens = tokenizer.passages(texts[start : start + _BATCH])
        ends = np.cumsum([len(rows.key_of(passage)) for passage in tokens])
        stored += np.split(encode_rows(rows.encode(tokens), STORED), ends[:-1])
        progress("Encoding judged passages", len(stored), len(texts))
    return stored
