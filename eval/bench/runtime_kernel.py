"""The runtime without torch against the encoder in torch and sentence-transformers: token ids or texts to vectors.

OMP_NUM_THREADS=1 python eval/bench/runtime_kernel.py --data ../shared/data
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from elasticdenser.kernel.levels import RuntimeLevels
from elasticdenser.models.levels import Levels
from reference import load_sentence_transformer
from report import all_items_s, item_by_item, keep, print_table

from elasticdenser import ElasticQueryEncoder, open_corpus
from elasticdenser.datasets import load_queries
from elasticdenser.encoders.backends.torch import TorchBackend
from elasticdenser.subnet import Subnet

SIZES = ("w1-d6", "w1-d3", "w0.5-d3", "w0.25-d1", "level0")
BASE = "sentence-transformers"
# Multiplications and additions a token of the full size, outside attention; the peak was measured by vpdpbusd alone.
FLOP_A_TOKEN, PEAK = 2 * 6 * 384 * (4 * 384 + 2 * 1536), 460e9

Ids = list[list[int]]
Work = Callable[[int], object]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder = ElasticQueryEncoder.from_pretrained(device="cpu")
    runtime = RuntimeLevels.load(encoder.location.path)
    texts = [query.text for query in load_queries(options.data / "nq", split="dev")[: options.queries]]
    rows = _measure_queries(encoder, runtime, texts, options.rounds)
    passages = _measure_passages(encoder, runtime, options.data, options.rounds)
    print_table(f"{len(texts)} questions, one thread, path {runtime.path}, medians; x: of the same question", rows)
    print_table("Wikipedia passages, one thread, batches of 4", passages)
    keep("runtime-kernel", {"path": runtime.path, "rounds": options.rounds, "queries": rows, "passages": passages})


@cache
def _reference(encoder: ElasticQueryEncoder) -> Levels:
    return TorchBackend(encoder.location, encoder.settings, dtype="float32", device="cpu").levels


def _measure_queries(
    encoder: ElasticQueryEncoder, runtime: RuntimeLevels, texts: Sequence[str], rounds: int
) -> list[dict[str, Any]]:
    theirs = load_sentence_transformer()
    ids = encoder._tokenize(texts, "")
    by_length = sorted(ids, key=len)
    batches = [by_length[at : at + 16] for at in range(0, len(ids), 16)]
    work: dict[str, Work] = {BASE: lambda at: theirs.encode(texts[at], show_progress_bar=False)}
    batched: dict[str, Work] = {}
    for size in map(Subnet.parse, SIZES):
        ours, torchs = (
            partial(levels.encode, pooling="mean", subnet=size) for levels in (runtime, _reference(encoder))
        )
        work |= {f"kernel {size}": _each(ours, ids), f"torch {size}": _each(torchs, ids)}
        batched[f"kernel {size}"] = partial(lambda encode, at: encode(batches[at]), ours)
        batched[f"torch {size}"] = partial(lambda encode, at: encode(batches[at]), torchs)
    alone, together = item_by_item(work, len(ids), rounds), item_by_item(batched, len(batches), rounds)
    rows = []
    for name, times in alone.items():
        row: dict[str, Any] = {"encoder": name, "ms": median(times) * 1e3}
        row["x"] = median(base / mine for base, mine in zip(alone[BASE], times, strict=True))
        if name != BASE:
            row["ms, batches of 16"] = all_items_s(together[name], rounds) / len(ids) * 1e3
        if name.startswith("kernel"):
            row["cosine"] = _cosine(encoder, runtime, ids, Subnet.parse(name.split()[1]))
        if name == "kernel w1-d6":
            flop = FLOP_A_TOKEN * np.array([len(each) for each in ids] * rounds)
            row["of the peak"] = float(np.median(flop / PEAK / np.array(times)))
        rows.append(row)
    return rows


def _each(encode: Callable[[Ids], object], ids: Ids) -> Work:
    return lambda at: encode([ids[at]])


def _cosine(encoder: ElasticQueryEncoder, runtime: RuntimeLevels, ids: Ids, size: Subnet) -> float:
    by_length = sorted(ids, key=len)
    ours = runtime.encode(by_length, "mean", size, normalize=True)
    theirs = _reference(encoder).encode(by_length, "mean", size).numpy()
    return float(((ours * theirs).sum(axis=1) / np.linalg.norm(theirs, axis=1)).mean())


def _measure_passages(
    encoder: ElasticQueryEncoder, runtime: RuntimeLevels, data: Path, rounds: int
) -> list[dict[str, Any]]:
    every_40th = islice(open_corpus([data / "wiki/corpus-00-07.jsonl.gz"]), 0, None, 40)
    ids = sorted(encoder._tokenize([each.content for each in islice(every_40th, 64)], ""), key=len)
    batches = [ids[at : at + 4] for at in range(0, len(ids), 4)]
    size = encoder.full_subnet
    times = item_by_item(
        {
            "kernel": lambda at: runtime.encode(batches[at], "mean", size),
            "torch, float32": lambda at: _reference(encoder).encode(batches[at], "mean", size),
        },
        len(batches),
        rounds,
    )
    n_tokens = sum(map(len, ids))
    rates = {name: len(ids) / all_items_s(its, rounds) for name, its in times.items()}
    return [{"encoder": name, "tokens": n_tokens / len(ids), "passages/s": rate} for name, rate in rates.items()]


if __name__ == "__main__":
    main()
