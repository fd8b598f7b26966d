"""Hybrid search against its two sides, and the time that it takes beyond a search by meaning.

    python eval/bench/hybrid.py --set INDEX DATASET SPLIT MEASURE[,MEASURE] [--set ...]

Each index must have been built with `--hybrid`. Fusions that need no index of ours are computed from the same hits:
reciprocal rank fusion, and min-max scaled scores where a missing score is the lowest (both over 1,000 hits). The target
is that of issue 20: at least the better of both sides, within the noise, and at most 1.5 ms more.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median
from time import process_time
from typing import Any

import torch
from ir_measures import ScoredDoc
from report import append_result, print_table, time_items_in_turns

from elasticdenser import Retriever, load_qrels, load_queries
from elasticdenser.datasets import load_answers
from elasticdenser.evaluation import QuerySet, parse_measures
from elasticdenser.evaluation.significance import randomisation_test
from elasticdenser.evaluation.word_weight import choose_word_weight
from elasticdenser.retrieval.fusion import reciprocal_rank_fusion, weighted_fusion
from elasticdenser.retrieval.hybrid import DEFAULT_WEIGHT, words_of

_FUSED = 1000
_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
_TARGET_MS = 1.5


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs=4, action="append", required=True, dest="sets", metavar="VALUE")
    parser.add_argument("--n", type=int, default=3000, help="queries of a set, at most: the first ones")
    parser.add_argument("--timed", type=int, default=100, help="queries that are timed, alone")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for index, dataset, split, measures in options.sets:
        results.append(_measure_set(Path(index), dataset, split, measures.split(","), options))
    append_result("hybrid", {"default_weight": DEFAULT_WEIGHT, "sets": results})


def _measure_set(
    index: Path, dataset: str, split: str, measures: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    retriever = Retriever.open(index, download=False)
    query_set = _query_set(retriever, dataset, split, measures, options.n)
    systems = _systems(retriever, query_set.judged, query_set.k)
    values = {name: query_set.measure(list(hits))[0] for name, hits in systems.items()}
    better = max(("meaning", "words"), key=lambda name: fmean(values[name][measures[0]].values()))
    rows = [
        {
            "system": name,
            **{measure: fmean(of_system[measure].values()) for measure in measures},
            f"p against {better}": "" if name == better else _p(of_system, values[better], measures[0]),
        }
        for name, of_system in values.items()
    ]
    title = f"{Path(dataset).name} {split}: {len(query_set.judged)} queries, {len(retriever.index):,} passages"
    print_table(title, rows)
    choice = choose_word_weight(retriever, query_set, weights=_WEIGHTS)
    weights = [{"word weight": weight, choice.measure: mean} for weight, mean in choice.means.items()]
    print_table(f"{title}; cross-validated {choice.cross_validated:.4f}", weights)
    times = _times_ms(retriever, list(query_set.judged.values())[: options.timed], options.rounds)
    print_table(f"{title}: CPU milliseconds of a query alone", times)
    return {
        "index": index.name,
        "dataset": Path(dataset).name,
        "split": split,
        "n_queries": len(query_set.judged),
        "n_passages": len(retriever.index),
        "rows": rows,
        "means_by_weight": dict(choice.means),
        "best_weight": choice.weight,
        "cross_validated": choice.cross_validated,
        "ms": times,
    }


def _query_set(retriever: Retriever, dataset: str, split: str, measures: list[str], n: int) -> QuerySet:
    by_answers = all(measure.startswith("AnswerMatch") for measure in measures)
    split_or_none = None if split == "-" else split
    qrels = [] if by_answers else load_qrels(dataset, split=split_or_none)
    answers = load_answers(dataset, split=split_or_none) if by_answers else {}
    judged = {qrel.query_id for qrel in qrels} | set(answers)
    all_queries = {query.query_id: query.text for query in load_queries(dataset, split=split_or_none)}
    kept = [query_id for query_id in all_queries if query_id in judged][:n]
    return QuerySet(
        name="queries",
        queries={query_id: all_queries[query_id] for query_id in kept},
        qrels=[qrel for qrel in qrels if qrel.query_id in set(kept)],
        answers={query_id: answers[query_id] for query_id in kept if query_id in answers},
        text_of=retriever.index.text,
        measures=measures,
        k=max(measure.params["cutoff"] for measure in parse_measures(measures)),
    )


def _systems(retriever: Retriever, queries: Mapping[str, str], k: int) -> dict[str, Iterable[ScoredDoc]]:
    """Return the hits of each system."""
    meaning = list(retriever.search(queries, _FUSED))
    words = list(_search_words(retriever, queries, _FUSED))
    return {
        "meaning": [hit for hit, rank in _ranked(meaning) if rank < k],
        "words": [hit for hit, rank in _ranked(words) if rank < k],
        "hybrid": retriever.search(queries, k, hybrid=True),
        "reciprocal ranks": reciprocal_rank_fusion([meaning, words], k),
        "min-max, weight 0.3": (
            hit for hit, rank in _ranked(list(weighted_fusion([words, meaning], [0.3, 0.7], _FUSED))) if rank < k
        ),
    }


def _search_words(retriever: Retriever, queries: Mapping[str, str], k: int) -> Iterable[ScoredDoc]:
    for query_id, text in queries.items():
        scores, positions = words_of(retriever.index).search(text, k)
        for doc_id, score in zip(retriever.index.doc_ids.take(positions), scores.tolist(), strict=True):
            yield ScoredDoc(query_id, doc_id, score)


def _ranked(hits: Sequence[ScoredDoc]) -> Iterable[tuple[ScoredDoc, int]]:
    """Yield each hit with its rank from 0."""
    rank, last_id = 0, None
    for hit in hits:
        rank = 0 if hit.query_id != last_id else rank + 1
        last_id = hit.query_id
        yield hit, rank


def _p(values: Mapping[str, Mapping[str, float]], other: Mapping[str, Mapping[str, float]], measure: str) -> float:
    query_ids = list(values[measure])
    return randomisation_test(
        [values[measure][query_id] for query_id in query_ids], [other[measure][query_id] for query_id in query_ids]
    )


def _times_ms(retriever: Retriever, queries: list[str], rounds: int) -> list[dict[str, Any]]:
    """Return the CPU time of a query alone by meaning and hybrid, for 10 and for 100 hits."""
    cases: dict[str, Callable[[int], object]] = {}
    for k in (10, 100):
        for name, hybrid in (("meaning", False), ("hybrid", True)):
            cases[f"{name} {k}"] = partial(_search_one, retriever, queries, k, hybrid)
    times = time_items_in_turns(cases, len(queries), rounds, process_time)
    rows = []
    for k in (10, 100):
        meaning, both = (1000 * median(times[f"{name} {k}"]) for name in ("meaning", "hybrid"))
        rows.append(
            {
                "hits": k,
                "meaning": meaning,
                "hybrid": both,
                "more": both - meaning,
                "target": f"at most {_TARGET_MS:g} more",
                "met": "yes" if both - meaning <= _TARGET_MS else "no",
            }
        )
    return rows


def _search_one(retriever: Retriever, queries: list[str], k: int, hybrid: bool, number: int) -> object:
    return list(retriever.search(queries[number], k, hybrid=hybrid))


if __name__ == "__main__":
    main()
