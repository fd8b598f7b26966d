"""Send a burst of queries to the engine and print which level answered, and how long it took.

    python examples/engine_under_load.py

Indexes 300 passages of the documentation of Python's standard library, measures the levels on this machine, then sends
queries in three phases: calm, a burst well above what the full encoder can answer, and calm again. Takes about 20 s.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from concurrent.futures import Future
from itertools import cycle, islice
from pathlib import Path
from statistics import quantiles

from elasticdenser import ElasticQueryEncoder, PassageEncoder, PassageIndex, RetrievalEngine, Retriever
from elasticdenser.datasets import Corpus
from elasticdenser.datasets.python_docs import python_docs
from elasticdenser.engine import Answer, OverloadedError

N_PASSAGES = 300
DEADLINE_S = 0.05
SECONDS_A_PHASE = 1.5


def build_retriever(folder: Path) -> Retriever:
    """Index the first passages of Python's documentation."""
    corpus = Corpus.from_passages("python-docs", lambda: islice(python_docs(), N_PASSAGES))
    index = PassageIndex.build(corpus, folder, PassageEncoder.from_pretrained(download=False))
    return Retriever(ElasticQueryEncoder.from_pretrained(download=False), index)


def send(engine: RetrievalEngine, queries: cycle[str], rate_per_s: float) -> tuple[list[Future[Answer]], int]:
    """Submit queries at a constant rate for one phase; return the accepted ones and how many were rejected."""
    accepted: list[Future[Answer]] = []
    rejected = 0
    started_s = time.perf_counter()
    for number in range(int(rate_per_s * SECONDS_A_PHASE)):
        time.sleep(max(0.0, started_s + number / rate_per_s - time.perf_counter()))
        try:
            accepted.append(engine.submit(next(queries), k=10))
        except OverloadedError:  # no level could have met the deadline
            rejected += 1
    return accepted, rejected


def report(phase: str, rate_per_s: float, accepted: list[Future[Answer]], rejected: int) -> None:
    """Print the levels and latencies of one phase."""
    answers: list[Answer] = []
    for future in accepted:
        try:
            answers.append(future.result())
        except OverloadedError:  # shed after it was accepted, because the load rose
            rejected += 1
    levels = Counter(answer.level for answer in answers)
    latencies_ms = [1000 * (answer.queued_s + answer.ran_s) for answer in answers]
    p99_ms = quantiles(latencies_ms, n=100)[98] if len(answers) > 1 else float("nan")
    shares = ", ".join(f"{level} {n / len(answers):.0%}" for level, n in levels.most_common())
    print(f"{phase:6} {rate_per_s:5.0f} queries/s   p99 {p99_ms:5.1f} ms   rejected {rejected:4}   {shares}")


def main() -> None:
    """Run the three phases."""
    with tempfile.TemporaryDirectory() as folder:
        retriever = build_retriever(Path(folder) / "index")
        # Different queries, as equal ones that wait at the same time share one search.
        queries = cycle([f"{passage.title} {passage.text[:40]}" for passage in islice(python_docs(), 2000)])
        with RetrievalEngine(retriever, slo_s=DEADLINE_S, workers=1) as engine:
            engine.warm_up()
            full = engine.profile.levels[0]
            capacity_per_s = full.capacity_per_s(DEADLINE_S / 2)
            print(f"the best level, {full.name}, answers about {capacity_per_s:.0f} queries/s with one worker")
            for phase, share in (("calm", 0.2), ("burst", 2.0), ("calm", 0.2)):
                rate_per_s = share * capacity_per_s
                report(phase, rate_per_s, *send(engine, queries, rate_per_s))


if __name__ == "__main__":
    main()
