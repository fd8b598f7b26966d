"""From string to hits: questions one by one, and in batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import median

import numpy as np
from peers import ONNX, ST, K, Search
from query_bench import RECALLS, SUBNETS, Bench, Row, Targets, shown
from report import all_items_s, ratios, target_columns

from elasticdenser import Retriever
from elasticdenser.engine.batch_search import RetrieverSearch
from elasticdenser.engine.request import Query

BATCH = 16

# Targets of the speed-up over sentence-transformers with FAISS Flat; in batches, with Flat made as fast as it can be.
_TARGETS: Targets = {"w1-d6": (12,), "w0.25-d1": (40,), "level0": (60,)}
_BATCH_TARGETS: Targets = {"w1-d6": (3,), "w0.25-d1": (15,)}

_FLAT, _MATRIX = " + Flat", " + Flat by matrix"
_GREATEST = ", greatest effort"


def measure_one_by_one(bench: Bench) -> tuple[str, list[Row]]:
    """Return title and rows: one question at a time, through the retriever."""
    retriever = Retriever(bench.encoder, bench.index)

    def search(texts: Sequence[str], subnet: str, recall: float | None) -> list[list[str]]:
        return [[hit.doc_id for hit in retriever.search(text, K, subnet=subnet, recall=recall)] for text in texts]

    searches = _flat(bench) | {subnet: partial(search, subnet=subnet, recall=RECALLS[subnet]) for subnet in SUBNETS}
    searches |= {
        f"{subnet}{_GREATEST}": partial(search, subnet=subnet, recall=None) for subnet in SUBNETS if RECALLS[subnet]
    }
    batches = [[text] for text in bench.texts]
    times = bench.times(searches, batches)
    shared = _shared_hits(searches, batches)
    x = ratios(times, ST + _FLAT)
    rows = []
    for name, seconds in times.items():
        row: Row = {
            "search": shown(name),
            "effort": RECALLS.get(name) or "greatest",
            "ms": median(seconds) * 1e3,
            f"x ST{_FLAT}": x[name],
            **shared[name],
        }
        rows.append(row | target_columns([x[name]], _TARGETS.get(name)))
    return f"String to {K} hits, {len(bench.index):,} passages, {len(batches)} questions one by one, medians", rows


def measure_batches(bench: Bench) -> tuple[str, list[Row]]:
    """Return title and rows: questions in batches in their order, through the engine's `RetrieverSearch`."""
    engine = RetrieverSearch(Retriever(bench.encoder, bench.index), RECALLS)

    def search(texts: Sequence[str], subnet: str) -> list[list[str]]:
        hits_of_texts = engine.search_batch([Query(text=text, k=K) for text in texts], subnet)
        return [[hit.doc_id for hit in hits] for hits in hits_of_texts]

    searches = (
        _flat(bench) | _flat(bench, by_matrix=True) | {subnet: partial(search, subnet=subnet) for subnet in SUBNETS}
    )
    n_queries = len(bench.texts) // BATCH * BATCH
    batches = [bench.texts[start : start + BATCH] for start in range(0, n_queries, BATCH)]
    times = bench.times(searches, batches)
    shared = _shared_hits(searches, batches)
    x, x_matrix = ratios(times, ST + _FLAT), ratios(times, ST + _MATRIX)
    rows = []
    for name, seconds in times.items():
        row: Row = {"search": shown(name), "effort": RECALLS.get(name) or "greatest"}
        row |= {"queries a core-second": n_queries / all_items_s(seconds, bench.rounds)}
        row |= {f"x ST{_FLAT}": x[name], f"x ST{_MATRIX}": x_matrix[name], **shared[name]}
        rows.append(row | target_columns([min(x[name], x_matrix[name])], _BATCH_TARGETS.get(name)))
    return f"String to {K} hits, {len(bench.index):,} passages, {n_queries} questions in batches of {BATCH}", rows


def _flat(bench: Bench, *, by_matrix: bool = False) -> dict[str, Search]:
    end = _MATRIX if by_matrix else _FLAT
    return {name + end: bench.flat.search_with(bench.peers[name], by_matrix=by_matrix) for name in (ST, ONNX)}


def _shared_hits(searches: dict[str, Search], batches: Sequence[Sequence[str]]) -> dict[str, Row]:
    hits_of = {name: [set(hits) for batch in batches for hits in search(batch)] for name, search in searches.items()}
    exact_hits = hits_of[ST + _FLAT]
    return {
        name: {
            "hits shared": float(np.mean([len(hits & exact) / K for hits, exact in zip(sets, exact_hits, strict=True)]))
        }
        for name, sets in hits_of.items()
    }
