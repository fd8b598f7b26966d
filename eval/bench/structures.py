"""Search structures and their efforts on real queries: recall against exact search, and time, one thread.

    OMP_NUM_THREADS=1 python eval/bench/structures.py indexes/wiki --queries ../shared/data/nq
        [--factory IVF512,PQ96x4fs --factory PCAR128,IVF512,PQ64x4fs ...]

What chose the structure that `auto` builds. `PCAR...` are vectors of elastic dimension: rotated so that the first
dimensions hold most, scanned by those alone, and rescored with all. Every structure is built anew in memory.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from report import keep, print_table

from elasticdenser import ElasticQueryEncoder, PassageIndex, load_queries
from elasticdenser.index.efforts import Effort, possible_efforts
from elasticdenser.index.rescoring import rescore
from elasticdenser.index.structures import AtEffort, Structure

Vectors = NDArray[np.float32]

_K = 10
_FACTORIES = (
    *("PQ192x4fs", "PQ128x4fs", "PQ96x4fs", "IVF512,PQ192x4fs", "IVF256,PQ96x4fs", "IVF512,PQ96x4fs"),
    *("PCAR128,PQ64x4fs", "PCAR128,IVF512,PQ64x4fs", "PCAR256,IVF512,PQ64x4fs", "HNSW32_SQ8"),
)
_SIZES = ("w1-d6", "level0")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=Path, required=True, help="BEIR folder or file")
    parser.add_argument("--n-queries", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=64, help="queries timed alone")
    parser.add_argument("--factory", action="append", help="FAISS factory string; several are compared")
    options = parser.parse_args()
    vectors = PassageIndex.open(options.index).vectors
    texts = [query.text for query in load_queries(options.queries)][: options.n_queries]
    encoder = ElasticQueryEncoder.from_pretrained(device="cpu")
    queries = {size: encoder.encode(texts, size) for size in _SIZES}
    least = {size: _least(its, vectors) for size, its in queries.items()}
    cells: list[tuple[str, Effort, AtEffort]] = []
    for factory in options.factory or _FACTORIES:
        index = Structure.fill(vectors, factory)
        cells += [(factory, effort, AtEffort(index, effort, vectors)) for effort in possible_efforts([index])]
    times = _times([cell for *_, cell in cells], vectors, queries["w1-d6"], options.rounds)
    rows: list[dict[str, Any]] = []
    for (factory, effort, cell), seconds in zip(cells, times, strict=True):
        row: dict[str, Any] = {
            "structure": factory,
            "effort": str(effort),
            "us alone": 1e6 * seconds[0],
            "us in 16s": 1e6 * seconds[1],
        }
        for size, its in queries.items():
            scores = rescore(its, cell.candidates(its, cell.n_rescored(_K)), vectors, _K).scores
            row[f"recall@10 {size}"] = float((scores >= least[size] - 1e-5).mean())
        if row["recall@10 w1-d6"] >= 0.8:
            rows.append(row)
    print_table(f"{len(vectors):,} passages, {len(texts)} queries, k = {_K}, one thread", rows)
    keep("structures", {"passages": len(vectors), "queries": len(texts), "rounds": options.rounds, "rows": rows})


def _least(queries: Vectors, vectors: Vectors) -> Vectors:
    scores, _ = faiss.knn(queries, np.ascontiguousarray(vectors), _K, metric=faiss.METRIC_INNER_PRODUCT)
    return np.asarray(scores[:, -1:])


def _times(cells: list[AtEffort], vectors: Vectors, queries: Vectors, rounds: int) -> list[tuple[float, float]]:
    """Return for every cell the median seconds of a query alone and in 16s; all cells on one query before the next."""
    faiss.omp_set_num_threads(1)
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in cells]
    for number in range(rounds):
        for cell, (alone, together) in zip(cells, times, strict=True):
            for n, its in ((1, alone), (16, together)):
                if n > 1 and number % 8:
                    continue
                at = number * 16 % (len(queries) - 16)
                some = queries[at : at + n]
                started = perf_counter()
                rescore(some, cell.candidates(some, cell.n_rescored(_K)), vectors, _K)
                its.append((perf_counter() - started) / n)
    return [(median(alone), median(together)) for alone, together in times]


if __name__ == "__main__":
    main()
