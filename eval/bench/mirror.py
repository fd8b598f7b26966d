"""Sentence encoders before and after a mirror training: similarity of sentences, and retrieval.

    OMP_NUM_THREADS=1 python eval/bench/mirror.py --data DATA bert-tiny:mean models/mirror-bert-tiny

Each encoder is a folder or a hub id; of a plain transformer, the pooling stands behind a colon. STS-B: Spearman's
correlation of the cosines with the judged similarity, on its dev set, which nothing is trained on. NQ: RR@10 on
questions of its dev set among their gold paragraphs and others, by exact search; so small a pool compares encoders, and
says nothing about the quality on a collection.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ir_measures import RR, ScoredDoc
from report import append_result, print_table

from elasticdenser import PassageEncoder
from elasticdenser.datasets import load_qrels, load_queries, open_corpus
from elasticdenser.datasets.glue import glue_task, load_glue
from elasticdenser.evaluation.classification import spearman
from elasticdenser.evaluation.measures import evaluate
from elasticdenser.models.poolings import POOLINGS

K = 10


def main() -> None:
    """Print and record the figures of all encoders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="+", metavar="ENCODER[:POOLING]")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--questions", type=int, default=200, help="questions of NQ dev")
    parser.add_argument("--passages", type=int, default=600, help="paragraphs of NQ, with the gold ones")
    parser.add_argument("--dtype", default="float32", help="arithmetic: float32, or int8 where its vectors are as good")
    options = parser.parse_args()
    rows = [row_of(name, options) for name in options.encoders]
    print_table("Before and after", rows)
    settings = {"questions": options.questions, "passages": options.passages, "dtype": options.dtype}
    append_result("mirror", {**settings, "rows": rows})


def row_of(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of an encoder."""
    folder, _, pooling = name.rpartition(":") if name.rpartition(":")[2] in POOLINGS else (name, "", None)
    encoder = PassageEncoder.from_pretrained(folder, dtype=options.dtype, device="cpu", download=False, pooling=pooling)
    return {
        "encoder": Path(folder).name,
        "pooling": encoder.settings.pooling,
        "STS-B dev, Spearman": similarity(encoder, options.data),
        "NQ, RR@10": retrieval(encoder, options),
    }


def similarity(encoder: PassageEncoder, data: Path) -> float:
    """Return Spearman's correlation on the dev set of STS-B."""
    examples = load_glue(data / "glue", glue_task("STS-B"), "dev")
    first, second = (unit(encoder, [example.texts[side] for example in examples]) for side in (0, 1))
    return spearman([example.label for example in examples], (first * second).sum(axis=1))


def retrieval(encoder: PassageEncoder, options: argparse.Namespace) -> float:
    """Return RR@10 on questions of NQ dev among a few paragraphs."""
    folder = options.data / "nq"
    queries = {q.query_id: q.text for q in islice(load_queries(folder, split="dev"), options.questions)}
    qrels = [qrel for qrel in load_qrels(folder, split="dev") if qrel.query_id in queries]
    gold = {qrel.doc_id for qrel in qrels}
    passages = list(open_corpus([folder]))
    pool = [passage for passage in passages if passage.doc_id in gold]
    others = (passage for passage in passages if passage.doc_id not in gold)
    pool += islice(others, max(0, options.passages - len(pool)))
    scores = unit(encoder, list(queries.values())) @ unit(encoder, [passage.content for passage in pool]).T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    run = [
        ScoredDoc(query_id, pool[row].doc_id, float(scores[number, row]))
        for number, query_id in enumerate(queries)
        for row in best[number].tolist()
    ]
    return float(evaluate(qrels, run, [RR @ K])[RR @ K])


def unit(encoder: PassageEncoder, texts: list[str]) -> Any:
    """Return the vectors of texts, float32, (n_texts, dim), L2-normalised, also of encoders that do not normalise."""
    vectors = encoder.encode(texts)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
