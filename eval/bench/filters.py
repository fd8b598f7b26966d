"""Time and recall of searches with filters against searches without, by the share of passages that match.

python eval/bench/filters.py indexes/nq --queries ../shared/data/nq

A copy of the index gets two fields of metadata, both between 0 and 1. `random` is independent of the passages. `topic`
is the rank by similarity to one passage, the hardest kind of filter: matching passages are alike, and for most queries
those that a search structure proposes do not match.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import faiss
import numpy as np
from report import append_result, print_table, ratios, time_in_turns

from elasticdenser import ElasticQueryEncoder, PassageIndex, load_queries
from elasticdenser.arrays import Positions, Vectors
from elasticdenser.index import layout
from elasticdenser.index.line_files import LineFile
from elasticdenser.index.manifest import file_entries
from elasticdenser.index.metadata.table import write_table
from elasticdenser.progress import silent

_K = 10
_SHARES = (1, 0.5, 0.1, 0.01, 0.001)
_UNFILTERED = "no filter"
_FIELDS = {"random": "number", "topic": "number"}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=Path, required=True, help="BEIR folder or file")
    parser.add_argument("--n-queries", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    texts = [query.text for query in load_queries(options.queries)]
    chosen = np.random.default_rng(0).permutation(len(texts))[: options.n_queries]
    queries = ElasticQueryEncoder.from_pretrained().encode([texts[position] for position in chosen])
    faiss.omp_set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.index.parent) as folder:
        index = _with_metadata(PassageIndex.open(options.index), Path(folder) / "filtered")
        rows = [row for batch in (1, 32) for row in _measure(index, queries, batch, options.rounds)]
    print_table(f"{len(index):,} passages, k = {_K}, one thread, medians of {options.rounds} interleaved rounds", rows)
    append_result("filters", {"passages": len(index), "queries": len(queries), "rounds": options.rounds, "rows": rows})


def _with_metadata(index: PassageIndex, path: Path) -> PassageIndex:
    """Return a copy of an index with metadata, which shares its other files."""
    path.mkdir()
    for name in index.manifest.files:
        os.link(index.path / name, path / name)
    n, rng = len(index), np.random.default_rng(0)
    similarity = np.asarray(index.vectors) @ index.vectors[rng.integers(n)]
    topic = np.argsort(np.argsort(-similarity)) / n
    rows = [json.dumps({"random": a, "topic": b}) for a, b in zip(rng.random(n).tolist(), topic.tolist(), strict=True)]
    (path / layout.METADATA).write_text("".join(f"{row}\n" for row in rows))
    np.cumsum([len(row) + 1 for row in rows]).astype("<i8").tofile(path / layout.METADATA_OFFSETS)
    lines = LineFile(path / layout.METADATA, path / layout.METADATA_OFFSETS)
    write_table(path / layout.METADATA_TABLE, lines, _FIELDS)
    added = (layout.METADATA, layout.METADATA_OFFSETS, layout.METADATA_TABLE)
    files = index.manifest.files | file_entries(path, added, silent)
    replace(index.manifest, metadata=_FIELDS, files=files).write(path)
    return PassageIndex.open(path)


def _measure(index: PassageIndex, queries: Vectors, batch: int, rounds: int) -> list[dict[str, Any]]:
    batches = [queries[start : start + batch] for start in range(0, len(queries), batch)]
    searches: dict[str, Callable[[Vectors], Positions]] = {
        _UNFILTERED: lambda vectors: index.search(vectors, _K)[1],
    }
    evaluation_s: dict[str, float] = {}
    for field in _FIELDS:
        for share in _SHARES:
            filter = f"{field} < {share}"
            fresh = PassageIndex.open(index.path, check="sizes")  # whose cache is empty
            started = perf_counter()
            fresh.matches(filter)
            evaluation_s[filter] = perf_counter() - started
            searches[filter] = partial(_search, index, filter)
    works = {name: partial(_search_all, search, batches) for name, search in searches.items()}
    times = time_in_turns(works, rounds, process_time)
    rows = []
    for name, seconds in times.items():
        own_filter = None if name == _UNFILTERED else name
        exact = index.search(queries, _K, filter=own_filter, exact=True)
        positions = np.concatenate([searches[name](batch_queries) for batch_queries in batches])
        # Of equally good passages (copies in the corpus) any counts.
        scores = np.einsum("qd,qkd->qk", queries, index.vectors[positions])
        row = {
            "filter": name,
            "matching": len(index) if own_filter is None else index.matches(own_filter).n,
            "batch": batch,
            "CPU ms a query": 1000 * median(seconds) / len(queries),
            "time, without = 1": 1 / ratios(times, _UNFILTERED)[name],
            "recall@10": float((scores >= exact[0][:, -1:] - 1e-5).mean()),
            "first evaluation, ms": 1000 * evaluation_s.get(name, 0.0),
        }
        rows.append(row)
    return rows


def _search(index: PassageIndex, filter: str, vectors: Vectors) -> Positions:
    return index.search(vectors, _K, filter=filter)[1]


def _search_all(search: Callable[[Vectors], Positions], batches: list[Vectors]) -> None:
    for batch_queries in batches:
        search(batch_queries)


if __name__ == "__main__":
    main()
