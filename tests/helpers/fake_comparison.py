"""Artificial comparisons for tests."""

from __future__ import annotations

import numpy as np

from elasticdenser.evaluation import Cell, Comparison, QuerySetInfo, Skipped, SystemInfo
from elasticdenser.evaluation.significance import differences_of, intervals_of

CUTOFFS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
MS = {"exact": 18.2, "auto": 5.1, "bm25": 4.0, "rrf": 9.3, "weighted": 9.4}
TITLES = {
    "exact": "Exact search over all vectors",
    "auto": "Default index of this engine",
    "bm25": "BM25",
    "rrf": "Reciprocal rank fusion of auto and bm25",
    "weighted": "Weighted scores of auto and bm25",
}


def random_ranks(rng, n, quality):
    """Return ranks of the only relevant passage of each query; low is good."""
    return np.maximum(1, np.rint(np.exp(rng.normal(3.0 - 3.0 * quality, 2.0, n)))).astype(int)


def system_ranks(rng, n):
    exact = random_ranks(rng, n, 0.75)
    auto = exact.copy()
    auto[rng.random(n) < 0.003] += 4
    shifted = np.maximum(1, np.rint(exact * np.exp(rng.normal(0, 0.5, n) * (rng.random(n) < 0.5)))).astype(int)
    bm25 = np.maximum(1, np.rint(exact * np.exp(rng.normal(0.6, 1.6, n)))).astype(int)
    return {
        "exact": exact,
        "auto": auto,
        "bm25": bm25,
        "rrf": np.maximum(1, np.rint(shifted * 0.85)).astype(int),
        "weighted": np.maximum(1, np.rint(shifted * 0.8)).astype(int),
    }


def cell(query_set, system, ranks, measures, *, ms=None, warnings=()):
    ranks = np.asarray(ranks)
    by_measure = {
        "RR@10": np.where(ranks <= 10, 1 / ranks, 0),
        "nDCG@10": np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0),
        "R@100": (ranks <= 100) * 1.0,
        "R@1000": (ranks <= 1000) * 1.0,
    }
    values = {m: {f"q{i}": float(v) for i, v in enumerate(by_measure[m])} for m in measures}
    curve = {cutoff: float(np.mean(ranks <= cutoff)) for cutoff in CUTOFFS}
    return Cell(
        query_set=query_set,
        system=system,
        values=values,
        curve=curve,
        ms_per_query=ms,
        run=f"runs/{query_set}.{system}.trec.gz",
        fingerprint="0123456789abcdef" * 4,
        warnings=warnings,
    )


def query_set(name, title, measures, n, n_passages=2_681_468):
    queries = {f"q{i}": f"who was the person number {i} to write about the thing called {i * 7}" for i in range(n)}
    return QuerySetInfo(
        name=name,
        title=title,
        measures=measures,
        n_passages=n_passages,
        queries=queries,
        curve_measure="R",
        fingerprint="fedcba9876543210" * 4,
    )


def finished(comparison):
    """Return a comparison with its intervals and differences."""
    fields = {
        "intervals": intervals_of(comparison.cells),
        "differences": differences_of(comparison.cells, comparison.baseline),
    }
    return Comparison(**{**vars(comparison), **fields})


def realistic(sizes=(2000, 3000, 43)):
    """Return three query sets of these sizes and five systems, one of them without a query set, one without a time."""
    rng = np.random.default_rng(5)
    sets = (
        query_set(
            "nq-dev", "Natural Questions, dev, over its own pool of passages", ("RR@10", "nDCG@10", "R@100"), sizes[0]
        ),
        query_set(
            "trivia", "TriviaQA, dev (pool re-retrieval)", ("nDCG@10", "RR@10", "R@100", "R@1000"), sizes[1], 700_001
        ),
        query_set("trec-dl", "TREC deep learning 2019", ("nDCG@10", "RR@10", "R@1000"), sizes[2], 8_841_823),
    )
    cells = []
    for info in sets:
        for system, ranks in system_ranks(rng, len(info.queries)).items():
            if (info.name, system) == ("trec-dl", "weighted"):
                continue
            warnings = (
                ("12 of 3,000 queries have no hits: they count 0",) if (info.name, system) == ("trivia", "bm25") else ()
            )
            ms = None if (info.name, system) == ("trivia", "rrf") else MS[system] * rng.uniform(0.95, 1.05)
            cells.append(cell(info.name, system, ranks, info.measures, ms=ms, warnings=warnings))
    return finished(
        Comparison(
            title="Five systems",
            baseline="exact",
            query_sets=sets,
            systems=tuple(
                SystemInfo(name=n, title=t, settings={"k": 1000, "bm25": {"k1": 0.9}}) for n, t in TITLES.items()
            ),
            cells=tuple(cells),
            skipped=(
                Skipped(query_set="trec-dl", system="weighted", reason="no queries to fit the weights on"),
                Skipped(query_set="msmarco", system="", reason="the corpus is not there: download it first"),
            ),
            commands=("elasticdenser compare suite.toml -o results/", "elasticdenser report results/"),
            environment={"cpu": "2 cores", "versions": {"python": "3.11.9", "faiss": "1.11.0"}, "threads": 2},
        )
    )
