"""Reranking: quality against milliseconds a query on one core.

    OMP_NUM_THREADS=1 python eval/bench/rerank.py --data DATA --wiki indexes/wiki
    OMP_NUM_THREADS=1 python eval/bench/rerank.py --data DATA --wiki indexes/wiki --ranker models/ranker

Every subnet with 10 to 100 candidates, and cascades of two and three stages, on questions of NQ dev (100 best passages
by the full encoder) and on TREC DL 2019 (BM25's 100 best). Each pair is scored once at each subnet; the quality of
every combination follows from these scores. Times are CPU times of the reranking alone: of 100 pairs at each subnet,
from which those of the combinations are estimated in proportion; those on the front are then timed themselves. For late
interaction, the vectors of all passages' tokens are stored first, which is not timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import numpy as np
from report import append_result, print_table, time_items_in_turns
from rerank_sets import N_CANDIDATES, Query, RankingSet, dl19_set, nq_set

from elasticdenser import LateInteractionRanker, Subnet
from elasticdenser.models.ranker_manifest import is_late_interaction
from elasticdenser.models.shipped_ranker import shipped_ranker
from elasticdenser.rankers import AnyRanker, Stage, load_ranker
from elasticdenser.rankers.late_interaction import MAX_BYTES
from elasticdenser.retrieval.reranking import ElasticReranker

NUMBERS = (10, 20, 30, 50, 100)
CASCADES = ((100, 10), (100, 20), (100, 30), (50, 10), (50, 20), (100, 30, 10))
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BUDGETS_MS = (5.0, 10.0, 25.0, 50.0)

Stages = tuple[Stage, ...]
Row = dict[str, Any]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--wiki", type=Path, help="index of NQ's and Wikipedia's passages; without it, only DL19")
    parser.add_argument("--ranker", type=Path, help="folder of the ranker; without it, that of the package")
    parser.add_argument(
        "--token-vectors", type=Path, help="folder that keeps vectors of tokens; default: a temporary one"
    )
    parser.add_argument("--limit", type=int, default=300, help="maximum number of NQ's questions; 0 is all")
    parser.add_argument("--timed", type=int, default=10, help="queries that are timed")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    sets = [dl19_set(options.data)]
    if options.wiki is not None:
        sets.append(nq_set(options.data, options.wiki, options.limit))
    with TemporaryDirectory() as folder:
        _run(options, sets, _ranker(options.ranker or shipped_ranker(), options.token_vectors or Path(folder), sets))


def _ranker(folder: Path, token_vectors: Path, sets: Sequence[RankingSet]) -> AnyRanker:
    """Load the ranker, and store the vectors that it needs of the passages' tokens, if any."""
    if not is_late_interaction(folder):
        return load_ranker(folder, device="cpu")
    ranker = LateInteractionRanker.from_pretrained(folder, token_vectors=token_vectors, max_bytes=MAX_BYTES)
    for ranking_set in sets:
        for query in ranking_set.queries:
            ranker.store(query.passages)
    ranker.stored_vectors.flush()
    return ranker


def _run(options: argparse.Namespace, sets: Sequence[RankingSet], ranker: AnyRanker) -> None:
    """Measure a ranker, print the tables, and append the results."""
    tokenizing_ms, subnet_ms = _pair_times_ms(ranker, sets[0].queries[: options.timed], options.rounds)
    rows = [{"subnet": str(subnet), "ms": ms + tokenizing_ms} for subnet, ms in subnet_ms.items()]
    print_table(f"{N_CANDIDATES} pairs of a query, {ranker.dtype}, {tokenizing_ms:.1f} ms of it tokenisation", rows)
    estimates = {stages: _estimated_ms(stages, tokenizing_ms, subnet_ms) for stages in _all_stages(ranker.subnets)}
    results = [_measure(ranking_set, ranker, estimates, options.timed, options.rounds) for ranking_set in sets]
    append_result(
        "rerank",
        {
            "ranker": ranker.folder.name,
            "precision": ranker.dtype,
            "limit": options.limit,
            "timed": options.timed,
            "rounds": options.rounds,
            "pairs": {"n": N_CANDIDATES, "tokenizing_ms": tokenizing_ms, "rows": rows},
            "sets": results,
        },
    )


def _all_stages(subnets: Sequence[Subnet]) -> list[Stages]:
    """Return every subnet with every number of candidates, and every cascade of growing subnets."""
    single = [(Stage(number, subnet),) for subnet in subnets for number in NUMBERS]
    growing = sorted(subnets)
    cascades = [
        tuple(map(Stage, numbers, chosen)) for numbers in CASCADES for chosen in combinations(growing, len(numbers))
    ]
    return [*single, *cascades]


