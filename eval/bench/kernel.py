"""The kernel, in 8 bits and float32, against torch in float32 and sentence-transformers: token ids or texts to vectors.

OMP_NUM_THREADS=1 python eval/bench/kernel.py --data ../shared/data
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from reference import load_sentence_transformer
from report import all_items_s, append_result, print_table, time_items_in_turns

from elasticdenser import ElasticQueryEncoder, open_corpus
from elasticdenser.datasets import load_queries
from elasticdenser.encoders.backends.base import EncoderBackend
from elasticdenser.encoders.backends.kernel import KernelBackend
from elasticdenser.encoders.backends.torch import TorchBackend
from elasticdenser.kernel.paths import kernel_paths
from elasticdenser.subnet import Subnet

SUBNETS = ("w1-d6", "w1-d3", "w0.5-d3", "w0.25-d1", "level0")
BASE, TORCH = "sentence-transformers", "torch, float32"
# Multiplications and additions per token of the full encoder, without attention; peak measured with vpdpbusd alone.
FLOP_PER_TOKEN, PEAK = 2 * 6 * 384 * (4 * 384 + 2 * 1536), 460e9

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
    encoder = ElasticQueryEncoder.from_pretrained(device="cpu", dtype="int8")
    # Where torch is installed, as here, float32 is torch's by default.
    backends: dict[str, EncoderBackend] = {
        "kernel": KernelBackend.load(encoder.location, encoder.settings),
        "kernel, float32": KernelBackend.load(encoder.location, encoder.settings, dtype="float32"),
        TORCH: TorchBackend.load(encoder.location, encoder.settings, dtype="float32", device="cpu"),
    }
    texts = [query.text for query in load_queries(options.data / "nq", split="dev")[: options.queries]]
    rows = _measure_queries(encoder, backends, texts, options.rounds)
    passages = _measure_passages(encoder, backends, options.data, options.rounds)
    path = kernel_paths()[0]
    print_table(f"{len(texts)} questions, one thread, path {path}, medians; x: of the same question", rows)
    print_table("Wikipedia passages, one thread, batches of 4", passages)
    append_result("kernel", {"path": path, "rounds": options.rounds, "queries": rows, "passages": passages})


def _measure_queries(
    encoder: ElasticQueryEncoder, backends: Mapping[str, EncoderBackend], texts: Sequence[str], rounds: int
) -> list[dict[str, Any]]:
    peer = load_sentence_transformer()
    ids = encoder._tokenize(texts, "")
    by_length = sorted(ids, key=len)
    batches = [by_length[start : start + 16] for start in range(0, len(ids), 16)]
    work: dict[str, Work] = {BASE: lambda number: peer.encode(texts[number], show_progress_bar=False)}
    batched: dict[str, Work] = {}
    cosines: dict[str, float] = {}
    for subnet in map(Subnet.parse, SUBNETS):
        for kind, backend in backends.items():
            name, forward = f"{kind} {subnet}", partial(backend.forward, subnet=subnet)
            if kind != TORCH:
                cosines[name] = _cosine(backend, backends[TORCH], by_length, subnet)
            work[name] = partial(lambda forward, number: forward([ids[number]]), forward)
            batched[name] = partial(lambda forward, number: forward(batches[number]), forward)
    alone, together = time_items_in_turns(work, len(ids), rounds), time_items_in_turns(batched, len(batches), rounds)
    rows = []
    for name, times in alone.items():
        row: dict[str, Any] = {"encoder": name, "ms": median(times) * 1e3}
        row["x"] = median(base / own for base, own in zip(alone[BASE], times, strict=True))
        if name != BASE:
            row["ms, batches of 16"] = all_items_s(together[name], rounds) / len(ids) * 1e3
        if name in cosines:
            row["cosine"] = cosines[name]
        if name == "kernel w1-d6":
            flop = FLOP_PER_TOKEN * np.array([len(sequence) for sequence in ids] * rounds)
            row["of the peak"] = float(np.median(flop / PEAK / np.array(times)))
        rows.append(row)
    return rows


def _cosine(kernel: EncoderBackend, reference: EncoderBackend, ids: Ids, subnet: Subnet) -> float:
    return float((kernel.forward(ids, subnet) * reference.forward(ids, subnet)).sum(axis=1).mean())


def _measure_passages(
    encoder: ElasticQueryEncoder, backends: Mapping[str, EncoderBackend], data: Path, rounds: int
) -> list[dict[str, Any]]:
    every_40th = islice(open_corpus([data / "wiki/corpus-00-07.jsonl.gz"]), 0, None, 40)
    ids = sorted(encoder._tokenize([passage.content for passage in islice(every_40th, 64)], ""), key=len)
    batches = [ids[start : start + 4] for start in range(0, len(ids), 4)]
    subnet = encoder.full_subnet
    work: dict[str, Work] = {
        name: partial(lambda backend, number: backend.forward(batches[number], subnet), backend)
        for name, backend in backends.items()
    }
    times = time_items_in_turns(work, len(batches), rounds)
    n_tokens = sum(map(len, ids))
    rates = {name: len(ids) / all_items_s(times_of_name, rounds) for name, times_of_name in times.items()}
    return [{"encoder": name, "tokens": n_tokens / len(ids), "passages/s": rate} for name, rate in rates.items()]


if __name__ == "__main__":
    main()
