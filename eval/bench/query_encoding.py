"""Encoding alone: questions one by one, and passages in batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from statistics import median

import numpy as np
from peers import ONNX, ST, Encode, Vectors
from query_bench import SUBNETS, Bench, Row, Targets, shown
from report import all_items_s, ratios, target_columns

from elasticdenser import PassageEncoder, open_corpus
from elasticdenser.errors import ModelError

TOGETHER, PASSAGES_PER_BATCH, N_PASSAGES = 32, 8, 64

# Targets of the speed-up over sentence-transformers and over ONNX Runtime in float32.
_QUERY_TARGETS: Targets = {"w1-d6": (8, 2.8), "w0.5-d3": (30, 10), "w0.25-d1": (80, 30)}
_PASSAGE_TARGETS: Targets = {"int8": (3.5,)}


def measure_queries(bench: Bench) -> tuple[str, list[Row]]:
    """Return title and rows: string to vector, one by one, and whether the vector depends on the batch."""
    encoders = bench.peers | {subnet: partial(bench.encoder.encode, subnet=subnet) for subnet in SUBNETS}
    times = bench.times(encoders, [[text] for text in bench.texts])
    x_st, x_onnx = ratios(times, ST), ratios(times, ONNX)
    reference = np.concatenate([bench.peers[ST]([text]) for text in bench.texts])
    rows = []
    for name, encode in encoders.items():
        row: Row = {"encoder": shown(name), "ms": median(times[name]) * 1e3}
        row |= {"x ST": x_st[name], "x ONNX float32": x_onnx[name]}
        row |= _alone_and_together(encode, bench.texts, reference)
        rows.append(row | target_columns([x_st[name], x_onnx[name]], _QUERY_TARGETS.get(name)))
    return f"String to vector, {len(bench.texts)} questions one by one, medians; x: of the same question", rows


def _alone_and_together(encode: Encode, texts: Sequence[str], reference: Vectors) -> Row:
    alone = np.concatenate([encode([text]) for text in texts])
    together = np.concatenate([encode(texts[start : start + TOGETHER]) for start in range(0, len(texts), TOGETHER)])
    return {
        "cosine to ST": float((alone * reference).sum(axis=1).mean()),
        f"alone and in {TOGETHER}, least cosine": float((alone * together).sum(axis=1).min()),
        "same bits": "yes" if np.array_equal(alone, together) else "no",
    }


def measure_passages(bench: Bench) -> tuple[str, list[Row]]:
    """Return title and rows: passages to vectors, in batches of about equal length."""
    every_40th = islice(open_corpus([bench.data / "wiki/corpus-00-07.jsonl.gz"]), 0, None, 40)
    texts = sorted((passage.content for passage in islice(every_40th, N_PASSAGES)), key=len)
    batches = [texts[start : start + PASSAGES_PER_BATCH] for start in range(0, len(texts), PASSAGES_PER_BATCH)]
    encoders: dict[str, Encode] = {name: bench.peers[name] for name in (ST, ONNX)}
    for dtype in ("bfloat16", "int8"):
        try:
            encoders[dtype] = PassageEncoder.from_pretrained(dtype=dtype, device="cpu").encode
        except ModelError as error:
            print(f"without {dtype}: {error}")
    times = bench.times(encoders, batches)
    x, reference = ratios(times, ST), bench.peers[ST](texts)
    rows = []
    for name, encode in encoders.items():
        rate = len(texts) / all_items_s(times[name], bench.rounds)
        row: Row = {"encoder": shown(name), "passages a core-second": rate, "x ST": x[name]}
        row["least cosine to ST"] = float((encode(texts) * reference).sum(axis=1).min())
        rows.append(row | target_columns([x[name]], _PASSAGE_TARGETS.get(name)))
    return f"{len(texts)} Wikipedia passages, sorted, in batches of {PASSAGES_PER_BATCH}", rows
