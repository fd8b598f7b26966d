"""Scan rates of 4-bit codes in inverted lists over a million vectors and more, one thread.

    OMP_NUM_THREADS=1 nice -n 10 python eval/bench/scale.py INDEX --queries DATA/nq [--passages 1000000] [--lists 1024]

The vectors are those of an index, each copied with noise added until there are enough: they have the shape of real
ones, but no new topics, so that the recall says little about real passages. Scans cost the same. Times are CPU time,
which a busy machine distorts less than the clock. 1,000,000 vectors of 384 dimensions take 1.7 GB of memory.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import faiss
import numpy as np
from report import append_result, print_table

from elasticdenser import ElasticQueryEncoder, PassageIndex, load_queries
from elasticdenser.arrays import Vectors

_K = 10
_CANDIDATES = 256
"""Candidates by their codes, scored again with their vectors."""
_NPROBES = (8, 16, 32, 64, 128, 256)
_TRAINING_VECTORS_PER_LIST = 40
_CHUNK = 65_536


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=Path, required=True, help="BEIR folder or file")
    parser.add_argument("--n-queries", type=int, default=128)
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--lists", type=int, default=1024)
    parser.add_argument("--cosine", type=float, default=0.8, help="mean cosine of a copy to its original")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    real = np.asarray(PassageIndex.open(options.index).vectors)
    texts = [query.text for query in load_queries(options.queries)][: options.n_queries]
    queries = ElasticQueryEncoder.from_pretrained(device="cpu").encode(texts)
    vectors = noisy_copies(real, options.passages, options.cosine, np.random.default_rng(0))
    started_s = process_time()
    structure: Any = faiss.index_factory(real.shape[1], f"IVF{options.lists},PQ96x4fs", faiss.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(1).choice(len(vectors), _TRAINING_VECTORS_PER_LIST * options.lists, replace=False)
    structure.train(vectors[np.sort(sample)])
    trained_s = process_time()
    for start in range(0, len(vectors), _CHUNK):
        structure.add(vectors[start : start + _CHUNK])
    added_s = process_time()
    exact_s, kth_scores = _exact(queries, vectors)
    rows = [_row(structure, nprobe, queries, vectors, kth_scores) for nprobe in _NPROBES]
    sizes: dict[str, Any] = {
        "real vectors": len(real),
        "cosine": options.cosine,
        "training s": trained_s - started_s,
        "vectors added a s": len(vectors) / (added_s - trained_s),
        "exact scan, vectors a s": len(vectors) / exact_s,
        "code bytes a vector": structure.code_size + 8,
    }
    print_table(f"{len(vectors):,} vectors in {options.lists} lists, {len(queries)} queries, one thread", rows)
    print_table("the rest", [sizes])
    append_result("scale", {"passages": len(vectors), "lists": options.lists, **sizes, "rows": rows})


def noisy_copies(real: Vectors, n: int, cosine: float, rng: np.random.Generator) -> Vectors:
    """Return n vectors: those given, in turn, each with Gaussian noise, normalised; float32, (n, dim).

    Args:
        real: float32, (n_real, dim), normalised.
        n: Number of vectors.
        cosine: Mean cosine of a copy to its original; the first round is not changed.
        rng: Random number generator.
    """
    vectors = np.empty((n, real.shape[1]), np.float32)
    deviation = np.sqrt(1 / cosine**2 - 1) / np.sqrt(real.shape[1])
    for start in range(0, n, len(real)):
        rows = vectors[start : start + len(real)]
        rows[:] = real[: len(rows)]
        if start:
            rows += rng.standard_normal(rows.shape, np.float32) * np.float32(deviation)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return vectors


def _exact(queries: Vectors, vectors: Vectors) -> tuple[float, Vectors]:
    """Return the CPU seconds a query of a scan of all vectors, and the score of each query's tenth hit, (n, 1)."""
    started_s = process_time()
    scores, _ = faiss.knn(queries, vectors, _K, metric=faiss.METRIC_INNER_PRODUCT)
    return (process_time() - started_s) / len(queries), np.asarray(scores[:, -1:])


def _row(structure: Any, nprobe: int, queries: Vectors, vectors: Vectors, kth_scores: Vectors) -> dict[str, Any]:
    structure.nprobe = nprobe
    sizes: Any = faiss.extract_index_ivf(structure).invlists
    _, lists = structure.quantizer.search(queries, nprobe)
    n_scanned = float(np.mean([sum(sizes.list_size(int(number)) for number in row) for row in lists]))
    times_s, hits = [], []
    for query in queries:
        started_s = process_time()
        _, candidates = structure.search(query[None], _CANDIDATES)
        scores = np.sort(vectors[candidates[0][candidates[0] >= 0]] @ query)[::-1][:_K]
        times_s.append(process_time() - started_s)
        hits.append(scores)
    together_s = process_time()
    structure.search(queries, _CANDIDATES)
    together_s = (process_time() - together_s) / len(queries)
    recall = np.mean([(own >= kth - 1e-5).sum() / _K for own, kth in zip(hits, kth_scores, strict=True)])
    return {
        "nprobe": nprobe,
        "vectors scanned": round(n_scanned),
        "ms alone": 1e3 * median(times_s),
        "ms in a batch": 1e3 * together_s,
        "million a s": n_scanned / together_s / 1e6,
        "recall@10": float(recall),
    }


if __name__ == "__main__":
    main()
