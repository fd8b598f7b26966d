"""The joint budget of encoder and search: every size at every search effort, its quality against its time.

    OMP_NUM_THREADS=1 python eval/bench/effort.py --data DATA --wiki indexes/wiki --msmarco indexes/msmarco

Quality is retention: the share of the full size's figure at the greatest effort, mean of NQ dev (RR@10), TriviaQA dev
(AnswerMatch@20) and DL19 (nDCG@10). Time is that of a string to its hits on the index of Wikipedia, NQ questions, one
thread, alone and in batches of 16.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from dev_sets import load_dev_sets
from report import keep, print_table

from elasticdenser import ElasticQueryEncoder, Retriever, Subnet

RECALLS = (None, 0.995, 0.98, 0.95, 0.85)
Cell = tuple[Subnet, float | None]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--wiki", type=Path, required=True, help="index of NQ's and Wikipedia's passages")
    parser.add_argument("--msmarco", type=Path, required=True, help="index of the MS MARCO pool")
    parser.add_argument("--limit", type=int, default=0, help="queries of a set at most; 0 is all")
    parser.add_argument("--rounds", type=int, default=100, help="queries timed at each size and effort")
    options = parser.parse_args()
    dev_sets = load_dev_sets(options.data, options.wiki, options.msmarco, options.limit)
    encoder = ElasticQueryEncoder.from_pretrained(device="cpu")
    cells = list(product(encoder.subnets, RECALLS))
    values: dict[Cell, list[float]] = {}
    for size in encoder.subnets:
        vectors = [encoder.encode(dev.texts, size) for dev in dev_sets]
        for recall in RECALLS:
            its = [dev.value(vector, recall) for dev, vector in zip(dev_sets, vectors, strict=True)]
            values[size, recall] = its
    full = values[encoder.full_subnet, None]
    retriever = Retriever(encoder, dev_sets[0].index)
    alone, together = (_times(retriever, cells, dev_sets[0].texts, n, options.rounds) for n in (1, 16))
    rows: list[dict[str, Any]] = [
        {
            "size": str(size),
            "recall@10 asked": "greatest" if recall is None else recall,
            "retention": sum(mine / best for mine, best in zip(values[size, recall], full, strict=True)) / len(full),
            "ms alone": 1e3 * alone[size, recall],
            "ms in 16s": 1e3 * together[size, recall],
        }
        for size, recall in cells
    ]
    efforts = [f"{effort.recall_at_10}: {effort}" for effort in dev_sets[0].index.manifest.structure.efforts]
    print_table(f"{len(dev_sets[0].index):,} passages, {retriever.index.manifest.structure.factory}", rows)
    keep("effort", {"limit": options.limit, "rounds": options.rounds, "efforts": efforts, "rows": rows})


def _times(retriever: Retriever, cells: list[Cell], texts: list[str], n: int, rounds: int) -> dict[Cell, float]:
    """Return the median seconds a query of every cell, in batches of n, all cells on one batch before the next."""
    works = {
        cell: partial(lambda some, cell: list(retriever.search(some, 10, subnet=cell[0], recall=cell[1])), cell=cell)
        for cell in cells
    }
    times: dict[Cell, list[float]] = {cell: [] for cell in cells}
    for number in range(rounds // n + 2):
        some = [texts[(number * n + at) % len(texts)] for at in range(n)]
        for cell, work in works.items():
            work(some)  # once before: what is timed finds its weights as warm as a busy server's
            started = perf_counter()
            work(some)
            if number:
                times[cell].append((perf_counter() - started) / n)
    return {cell: median(its) for cell, its in times.items()}


if __name__ == "__main__":
    main()
