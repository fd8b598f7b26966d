"""Passages per second against sentence-transformers' defaults, with one thread each; time and memory of indexing.

python eval/bench/encode.py --data ../shared/data
python eval/bench/encode.py --data ../shared/data --index nq wiki/corpus-00-07.jsonl.gz
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

import torch
from reference import load_sentence_transformer
from report import append_result, print_table, ratios, time_in_turns

from elasticdenser import PassageEncoder, open_corpus


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--passages", type=int, default=1024)
    parser.add_argument("--index", nargs="+", help="measure time and memory of `elasticdenser index` on these corpora")
    options = parser.parse_args()
    if options.index:
        _measure_indexing([options.data / name for name in options.index])
    else:
        _measure_speed(options.data, options.passages, options.rounds)


def _measure_speed(data: Path, n_passages: int, rounds: int) -> None:
    torch.set_num_threads(1)
    every_40th = islice(open_corpus([data / "wiki/corpus-00-07.jsonl.gz"]), 0, None, 40)
    texts = [passage.content for passage in islice(every_40th, n_passages)]
    peer = load_sentence_transformer()
    dtypes = {"ours, int8": "int8", "ours, bfloat16 or what auto gives": "auto", "ours, float32": "float32"}
    encoders = {name: PassageEncoder.from_pretrained(dtype=dtype) for name, dtype in dtypes.items()}
    base = "sentence-transformers"
    candidates: dict[str, Callable[[], object]] = {base: lambda: peer.encode(texts, show_progress_bar=False)}
    for name, encoder in encoders.items():
        candidates[name] = partial(_encode_all, encoder, texts)
    reference = peer.encode(texts, show_progress_bar=False)
    times = time_in_turns(candidates, rounds)
    speedup = ratios(times, base)
    rows = []
    for name, seconds in times.items():
        vectors = reference if name == base else encoders[name].encode(texts)
        cosines = (vectors * reference).sum(axis=1)
        mean, least = round(float(cosines.mean()), 6), round(float(cosines.min()), 6)
        rate = len(texts) / median(seconds)
        row = {"encoder": name, "passages/s": rate, "x": speedup[name], "mean cosine": mean, "least cosine": least}
        rows.append(row)
    print_table(f"{len(texts)} Wikipedia passages, one thread, medians of {rounds} interleaved rounds", rows)
    append_result("encode", {"passages": len(texts), "rounds": rounds, "rows": rows})


def _encode_all(encoder: PassageEncoder, texts: list[str]) -> None:
    for _ in encoder.encode_windows([texts], workers=1):
        pass


def _measure_indexing(corpora: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "elasticdenser", "index", *map(str, corpora), "-o", f"{folder}/index"]
        started = time.monotonic()
        subprocess.run(command, check=True)
        seconds = time.monotonic() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        size = sum(path.stat().st_size for path in Path(folder, "index").iterdir()) / 2**20
    n_passages = sum(1 for _ in open_corpus(corpora))
    row = {"passages": n_passages, "seconds": seconds, "peak memory, GiB": peak, "on disk, MiB": size}
    print_table("elasticdenser index", [row])
    append_result("encode", {"indexing": row})


if __name__ == "__main__":
    main()
