"""From string to hits: questions one by one, and in batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import median

import numpy as np
from peers import ONNX, ST, K, Search
from query_bench import RECALLS, SIZES, Bench, Row, Targets, shown
from report import all_items_s, ratios, target

from elasticdenser import Retriever
from elasticdenser.engine.batch_search import RetrieverSearch
from elasticdenser.engine.request import Query

BATCH = 16

# By how many times faster than sentence-transformers and FAISS Flat; in batches, as fast as Flat can be made.
_TARGETS: Targets = {"w1-d6": (12,), "w0.25-d1": (40,), "level0": (60,)}
_BATCH_TARGETS: Targets = {"w1-d6": (3,), "w0.25-d1": (15,)}

_FLAT, _MATRIX = " + Flat", " + Flat by matrix"
_GREATEST = ", greatest effort"


def measure_one_by_one(bench: Bench) -> tuple[str, list[Row]]:
    """Return title and rows: one question at a time, through the retriever."""
    retriever = Retriever(bench.encoder, bench.index)

    def search(texts: Sequence[str], size: str, recall: float | None) -> list[list[str]]:
        return [[hit.doc_id for hit in retriever.search(text, K, subnet=size, recall=recall)] for text in texts]

    searches = _flat(bench) | {size: partial(search, size=size, recall=RECALLS[size]) for size in SIZES}
    searches |= {f"{size}{_GREATEST}": partial(search, size=size, recall=None) for size in SIZES if RECALLS[size]}
    batches = [[text] for text in bench.texts]
    times = bench.times(searches, batches)
    shared = _shared_hits(searches, batches)
    x = ratios(times, ST + _FLAT)
    rows = []
    for name, its in times.items():
        row: Row = {
            "search": shown(name),
            "effort": RECALLS.get(name) or "greatest",
            "ms": median(its) * 1e3,
            f"x ST{_FLAT}": x[name],
            **shared[name],
        }
        rows.append(row | target([x[name]], _TARGETS.get(name)))
    return f"String to {K} hits, {len(bench.index):,} passages, {len(batches)} questions one by one, medians", rows


def measure_batches(bench: Bench) -> tuple[str, list[Row]]:
    """Return title and rows: questions in batches as they come, through what the engine searches with."""
    engine = RetrieverSearch(Retriever(bench.encoder, bench.index), RECALLS)

    def search(texts: Sequence[str], size: str) -> list[list[str]]:
        found = engine.search_batch([Query(text=text, k=K) for text in texts], size)
        return [[hit.doc_id for hit in hits] for hits in found]

    searches = _flat(bench) | _flat(bench, by_matrix=True) | {size: partial(search, size=size) for size in SIZES}
    n_queries = len(bench.texts) // BATCH * BATCH
    batches = [bench.texts[at : at + BATCH] for at in range(0, n_queries, BATCH)]
    times = bench.times(searches, batches)
    shared = _shared_hits(searches, batches)
    x, x_matrix = ratios(times, ST + _FLAT), ratios(times, ST + _MATRIX)
    rows = []
    for name, its in times.items():
        row: Row = {"search": shown(name), "effort": RECALLS.get(name) or "greatest"}
        row |= {"queries a core-second": n_queries / all_items_s(its, bench.rounds)}
        row |= {f"x ST{_FLAT}": x[name], f"x ST{_MATRIX}": x_matrix[name], **shared[name]}
        rows.append(row | target([min(x[name], x_matrix[name])], _BATCH_TARGETS.get(name)))
    return f"String to {K} hits, {len(bench.index):,} passages, {n_queries} questions in batches of {BATCH}", rows


def _flat(bench: Bench, *, by_matrix: bool = False) -> dict[str, Search]:
    end = _MATRIX if by_matrix else _FLAT
    return {name + end: bench.flat.search_with(bench.peers[name], by_matrix=by_matrix) for name in (ST, ONNX)}


def _shared_hits(searches: dict[str, Search], batches: Sequence[Sequence[str]]) -> dict[str, Row]:
    found = {name: [set(hits) for batch in batches for hits in search(batch)] for name, search in searches.items()}
    exact = found[ST + _FLAT]
    return {
        name: {"hits shared": float(np.mean([len(mine & its) / K for mine, its in zip(sets, exact, strict=True)]))}
        for name, sets in found.items()
    }
