"""pQRNN as a query encoder beside level 0 and subnets with layers: quality, typing errors, bytes, CPU time.

    python eval/bench/pqrnn.py MODEL --data DATA --nq-index INDEX --index INDEX --dl19-index INDEX

Quality is a share of the full encoder's on queries without errors: dev questions of nq over its own paragraphs, those
of triviaqa over an index of nq and wiki, and TREC DL 2019 as the BM25 top 100 in the order of the inner products, with
vectors from an index that has these passages. CPU time is that of one query in the calling thread, all encoders in
turns; it includes tokenising and hashing. `cold` drops the cache of words before each query.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean, median
from time import process_time
from typing import Any

import ir_measures
import numpy as np
from ir_measures import ScoredDoc, nDCG
from numpy.typing import NDArray
from report import append_result, print_table, time_items_in_turns

from elasticdenser import ElasticQueryEncoder, PassageIndex
from elasticdenser.arrays import Vectors
from elasticdenser.datasets import load_qrels, load_queries
from elasticdenser.datasets.runs import read_run
from elasticdenser.suites.perturbed_queries import mistyped
from elasticdenser.training.dev_sets import DevSet, load_dev_set
from elasticdenser.training.settings import DevSetSettings

SUBNETS = ("w1-d6", "w0.25-d1", "level0")
PQRNN = "pqrnn"
TYPING_ERRORS = (0, 1, 2)

Encode = Callable[[list[str]], Vectors]
Values = Callable[[Vectors], NDArray[np.float64]]
Sets = Mapping[str, tuple[Mapping[str, str], Values]]
"""Title -> queries by id, and what measures their vectors."""


class Bm25Top100:
    """The 100 best hits of BM25 for each query of TREC DL 2019, ordered by inner products."""

    def __init__(self, folder: Path, index: PassageIndex) -> None:
        self.queries = {query.query_id: query.text for query in load_queries(folder, split="test")}
        self._qrels = list(load_qrels(folder, split="test"))
        self._hits: dict[str, list[str]] = {}
        for hit in read_run(folder / "runs" / "bm25.trec.gz"):
            self._hits.setdefault(hit.query_id, []).append(hit.doc_id)
        self._positions = {
            query_id: [index.doc_ids.find(doc_id) for doc_id in doc_ids] for query_id, doc_ids in self._hits.items()
        }
        if min(min(positions) for positions in self._positions.values()) < 0:
            raise SystemExit(f"{index.path} lacks passages of the BM25 top 100: index rerank/dl19, or all of msmarco")
        self._index = index

    def values(self, vectors: Vectors) -> NDArray[np.float64]:
        """Return nDCG@10 of each query."""
        run = [
            ScoredDoc(query_id, doc_id, float(score))
            for query_id, vector in zip(self.queries, vectors, strict=True)
            for doc_id, score in zip(
                self._hits[query_id], self._index.vectors[self._positions[query_id]] @ vector, strict=True
            )
        ]
        by_query = {value.query_id: value.value for value in ir_measures.iter_calc([nDCG @ 10], self._qrels, run)}
        return np.array([by_query[query_id] for query_id in self.queries])


def query_sets(options: argparse.Namespace) -> Sets:
    """Return the queries of each set, and what measures their vectors."""
    sets: dict[str, tuple[Mapping[str, str], Values]] = {}
    for path, split, measure, index in (
        ("nq", "dev", "nDCG@10", options.nq_index),
        ("triviaqa", "", "AnswerMatch@20", options.index),
    ):
        settings = DevSetSettings(path=path, split=split, measure=measure, limit=options.limit)
        dev: DevSet = load_dev_set(settings, PassageIndex.open(index), data=options.data, seed=1)
        sets[f"{path} {measure}"] = dev.query_set.judged, dev.values
    dl19 = Bm25Top100(options.data / "rerank" / "dl19", PassageIndex.open(options.dl19_index))
    sets["dl19 nDCG@10"] = dl19.queries, dl19.values
    return sets


def quality(encoders: Mapping[str, Encode], sets: Sets) -> list[dict[str, Any]]:
    """Return a row for each encoder and number of typing errors.

    Its shares are means over the sets: of the full encoder's quality, and of its own, both without errors.
    """
    full: dict[str, float] = {}
    rows = []
    for name, encode in encoders.items():
        without_errors: dict[str, float] = {}
        for n_errors in TYPING_ERRORS:
            row: dict[str, Any] = {"encoder": name, "typing errors": n_errors}
            for title, (queries, values) in sets.items():
                value = float(values(encode(list(mistyped(queries, n_errors).values()))).mean())
                full.setdefault(title, value)
                without_errors.setdefault(title, value)
                row[title] = value
            row["share of full"] = fmean(row[title] / full[title] for title in sets)
            row["share of own"] = fmean(row[title] / max(without_errors[title], 1e-9) for title in sets)
            rows.append(row)
            print_table("Quality so far", rows)
    return rows


def cpu_time(
    encoders: Mapping[str, Encode], pqrnn: ElasticQueryEncoder, queries: list[str], rounds: int
) -> list[dict[str, Any]]:
    """Return the CPU microseconds of a query, all encoders in turns."""

    def cold(number: int) -> Vectors:
        pqrnn._backend.forget_words()  # type: ignore[attr-defined]
        return pqrnn.encode([queries[number]])

    candidates: dict[str, Callable[[int], object]] = {
        name: partial(_encode_one, encode, queries) for name, encode in encoders.items()
    }
    times = time_items_in_turns({**candidates, "pqrnn, cold": cold}, len(queries), rounds, process_time)
    return [
        {"encoder": name, "CPU us a query, median": 1e6 * median(own), "90th percentile": 1e6 * _percentile(own, 0.9)}
        for name, own in times.items()
    ]


def _encode_one(encode: Encode, queries: list[str], number: int) -> Vectors:
    return encode([queries[number]])


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of the pQRNN")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--nq-index", type=Path, required=True, help="index of nq")
    parser.add_argument("--index", type=Path, required=True, help="index of nq and wiki/corpus-00-07")
    parser.add_argument("--dl19-index", type=Path, required=True, help="index with the passages of rerank/dl19")
    parser.add_argument("--limit", type=int, default=500, help="questions of each dev set")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    elastic, pqrnn = ElasticQueryEncoder.from_pretrained(), ElasticQueryEncoder.from_pretrained(str(options.model))
    encoders: dict[str, Encode] = {name: partial(elastic.encode, subnet=name) for name in SUBNETS}
    encoders[PQRNN] = pqrnn.encode
    n_bytes = sum(path.stat().st_size for path in options.model.iterdir())
    sets = query_sets(options)
    timed = [text for queries, _ in sets.values() for text in list(queries.values())[:40]]
    times = cpu_time(encoders, pqrnn, timed, options.rounds)
    print_table(f"CPU time of one query, {len(timed)} queries, {options.rounds} rounds", times)
    rows = quality(encoders, sets)
    print(f"\n{options.model}: {n_bytes:,} bytes")
    append_result("pqrnn", {"bytes": n_bytes, "limit": options.limit, "quality": rows, "cpu": times})


if __name__ == "__main__":
    main()
