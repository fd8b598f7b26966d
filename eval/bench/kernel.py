"""The kernel, in 8 bits and float32, against torch in float32 and sentence-transformers: token ids or texts to vectors.

OMP_NUM_THREADS=1 python eval/bench/kernel.py --data ../shared/data
OMP_NUM_THREADS=1 python eval/bench/kernel.py --data ../shared/data --encoder models/mpnet --queries 60

Another encoder is measured at all its subnets.
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
from elasticdenser.models.architectures import count_of, hidden_size
from elasticdenser.models.locate import DEFAULT_ELASTIC
from elasticdenser.models.model_files import read_config
from elasticdenser.subnet import Subnet

SUBNETS = ("w1-d6", "w1-d3", "w0.5-d3", "w0.25-d1", "level0")
BASE, TORCH = "sentence-transformers", "torch, float32"
PEAK = 460e9
"""Operations a second, measured with vpdpbusd alone."""

Ids = list[list[int]]
Work = Callable[[int], object]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--passages", type=int, default=64)
    parser.add_argument("--encoder", default=DEFAULT_ELASTIC, help="folder or hub id of an encoder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder = ElasticQueryEncoder.from_pretrained(options.encoder, device="cpu", dtype="int8")
    # Where torch is installed, as here, float32 is torch's by default.
    backends: dict[str, EncoderBackend] = {
        "kernel": KernelBackend.load(encoder.location, encoder.settings),
        "kernel, float32": KernelBackend.load(encoder.location, encoder.settings, dtype="float32"),
        TORCH: TorchBackend.load(encoder.location, encoder.settings, dtype="float32", device="cpu"),
    }
    texts = [query.text for query in load_queries(options.data / "nq", split="dev")[: options.queries]]
    peer = load_sentence_transformer(None if options.encoder == DEFAULT_ELASTIC else encoder.location.path)
    rows = _measure_queries(encoder, backends, peer, texts, options.rounds)
    corpus = open_corpus([options.data / "wiki/corpus-00-07.jsonl.gz"])
    every_40th = islice(islice(corpus, 0, None, 40), options.passages)
    passages = _measure_passages(encoder, backends, peer, [passage.content for passage in every_40th], options.rounds)
    path = kernel_paths()[0]
    print_table(f"{len(texts)} questions, one thread, path {path}, medians; x: of the same question", rows)
    print_table("Wikipedia passages, one thread, batches of 4", passages)
    measured = {"path": path, "rounds": options.rounds, "queries": rows, "passages": passages}
    append_result("kernel", measured | {"encoder": encoder.fingerprint.name})


def _measure_queries(
    encoder: ElasticQueryEncoder, backends: Mapping[str, EncoderBackend], peer: Any, texts: Sequence[str], rounds: int
) -> list[dict[str, Any]]:
    ids = encoder._tokenize(texts, "")
    by_length = sorted(ids, key=len)
    batches = [by_length[start : start + 16] for start in range(0, len(ids), 16)]
    work: dict[str, Work] = {BASE: lambda number: peer.encode(texts[number], show_progress_bar=False)}
    batched: dict[str, Work] = {}
    cosines: dict[str, float] = {}
    for subnet in _measured_subnets(encoder):
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
        if name == f"kernel {encoder.full_subnet}":
            flop = _flop_per_token(encoder) * np.array([len(sequence) for sequence in ids] * rounds)
            row["of the peak"] = float(np.median(flop / PEAK / np.array(times)))
        rows.append(row)
    return rows


def _measured_subnets(encoder: ElasticQueryEncoder) -> list[Subnet]:
    wanted = [subnet for subnet in map(Subnet.parse, SUBNETS) if subnet in encoder.subnets]
    return wanted if len(wanted) == len(SUBNETS) else encoder.subnets


def _flop_per_token(encoder: ElasticQueryEncoder) -> int:
    """Return multiplications and additions per token of the full encoder, without attention."""
    config = read_config(encoder.location.path)
    hidden, n_neurons = hidden_size(config), count_of(config, "intermediate_size", "hidden_dim")
    return 2 * encoder.full_subnet.depth * hidden * (4 * hidden + 2 * n_neurons)


def _cosine(kernel: EncoderBackend, reference: EncoderBackend, ids: Ids, subnet: Subnet) -> float:
    return float((kernel.forward(ids, subnet) * reference.forward(ids, subnet)).sum(axis=1).mean())


def _measure_passages(
    encoder: ElasticQueryEncoder, backends: Mapping[str, EncoderBackend], peer: Any, texts: Sequence[str], rounds: int
) -> list[dict[str, Any]]:
    texts = sorted(texts, key=len)
    ids = encoder._tokenize(texts, "")
    starts = range(0, len(ids), 4)
    batches, text_batches = ([items[start : start + 4] for start in starts] for items in (ids, texts))
    subnet = encoder.full_subnet
    work: dict[str, Work] = {BASE: lambda number: peer.encode(text_batches[number], show_progress_bar=False)}
    for name, backend in backends.items():
        work[name] = partial(lambda backend, number: backend.forward(batches[number], subnet), backend)
    times = time_items_in_turns(work, len(batches), rounds)
    n_tokens = sum(map(len, ids))
    rates = {name: len(ids) / all_items_s(times_of_name, rounds) for name, times_of_name in times.items()}
    return [{"encoder": name, "tokens": n_tokens / len(ids), "passages/s": rate} for name, rate in rates.items()]


if __name__ == "__main__":
    main()
