"""Search time of an index's structure against FAISS Flat and pyserini's FaissSearcher, one thread, real queries.

python eval/bench/search.py eval/runs/quality/nq+wiki --queries ../shared/data/nq
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np
from report import append_result, print_table, ratios, time_in_turns

from elasticdenser import ElasticQueryEncoder, PassageIndex, load_queries
from elasticdenser.arrays import Vectors
from elasticdenser.errors import MissingExtraError
from elasticdenser.index.exchange import export_index

_K = 10
_FLAT = "FAISS Flat"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=Path, required=True, help="BEIR folder or file")
    parser.add_argument("--n-queries", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    index = PassageIndex.open(options.index)
    texts = [query.text for query in load_queries(options.queries)]
    chosen = np.random.default_rng(0).permutation(len(texts))[: options.n_queries]
    queries = ElasticQueryEncoder.from_pretrained().encode([texts[at] for at in chosen])
    faiss.omp_set_num_threads(1)
    rows = [row for batch in (1, 32) for row in _measure(index, queries, batch, options.rounds)]
    print_table(f"{len(index):,} passages, k = {_K}, one thread, medians of {options.rounds} interleaved rounds", rows)
    append_result("search", {"passages": len(index), "queries": len(queries), "rounds": options.rounds, "rows": rows})


def _measure(index: PassageIndex, queries: Vectors, batch: int, rounds: int) -> list[dict[str, Any]]:
    flat = faiss.IndexFlatIP(index.dim)
    flat.add(np.ascontiguousarray(index.vectors))
    structure = index.manifest.structure.factory
    searches: dict[str, Callable[[Vectors], Any]] = {
        _FLAT: lambda vectors: flat.search(vectors, _K)[1],
        f"ours, auto ({structure})": lambda vectors: index.search(vectors, _K)[1],
        "ours, exact": lambda vectors: index.search(vectors, _K, exact=True)[1],
        **_pyserini(index),
    }
    batches = [queries[start : start + batch] for start in range(0, len(queries), batch)]
    times = time_in_turns({name: partial(_search_all, search, batches) for name, search in searches.items()}, rounds)
    kth_scores = flat.search(queries, _K)[0][:, -1:]
    rows = []
    for name, seconds in times.items():
        positions = np.concatenate([np.atleast_2d(searches[name](batch_queries)) for batch_queries in batches])
        # Of equally good passages (copies in the corpus) any counts.
        scores = np.einsum("qd,qkd->qk", queries, index.vectors[positions])
        recall = (scores >= kth_scores - 1e-5).mean()
        row = {
            "search": name,
            "batch": batch,
            "ms a query": 1000 * median(seconds) / len(queries),
            f"x {_FLAT}": ratios(times, _FLAT)[name],
            "recall@10": float(recall),
        }
        rows.append(row)
    return rows


def _search_all(search: Callable[[Vectors], Any], batches: list[Vectors]) -> None:
    for batch_queries in batches:
        search(batch_queries)


def _pyserini(index: PassageIndex) -> dict[str, Callable[[Vectors], Any]]:
    """Return pyserini's searcher over the exported index; nothing if pyserini is not installed."""
    try:
        from elasticdenser.retrieval.java import start_jvm

        start_jvm()
        from pyserini.search.faiss import FaissSearcher
    except MissingExtraError as error:
        print(f"without pyserini: {error}")
        return {}
    folder = Path(tempfile.mkdtemp()) / "exported"
    export_index(index, folder)
    searcher = FaissSearcher(str(folder), lambda text: text)
    position_of = {doc_id: position for position, doc_id in enumerate(searcher.docids)}

    def search(batch: Vectors) -> list[list[int]]:
        if len(batch) == 1:
            return [[position_of[hit.docid] for hit in searcher.search(batch, k=_K)]]
        ids = [str(number) for number in range(len(batch))]
        hits = searcher.batch_search(batch, ids, k=_K, threads=1)
        return [[position_of[hit.docid] for hit in hits[query_id]] for query_id in ids]

    return {"pyserini FaissSearcher (Flat export)": search}


if __name__ == "__main__":
    main()
