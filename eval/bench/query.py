"""From string to vector and from string to hits, against the peers: one thread, all interleaved in one run.

OMP_NUM_THREADS=1 python eval/bench/query.py --index indexes/wiki --data ../shared/data
OMP_NUM_THREADS=1 python eval/bench/query.py --index indexes/wiki --only A,C --queries 50

Tables: A string to vector; B string to hits, one by one; C string to hits, in batches; D cold process to first hits;
E passages to vectors; F memory. The result of each is saved when it is complete.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import faiss
import torch
from peers import peer_versions
from query_bench import CLOCKS, Bench, Row
from query_encoding import measure_passages, measure_queries
from query_processes import measure_cold, measure_memory
from query_searching import measure_batches, measure_one_by_one
from report import append_result, print_table

TABLES: dict[str, Callable[[Bench], tuple[str, list[Row]]]] = {
    "A": measure_queries,
    "B": measure_one_by_one,
    "C": measure_batches,
    "D": measure_cold,
    "E": measure_passages,
    "F": measure_memory,
}
WITHOUT_INDEX = {"A", "E"}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, help="an index made by all-MiniLM-L6-v2; for B, C, D and F")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds of A, B, C and E; the others have their own number"
    )
    parser.add_argument("--queries", type=int, default=192)
    parser.add_argument("--only", default=",".join(TABLES), help="tables, separated by commas")
    parser.add_argument("--clock", choices=CLOCKS, default="cpu", help="clock of A, B, C and E")
    parser.add_argument("--cache", type=Path, default=Path("eval/runs/query"), help="folder for the peers' files")
    options = parser.parse_args()
    tables = options.only.upper().split(",")
    if not set(tables) <= set(TABLES):
        parser.error(f"got --only {options.only}; expected some of {','.join(TABLES)}")
    if options.index is None and not set(tables) <= WITHOUT_INDEX:
        parser.error(f"the tables {options.only} need --index")
    # One thread: without this, `tokenizers` takes all cores for a batch.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    settings = {"n_queries": options.queries, "rounds": options.rounds, "clock": options.clock}
    bench = Bench(options.data, options.index, options.cache, **settings)
    for table in tables:
        _run(table, bench, settings)


def _run(table: str, bench: Bench, settings: Row) -> None:
    bench.share = None
    title, rows = TABLES[table](bench)
    print_table(f"{table}. {title}", rows)
    if bench.share is not None:
        print(f"\n{settings['clock']} time; this process had {bench.share:.0%} of a core")
        settings = settings | {"share_of_a_core": bench.share}
    append_result("query", {"table": table, "title": title, **settings, "peers": peer_versions(), "rows": rows})


if __name__ == "__main__":
    main()
