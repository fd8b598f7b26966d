"""Quality of the full encoder: exact search and the `auto` index against sentence-transformers with brute force.

    python eval/bench/quality.py --data ../shared/data

Builds three indexes, encodes the same passages with sentence-transformers, and measures all of them on Natural
Questions, TriviaQA and MS MARCO. This takes hours on two cores; an interrupted run continues with what is in --work.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ir_measures import ScoredDoc
from reference import CHUNK, encode_reference
from report import append_result, print_table

from elasticdenser import (
    ElasticQueryEncoder,
    PassageEncoder,
    PassageIndex,
    Retriever,
    load_qrels,
    load_queries,
    open_corpus,
)
from elasticdenser.arrays import Positions, Vectors
from elasticdenser.datasets import load_answers
from elasticdenser.evaluation import answer_match, evaluate, parse_measures

_K = 100

_SPARE = 16
"""Hits beyond k that are sorted exactly: copies of a passage at the cut-off differ by rounding only."""

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Task:
    """Query set over a corpus; `corpora` and `queries` are names in the data folder."""

    name: str
    corpora: tuple[str, ...]
    queries: str
    split: str | None
    measures: tuple[str, ...]


TASKS = (
    Task(
        name="NQ dev, gold paragraphs (11k)",
        corpora=("nq",),
        queries="nq",
        split="dev",
        measures=("RR@10", "R@20", "R@100", "nDCG@10"),
    ),
    Task(
        name="NQ dev, 191k passages",
        corpora=("nq", "wiki/corpus-00-07.jsonl.gz"),
        queries="nq",
        split="dev",
        measures=("RR@10", "R@20", "R@100", "nDCG@10"),
    ),
    Task(
        name="TriviaQA dev, 191k passages",
        corpora=("nq", "wiki/corpus-00-07.jsonl.gz"),
        queries="triviaqa",
        split=None,
        measures=(),
    ),
    Task(
        name="MS MARCO DL19, pool re-retrieval (30k)",
        corpora=("msmarco",),
        queries="msmarco",
        split="dl19",
        measures=("nDCG@10", "RR(rel=2)@10", "R(rel=2)@100"),
    ),
)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("eval/runs/quality"))
    parser.add_argument(
        "--kept-reference", action="store_true", help="encode no passages, compare over the reference vectors in --work"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder = ElasticQueryEncoder.from_pretrained()
    rows: list[dict[str, object]] = []
    for task in TASKS:
        index = _index(task, options.data, options.work)
        rows += _measure(task, index, encoder, options.data, options.work / "reference", options.kept_reference)
    print_table("Full encoder, top 100", rows)
    append_result("quality", {"rows": rows})


def _index(task: Task, data: Path, work: Path) -> PassageIndex:
    name = "+".join(corpus.split("/")[0] for corpus in task.corpora)
    if (work / name).is_dir():
        return PassageIndex.open(work / name)
    return PassageIndex.build([data / corpus for corpus in task.corpora], work / name, PassageEncoder.from_pretrained())


def _measure(
    task: Task, index: PassageIndex, encoder: ElasticQueryEncoder, data: Path, reference: Path, only_kept: bool
) -> Iterator[dict[str, object]]:
    queries = load_queries(data / task.queries, split=task.split)
    texts = [query.text for query in queries]
    name = f"{task.queries}-{task.split or 'all'}-queries"
    query_vectors, _ = _joined(encode_reference(texts, name, reference))
    passages, positions = _reference_passages(task, data, reference, only_kept)
    score = _scorer(task, index, data)
    retriever = Retriever(encoder, index)
    auto = f"ours, auto ({index.manifest.structure.factory})"
    systems: dict[str, Callable[[], Iterable[ScoredDoc]]] = {
        "ours, exact": lambda: retriever.search(queries, _K, exact=True),
        auto: lambda: retriever.search(queries, _K),
    }
    doc_ids = [index.doc_ids[position] for position in positions]
    subset = "" if len(doc_ids) == len(index) else f" [{len(doc_ids):,} passages]"
    if subset:
        systems[f"ours, exact{subset}"] = lambda: retriever.search(queries, _K, doc_ids=doc_ids)
    systems[f"sentence-transformers + brute force{subset}"] = lambda: _brute_force(
        [query.query_id for query in queries], query_vectors, passages, doc_ids
    )
    for name, search in systems.items():
        run = list(search())
        row = {"task": task.name, "system": name, "queries": len(queries), **score(run)}
        print(row, flush=True)
        yield row


def _scorer(task: Task, index: PassageIndex, data: Path) -> Callable[[list[ScoredDoc]], dict[str, float]]:
    if task.measures:
        qrels, measures = load_qrels(data / task.queries, split=task.split), parse_measures(task.measures)
        return lambda run: {str(measure): value for measure, value in evaluate(qrels, run, measures).items()}
    answers = load_answers(data / task.queries)
    return lambda run: {
        f"AnswerMatch@{k}": value for k, value in answer_match(run, answers, index.text, ks=(5, 20, 100)).items()
    }


def _reference_passages(task: Task, data: Path, reference: Path, only_kept: bool) -> tuple[Vectors, Positions]:
    """Return the reference vectors and the positions of their passages in the index."""
    chunks: list[Vectors] = []
    positions: list[Positions] = []
    start = 0
    for corpus in task.corpora:
        texts = [passage.content for passage in open_corpus([data / corpus])]
        vectors, corpus_positions = _joined(
            encode_reference(texts, corpus.split("/")[0], reference, only_saved=only_kept)
        )
        chunks.append(vectors)
        positions.append(start + corpus_positions)
        start += len(texts)
    return np.concatenate(chunks), np.concatenate(positions)


def _joined(chunks: list[Vectors | None]) -> tuple[Vectors, Positions]:
    """Return the vectors of the chunks that exist, and their positions."""
    existing = [(number * CHUNK, chunk) for number, chunk in enumerate(chunks) if chunk is not None]
    positions = np.concatenate([np.arange(start, start + len(chunk)) for start, chunk in existing])
    return np.concatenate([chunk for _, chunk in existing]), positions


def _brute_force(query_ids: list[str], queries: Vectors, passages: Vectors, doc_ids: list[str]) -> Iterator[ScoredDoc]:
    """Search with numpy alone, so that the reference does not depend on our code.

    The corpus contains copies of passages, whose scores differ at most by rounding. They are ordered by position, as
    in our runs, and the score of a hit is its negative rank, so that measures keep this order.
    """
    for start in range(0, len(queries), _BATCH):
        scores = queries[start : start + _BATCH] @ passages.T
        candidates = np.argpartition(-scores, _K + _SPARE, axis=1)[:, : _K + _SPARE]
        for query_id, query_scores, positions in zip(
            query_ids[start : start + _BATCH], scores, candidates, strict=True
        ):
            rounded = {position: round(float(query_scores[position]), 6) for position in positions.tolist()}
            best = sorted((-score, position) for position, score in rounded.items())[:_K]
            for rank, (_, position) in enumerate(best):
                yield ScoredDoc(query_id, doc_ids[position], -float(rank))


if __name__ == "__main__":
    main()
