"""Weight of BM25 in a weighted fusion with the full encoder, chosen on training questions of Natural Questions.

    python eval/bench/fusion.py INDEX BM25_INDEX --queries DATA/nq

Not chosen on dev, as the suites use the result.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from report import append_result, print_table

from elasticdenser import Retriever, load_qrels, load_queries
from elasticdenser.evaluation import QuerySet, System, compare
from elasticdenser.evaluation.timing import evenly_sampled
from elasticdenser.retrieval.bm25 import Bm25Index
from elasticdenser.retrieval.fusion import reciprocal_rank_fusion, weighted_fusion

_WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
_MEASURES = ("nDCG@10", "RR@10", "R@20", "R@100")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("bm25", type=Path)
    parser.add_argument("--queries", type=Path, default=Path("../shared/data/nq"))
    parser.add_argument("--n", type=int, default=1000, help="training questions")
    options = parser.parse_args()
    torch.set_num_threads(1)
    all_queries = {query.query_id: query.text for query in load_queries(options.queries, split="train")}
    queries = evenly_sampled(all_queries, options.n)
    qrels = [qrel for qrel in load_qrels(options.queries, split="train") if qrel.query_id in queries]
    query_set = QuerySet(name="nq-train", queries=queries, qrels=qrels, measures=_MEASURES, k=1000)
    dense = System(name="dense", search=Retriever.open(options.index, download=False).search, fingerprint="dense")
    words = System(name="bm25", search=Bm25Index.open(options.bm25).search, fingerprint="bm25")
    fusions = [_weighted(weight, words, dense) for weight in _WEIGHTS]
    rrf = System(name="rrf", parts=[words, dense], fuse=reciprocal_rank_fusion, fingerprint="rrf")
    comparison = compare(query_set, [dense, words, rrf, *fusions], timed_queries=0)
    rows = [
        {"system": cell.system, **{measure: cell.mean(measure) for measure in query_set.measures}}
        for cell in comparison.cells
    ]
    print_table(f"{len(queries)} training questions of Natural Questions", rows)
    append_result("fusion", {"n_queries": len(queries), "rows": rows})


def _weighted(weight: float, words: System, dense: System) -> System:
    return System(
        name=f"weighted-{weight:g}",
        parts=[words, dense],
        fuse=lambda runs, k: weighted_fusion(runs, [weight, 1 - weight], k),
        fingerprint=f"weighted-{weight:g}",
    )


if __name__ == "__main__":
    main()