def _measure(
    ranking_set: RankingSet, ranker: AnyRanker, estimates: Mapping[Stages, float], n_timed: int, rounds: int
) -> Row:
    """Print the tables of a set; return its results."""
    scores = {subnet: ranking_set.scores(ranker, subnet) for subnet in ranker.subnets}
    values = {stages: ranking_set.reranked(stages, scores) for stages in estimates}
    first = ranking_set.first_stage()
    front = _front(estimates, values, first)
    measured = _front_times_ms(ranker, front, ranking_set.queries[:n_timed], rounds)
    rows = [{"stages": "first stage alone", "estimated ms": 0.0, "ms": 0.0, "value": first, "gain": 0.0}]
    rows += [
        {
            "stages": _spelling(stages),
            "estimated ms": estimates[stages],
            "ms": measured[stages],
            "value": values[stages],
            "gain": values[stages] - first,
        }
        for stages in front
    ]
    print_table(f"Front of quality and time: {ranking_set.name}, {len(ranking_set.queries)} queries", rows)
    budgets = list(_best_within(estimates, values))
    print_table(f"Best within a time: {ranking_set.name}", budgets)
    full = (Stage(N_CANDIDATES, ranker.full_subnet),)
    weights = [{"weight": weight, "value": ranking_set.reranked(full, scores, weight)} for weight in WEIGHTS]
    print_table(f"{_spelling(full)} with a weight of the first stage: {ranking_set.name}", weights)
    return {
        "set": ranking_set.name,
        "queries": len(ranking_set.queries),
        "first_stage": first,
        "front": rows,
        "budgets": budgets,
        "weights": weights,
        "values": {_spelling(stages): round(value, 4) for stages, value in values.items() if len(stages) == 1},
    }


def _front(times_ms: Mapping[Stages, float], values: Mapping[Stages, float], first: float) -> list[Stages]:
    """Return the combinations that nothing cheaper equals, the first stage alone included, cheapest first."""
    front: list[Stages] = []
    best = first
    for stages in sorted(times_ms, key=lambda stages: (times_ms[stages], -values[stages])):
        if values[stages] > best:
            front.append(stages)
            best = values[stages]
    return front


def _best_within(times_ms: Mapping[Stages, float], values: Mapping[Stages, float]) -> Iterable[Row]:
    """Yield, for each budget and number of stages, the best combination."""
    for budget in BUDGETS_MS:
        for n_stages in (1, 2, 3):
            fitting = [stages for stages in times_ms if len(stages) == n_stages and times_ms[stages] <= budget]
            if fitting:
                best = max(fitting, key=lambda stages: (values[stages], -times_ms[stages]))
                row = {"stages": _spelling(best), "estimated ms": times_ms[best], "value": values[best]}
                yield {"budget ms": budget, "n": n_stages, **row}


def _pair_times_ms(ranker: AnyRanker, queries: Sequence[Query], rounds: int) -> tuple[float, dict[Subnet, float]]:
    """Return the milliseconds to tokenise a query's pairs, and to score them at each subnet, median over queries."""
    pairs = [ranker.pairs(query.text, query.passages) for query in queries]
    work: dict[str, Callable[[int], object]] = {
        "pairs": lambda item: ranker.pairs(queries[item].text, queries[item].passages),
        **{str(subnet): partial(_score, ranker, pairs, subnet) for subnet in ranker.subnets},
    }
    times = time_items_in_turns(work, len(queries), rounds, process_time)
    medians_ms = {name: 1000 * median(seconds) for name, seconds in times.items()}
    return medians_ms["pairs"], {subnet: medians_ms[str(subnet)] for subnet in ranker.subnets}


def _score(ranker: AnyRanker, pairs: Sequence[list[Any]], subnet: Subnet, item: int) -> object:
    return ranker.score_pairs(pairs[item], subnet)


def _front_times_ms(
    ranker: AnyRanker, front: Sequence[Stages], queries: Sequence[Query], rounds: int
) -> dict[Stages, float]:
    """Return the milliseconds of the combinations on the front, median over queries."""
    work = {stages: partial(_rerank, _reranker(ranker, stages), queries) for stages in front}
    times = time_items_in_turns(
        {_spelling(stages): run for stages, run in work.items()}, len(queries), rounds, process_time
    )
    return {stages: 1000 * median(times[_spelling(stages)]) for stages in front}


def _rerank(reranker: ElasticReranker, queries: Sequence[Query], item: int) -> object:
    query, n = queries[item], reranker.n_candidates
    return reranker.rank_texts(query.text, query.passages[:n], query.first_scores[:n])


def _reranker(ranker: AnyRanker, stages: Stages) -> ElasticReranker:
    first, *others = stages
    return ElasticReranker(
        ranker, n_candidates=first.n_candidates, subnet=first.subnet, then=tuple(others), first_stage_weight=0.0
    )


def _estimated_ms(stages: Stages, tokenizing_ms: float, subnet_ms: Mapping[Subnet, float]) -> float:
    """Return the milliseconds of a combination, in proportion to its pairs."""
    shares = np.array([stage.n_candidates for stage in stages]) / N_CANDIDATES
    costs = np.array([subnet_ms[stage.subnet] for stage in stages if stage.subnet is not None])
    return float(shares[0] * tokenizing_ms + shares @ costs)


def _spelling(stages: Stages) -> str:
    return ",".join(map(str, stages))


if __name__ == "__main__":
    main()
