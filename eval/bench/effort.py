"""Joint budget of encoder and search: quality and time of every subnet at every search effort.

    OMP_NUM_THREADS=1 python eval/bench/effort.py --data DATA --wiki indexes/wiki --msmarco indexes/msmarco

Quality is retention: the measure as a share of that of the full subnet at the greatest effort, mean of NQ dev (RR@10),
TriviaQA dev (AnswerMatch@20) and DL19 (nDCG@10). Time is from a string to its hits in the index of Wikipedia, for NQ
questions, on one thread, alone and in batches of 16.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any

from dev_sets import load_dev_sets
from report import append_result, print_table

from elasticdenser import ElasticQueryEncoder, Retriever, Subnet

RECALLS = (None, 0.995, 0.98, 0.95, 0.85)
Cell = tuple[Subnet, float | None]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--wiki", type=Path, required=True, help="index of NQ's and Wikipedia's passages")
    parser.add_argument("--msmarco", type=Path, required=True, help="index of the MS MARCO pool")
    parser.add_argument("--limit", type=int, default=0, help="maximum number of queries of a set; 0 is all")
    parser.add_argument("--rounds", type=int, default=100, help="queries timed at each subnet and effort")
    options = parser.parse_args()
    dev_sets = load_dev_sets(options.data, options.wiki, options.msmarco, options.limit)
    encoder = ElasticQueryEncoder.from_pretrained(device="cpu")
    cells = list(product(encoder.subnets, RECALLS))
    values: dict[Cell, list[float]] = {}
    for subnet in encoder.subnets:
        vectors = [encoder.encode(dev.texts, subnet) for dev in dev_sets]
        for recall in RECALLS:
            values[subnet, recall] = [dev.value(vector, recall) for dev, vector in zip(dev_sets, vectors, strict=True)]
    full = values[encoder.full_subnet, None]
    retriever = Retriever(encoder, dev_sets[0].index)
    alone, together = (_times(retriever, cells, dev_sets[0].texts, n, options.rounds) for n in (1, 16))
    rows: list[dict[str, Any]] = [
        {
            "size": str(subnet),  # the key of the recorded results
            "recall@10 asked": "greatest" if recall is None else recall,
            "retention": fmean(value / best for value, best in zip(values[subnet, recall], full, strict=True)),
            "ms alone": 1e3 * alone[subnet, recall],
            "ms in 16s": 1e3 * together[subnet, recall],
        }
        for subnet, recall in cells
    ]
    efforts = [f"{effort.recall_at_10}: {effort}" for effort in dev_sets[0].index.manifest.structure.efforts]
    print_table(f"{len(dev_sets[0].index):,} passages, {retriever.index.manifest.structure.factory}", rows)
    append_result("effort", {"limit": options.limit, "rounds": options.rounds, "efforts": efforts, "rows": rows})


def _times(retriever: Retriever, cells: list[Cell], texts: list[str], n: int, rounds: int) -> dict[Cell, float]:
    """Return the median seconds a query of every cell in batches of n; all cells search a batch before the next one."""
    searches = {
        cell: partial(lambda batch, cell: list(retriever.search(batch, 10, subnet=cell[0], recall=cell[1])), cell=cell)
        for cell in cells
    }
    times: dict[Cell, list[float]] = {cell: [] for cell in cells}
    for number in range(rounds // n + 2):
        batch = [texts[(number * n + offset) % len(texts)] for offset in range(n)]
        for cell, search in searches.items():
            search(batch)  # a warm-up: the timed call finds the weights in the cache, as on a busy server
            started = perf_counter()
            search(batch)
            if number:
                times[cell].append((perf_counter() - started) / n)
    return {cell: median(seconds) for cell, seconds in times.items()}


if __name__ == "__main__":
    main()
