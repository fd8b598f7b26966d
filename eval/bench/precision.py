"""Cost of 8-bit arithmetic: each subnet in int8 (the kernel) against the same subnet in float32 (torch).

    python eval/bench/precision.py --data DATA --wiki indexes/wiki --msmarco indexes/msmarco [--limit 1000]

Quality is the share of the full encoder's figure in float32, on NQ dev (RR@10), TriviaQA dev (AnswerMatch@20) and DL19
(nDCG@10), through the index's own structure. "same alone" is the share of queries whose int8 vector is the same, to the
bit, alone and among 31 others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dev_sets import load_dev_sets
from report import append_result, print_table

from elasticdenser import ElasticQueryEncoder, Subnet
from elasticdenser.training.dev_sets import DevSet

_N_ALONE = 64


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--wiki", type=Path, required=True, help="index of NQ's and Wikipedia's passages")
    parser.add_argument("--msmarco", type=Path, required=True, help="index of the MS MARCO pool")
    parser.add_argument("--limit", type=int, default=0, help="queries of a set at most; 0 is all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dev_sets = load_dev_sets(options.data, options.wiki, options.msmarco, options.limit)
    exact, fast = (ElasticQueryEncoder.from_pretrained(dtype=dtype, device="cpu") for dtype in ("float32", "int8"))
    full = {dev.name: dev.value(exact.encode(dev.texts)) for dev in dev_sets}
    rows = []
    for subnet in fast.subnets:
        rows.append(_row(subnet, exact, fast, dev_sets, full))
        print_table(f"Retention, {sum(len(dev.texts) for dev in dev_sets):,} queries", rows)
    append_result(
        "precision", {"limit": options.limit, "dev_sets": {dev.name: len(dev.texts) for dev in dev_sets}, "rows": rows}
    )


def _row(
    subnet: Subnet,
    exact: ElasticQueryEncoder,
    fast: ElasticQueryEncoder,
    dev_sets: list[DevSet],
    full: dict[str, float],
) -> dict[str, Any]:
    shares: dict[str, list[float]] = {"float32": [], "int8": []}
    cosines = []
    for dev in dev_sets:
        vectors = {"float32": exact.encode(dev.texts, subnet), "int8": fast.encode(dev.texts, subnet)}
        cosines.append((vectors["float32"] * vectors["int8"]).sum(axis=1))
        for name, vectors_of_dtype in vectors.items():
            shares[name].append(dev.value(vectors_of_dtype) / full[dev.name])
    texts = dev_sets[0].texts[:_N_ALONE]
    together = np.concatenate([fast.encode(texts[start : start + 32], subnet) for start in range(0, len(texts), 32)])
    same = [
        bool(np.array_equal(fast.encode([text], subnet)[0], row)) for text, row in zip(texts, together, strict=True)
    ]
    means = {name: sum(values) / len(values) for name, values in shares.items()}
    return {
        "subnet": str(subnet),
        **means,
        "int8 - float32": means["int8"] - means["float32"],
        "worst set": min(a - b for a, b in zip(shares["int8"], shares["float32"], strict=True)),
        "mean cosine": float(np.mean(np.concatenate(cosines))),
        "least cosine": float(np.min(np.concatenate(cosines))),
        "same alone": sum(same) / len(same),
    }


if __name__ == "__main__":
    main()
