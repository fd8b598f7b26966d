"""Overhead of searching shards in replicas on Ray, against the same shards in this process.

    OMP_NUM_THREADS=1 python eval/bench/ray_serve.py INDEX --queries DATA/nq [--ray local] [--replicas 1]

INDEX is sharded. Each query is encoded and searched alone, by one retriever over the index in this process and by one
over its replicas, in turns. What the second takes beyond the first is the overhead of the router: requests to all
shards, their replies, and merging. The searches of the shards run side by side where there are CPUs for it. On a busy
machine the CPU time of this process says more than the clock.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
from report import append_result, print_table, time_items_in_turns

from elasticdenser import Retriever, load_queries
from elasticdenser.index.sharding.fan_out import FanOutSettings
from elasticdenser.serving.ray_cluster import RayCluster, RaySettings

_LEVELS = (("w1-d6", None), ("level0", 0.9))
_GOAL_MS = 3.0


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=Path, required=True, help="BEIR folder or file")
    parser.add_argument("--n-queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", default="local", help="address of a cluster; local starts one here")
    parser.add_argument("--replicas", type=int, default=1)
    options = parser.parse_args()
    texts = [query.text for query in load_queries(options.queries)][: options.n_queries]
    plain = Retriever.open(options.index, device="cpu")
    settings = RaySettings(address=options.ray, min_replicas=options.replicas, max_replicas=options.replicas)
    with RayCluster(settings, FanOutSettings(timeout_s=60.0)) as cluster:
        sharded = Retriever.open(options.index, device="cpu", open_index=cluster.open_index)
        rows = [_row(plain, sharded, texts, options.rounds, *level) for level in _LEVELS]
    n_shards = len(plain.index.contents.segments)
    print_table(f"{len(plain.index):,} passages in {n_shards} shards, {len(texts)} queries alone", rows)
    append_result(
        "ray-serve", {"passages": len(plain.index), "shards": n_shards, "rounds": options.rounds, "rows": rows}
    )


def _row(
    plain: Retriever, sharded: Retriever, texts: list[str], rounds: int, subnet: str, recall: float | None
) -> dict[str, Any]:
    """Return the times of both at one level, after a check that their hits are equal."""

    def search(retriever: Retriever, number: int) -> list[Any]:
        return list(retriever.search(texts[number], 10, subnet=subnet, recall=recall))

    for number in range(len(texts)):
        if search(plain, number) != search(sharded, number):
            raise SystemExit(f"different hits for {texts[number]!r}")
    candidates = {"plain": partial(search, plain), "on Ray": partial(search, sharded)}
    times = time_items_in_turns(candidates, len(texts), rounds)
    cpu_times = time_items_in_turns(candidates, len(texts), rounds, process_time)
    differences = np.subtract(times["on Ray"], times["plain"])
    return {
        "level": subnet,
        "ms plain": 1e3 * median(times["plain"]),
        "ms on Ray": 1e3 * median(times["on Ray"]),
        "ratio": median(np.divide(times["on Ray"], times["plain"]).tolist()),
        "overhead ms, median": 1e3 * float(np.median(differences)),
        "overhead ms, least tenth": 1e3 * float(np.quantile(differences, 0.1)),
        "CPU ms of this process, plain": 1e3 * median(cpu_times["plain"]),
        "CPU ms of this process, on Ray": 1e3 * median(cpu_times["on Ray"]),
        "met": "yes" if 1e3 * float(np.median(differences)) <= _GOAL_MS else "no",
    }


if __name__ == "__main__":
    main()
