"""Cost of passages in 8 bits: an index of int8 vectors (the kernel) against one of the same passages made by torch.

    python eval/bench/precision_passages.py --data DATA --wiki TORCH_INDEX INT8_INDEX --msmarco TORCH_INDEX INT8_INDEX

An INT8_INDEX that is absent or unfinished is built. Quality is NQ dev (RR@10), TriviaQA dev (AnswerMatch@20) and DL19
(nDCG@10) with the full encoder, through each index's own structure; retention is the share of the figure of float32
queries on the index made by torch. Cosines are of the stored vectors, passage by passage.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from report import append_result, print_table

from elasticdenser import ElasticQueryEncoder, PassageEncoder, PassageIndex
from elasticdenser.training.dev_sets import load_dev_set
from elasticdenser.training.settings import DevSetSettings

_SOURCES = {"wiki": ("nq", "wiki/corpus-00-07.jsonl.gz"), "msmarco": ("msmarco",)}
_CHUNK = 8192


class Pair(NamedTuple):
    """Two indexes of the same passages."""

    torch: PassageIndex
    int8: PassageIndex


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    for name, passages in (("--wiki", "NQ's and Wikipedia's passages"), ("--msmarco", "the MS MARCO pool")):
        parser.add_argument(name, type=Path, nargs=2, required=True, help=f"indexes of {passages}")
    parser.add_argument("--limit", type=int, default=0, help="queries of a set at most; 0 is all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pairs = {name: _opened(getattr(options, name), options.data, sources) for name, sources in _SOURCES.items()}
    cosines = [_cosines(name, pair) for name, pair in pairs.items()]
    print_table("Stored vectors, int8 against torch", cosines)
    encoders = {dtype: ElasticQueryEncoder.from_pretrained(dtype=dtype, device="cpu") for dtype in ("float32", "int8")}
    dev_sets = (
        ("wiki", DevSetSettings(path="nq", split="dev", measure="RR@10", limit=options.limit)),
        ("wiki", DevSetSettings(path="triviaqa", measure="AnswerMatch@20", limit=options.limit)),
        ("msmarco", DevSetSettings(path="msmarco", split="dl19", measure="nDCG@10", limit=options.limit)),
    )
    rows = [_row(settings, pairs[name], encoders, options.data) for name, settings in dev_sets]
    shares = [column for column in rows[0] if column.startswith("retention")]
    rows.append({"set": "mean", **{share: sum(row[share] for row in rows) / len(rows) for share in shares}})
    print_table("Quality by the arithmetic of passages and queries, full encoder", rows)
    append_result("precision-passages", {"limit": options.limit, "cosines": cosines, "rows": rows})


def _opened(folders: tuple[Path, Path], data: Path, sources: tuple[str, ...]) -> Pair:
    torch_folder, int8_folder = folders
    reference = PassageIndex.open(torch_folder)
    encoder = PassageEncoder.from_pretrained(dtype="int8", device="cpu")
    reference.check_encoder(encoder.fingerprint)
    index = PassageIndex.build([data / source for source in sources], int8_folder, encoder)
    if index.manifest.corpus["sha256"] != reference.manifest.corpus["sha256"]:
        raise SystemExit(f"{torch_folder} holds other passages than {', '.join(sources)}")
    return Pair(reference, index)


def _cosines(name: str, pair: Pair) -> dict[str, Any]:
    parts = [
        (pair.torch.vectors[start : start + _CHUNK] * pair.int8.vectors[start : start + _CHUNK]).sum(axis=1)
        for start in range(0, len(pair.torch), _CHUNK)
    ]
    cosines = np.concatenate(parts)
    return {
        "passages of": name,
        "number": len(cosines),
        "torch in": pair.torch.manifest.encoder.dtype,
        "mean cosine": float(cosines.mean(dtype=np.float64)),
        "1 in 1,000 below": float(np.quantile(cosines, 0.001)),
        "least cosine": float(cosines.min()),
    }


def _row(settings: DevSetSettings, pair: Pair, encoders: dict[str, ElasticQueryEncoder], data: Path) -> dict[str, Any]:
    over_torch, over_int8 = (load_dev_set(settings, index, data=data, seed=1) for index in pair)
    queries = {dtype: encoder.encode(over_torch.texts) for dtype, encoder in encoders.items()}
    base, mixed = over_torch.value(queries["float32"]), over_int8.value(queries["float32"])
    both = over_int8.value(queries["int8"])
    return {
        "set": over_torch.name,
        "queries": len(over_torch.texts),
        "torch": base,
        "int8 passages": mixed,
        "int8 queries too": both,
        "retention": mixed / base,
        "retention, int8 queries too": both / base,
    }


if __name__ == "__main__":
    main()
