"""Search structures and their efforts on real queries: recall against exact search, and time, one thread.

    OMP_NUM_THREADS=1 python eval/bench/structures.py indexes/wiki --queries ../shared/data/nq
        [--factory IVF512,PQ96x4fs --factory PCAR128,IVF512,PQ64x4fs ...]

The structure that `auto` builds was chosen by its results. `PCAR...` rotates the vectors so that the first dimensions
hold most of the variance, scans these dimensions, and rescores with all. Structures are built in memory.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import faiss
import numpy as np
from report import append_result, print_table

from elasticdenser import ElasticQueryEncoder, PassageIndex, load_queries
from elasticdenser.arrays import Vectors
from elasticdenser.index.efforts import Effort
from elasticdenser.index.rescoring import rescore
from elasticdenser.index.structures import CandidateSource
from elasticdenser.index.structures.faiss_structure import FaissStructure
from elasticdenser.progress import silent

_K = 10
_FACTORIES = (
    *("PQ192x4fs", "PQ128x4fs", "PQ96x4fs", "IVF512,PQ192x4fs", "IVF256,PQ96x4fs", "IVF512,PQ96x4fs"),
    *("PCAR128,PQ64x4fs", "PCAR128,IVF512,PQ64x4fs", "PCAR256,IVF512,PQ64x4fs", "HNSW32_SQ8"),
)
_SUBNETS = ("w1-d6", "level0")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=Path, required=True, help="BEIR folder or file")
    parser.add_argument("--n-queries", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=64, help="number of queries timed one by one")
    parser.add_argument("--factory", action="append", help="FAISS factory string; several are compared")
    options = parser.parse_args()
    vectors = np.asarray(PassageIndex.open(options.index).vectors)
    texts = [query.text for query in load_queries(options.queries)][: options.n_queries]
    encoder = ElasticQueryEncoder.from_pretrained(device="cpu")
    queries = {subnet: encoder.encode(texts, subnet) for subnet in _SUBNETS}
    kth_scores = {subnet: _kth_scores(by_subnet, vectors) for subnet, by_subnet in queries.items()}
    cells: list[tuple[str, Effort, CandidateSource]] = []
    for factory in options.factory or _FACTORIES:
        structure = FaissStructure.build(factory, vectors, silent)
        cells += [(factory, effort, structure.at(effort)) for effort in structure.efforts()]
    times = _times([source for *_, source in cells], vectors, queries["w1-d6"], options.rounds)
    rows: list[dict[str, Any]] = []
    for (factory, effort, source), seconds in zip(cells, times, strict=True):
        row: dict[str, Any] = {
            "structure": factory,
            "effort": str(effort),
            "us alone": 1e6 * seconds[0],
            "us in 16s": 1e6 * seconds[1],
        }
        for subnet, by_subnet in queries.items():
            candidates = source.candidates(by_subnet, source.n_candidates(_K))
            scores = rescore(by_subnet, candidates, vectors, _K).scores
            row[f"recall@10 {subnet}"] = float((scores >= kth_scores[subnet] - 1e-5).mean())
        if row["recall@10 w1-d6"] >= 0.8:
            rows.append(row)
    print_table(f"{len(vectors):,} passages, {len(texts)} queries, k = {_K}, one thread", rows)
    append_result(
        "structures", {"passages": len(vectors), "queries": len(texts), "rounds": options.rounds, "rows": rows}
    )


def _kth_scores(queries: Vectors, vectors: Vectors) -> Vectors:
    scores, _ = faiss.knn(queries, np.ascontiguousarray(vectors), _K, metric=faiss.METRIC_INNER_PRODUCT)
    return np.asarray(scores[:, -1:])


def _times(
    sources: list[CandidateSource], vectors: Vectors, queries: Vectors, rounds: int
) -> list[tuple[float, float]]:
    """Return the median seconds a query, alone and in batches of 16; all sources search a query before the next one."""
    faiss.omp_set_num_threads(1)
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in sources]
    for number in range(rounds):
        for source, (alone, together) in zip(sources, times, strict=True):
            for n, seconds in ((1, alone), (16, together)):
                if n > 1 and number % 8:
                    continue
                start = number * 16 % (len(queries) - 16)
                batch = queries[start : start + n]
                started = perf_counter()
                rescore(batch, source.candidates(batch, source.n_candidates(_K)), vectors, _K)
                seconds.append((perf_counter() - started) / n)
    return [(median(alone), median(together)) for alone, together in times]


if __name__ == "__main__":
    main()
