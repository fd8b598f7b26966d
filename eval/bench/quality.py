"""Quality of the full encoder: our exact search and our `auto` index against sentence-transformers + brute force.

    python eval/bench/quality.py --data ../shared/data

Builds (or goes on building) three indexes, encodes the same passages with sentence-transformers, and measures all of
them on Natural Questions, TriviaQA and MS MARCO. Takes hours on two cores; everything done is kept in --work.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ir_measures import ScoredDoc
from numpy.typing import NDArray
from reference import encode_reference
from report import keep, print_table

from elasticdenser import (
    ElasticQueryEncoder,
    PassageEncoder,
    PassageIndex,
    Retriever,
    load_qrels,
    load_queries,
    open_corpus,
)
from elasticdenser.datasets import load_answers
from elasticdenser.evaluation import evaluate, parse_measures
from elasticdenser.evaluation.answers import answer_match

Vectors = NDArray[np.float32]

_K = 100


@dataclass(frozen=True, kw_only=True)
class Task:
    """A query set over a corpus; `corpora` and `queries` are names below the data folder."""

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
        "--kept-reference", action="store_true", help="compare over the reference vectors that are there"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder = ElasticQueryEncoder.from_pretrained()
    rows: list[dict[str, object]] = []
    for task in TASKS:
        index = _index(task, options.data, options.work)
        rows += _measure(task, index, encoder, options.data, options.work / "reference", options.kept_reference)
    print_table("Full encoder, top 100", rows)
    keep("quality", {"rows": rows})


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
    theirs = _filled(encode_reference(texts, name, reference))[0]
    passages, there = _reference_passages(task, data, reference, only_kept)
    score = _scorer(task, index, data)
    retriever = Retriever(encoder, index)
    auto = f"ours, auto ({index.manifest.structure.factory})"
    systems: dict[str, Callable[[], Iterable[ScoredDoc]]] = {
        "ours, exact": lambda: retriever.search(queries, _K, exact=True),
        auto: lambda: retriever.search(queries, _K),
    }
    of = "" if len(there) == len(index) else f" [{len(there):,} passages]"
    if of:
        ids = [index.doc_ids[position] for position in there]
        systems[f"ours, exact{of}"] = lambda: retriever.search(queries, _K, doc_ids=ids)
    systems[f"sentence-transformers + brute force{of}"] = lambda: _brute_force(
        [query.query_id for query in queries], theirs, passages, [index.doc_ids[position] for position in there]
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


def _reference_passages(task: Task, data: Path, reference: Path, only_kept: bool) -> tuple[Vectors, NDArray[np.int64]]:
    """Return the reference vectors that are there and the positions of their passages in the index."""
    chunks: list[Vectors] = []
    positions: list[NDArray[np.int64]] = []
    start = 0
    for corpus in task.corpora:
        texts = [passage.content for passage in open_corpus([data / corpus])]
        kept = encode_reference(texts, corpus.split("/")[0], reference, only_saved=only_kept)
        vectors, at = _filled(kept)
        chunks.append(vectors)
        positions.append(start + at)
        start += len(texts)
    return np.concatenate(chunks), np.concatenate(positions)


def _filled(chunks: list[Vectors | None]) -> tuple[Vectors, NDArray[np.int64]]:
    from reference import CHUNK

    there = [(number * CHUNK, chunk) for number, chunk in enumerate(chunks) if chunk is not None]
    positions = np.concatenate([np.arange(start, start + len(chunk)) for start, chunk in there])
    return np.concatenate([chunk for _, chunk in there]), positions


def _brute_force(query_ids: list[str], queries: Vectors, passages: Vectors, doc_ids: list[str]) -> Iterator[ScoredDoc]:
    """Search with numpy alone, so that nothing of ours is in the reference.

    The corpus holds copies, whose scores differ by rounding at most: they are ordered as in our runs, by position,
    and the rank stands for the score, so that no measure orders them otherwise.
    """
    for start in range(0, len(queries), 64):
        scores = queries[start : start + 64] @ passages.T
        top = np.argpartition(-scores, _K + 16, axis=1)[:, : _K + 16]
        for query_id, its_scores, its_top in zip(query_ids[start : start + 64], scores, top, strict=True):
            best = sorted(its_top.tolist(), key=lambda at: (-round(float(its_scores[at]), 6), at))[:_K]
            for rank, position in enumerate(best):
                yield ScoredDoc(query_id, doc_ids[position], -float(rank))


if __name__ == "__main__":
    main()
