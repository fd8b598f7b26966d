"""Measure whether a cheap sign tells which queries a small subnet answers badly, so that these get a larger one.

    python eval/bench/drift.py RESULTS.json

RESULTS.json is that of a finished run of `eval/suites/subjects-local.toml`: it has the texts of the queries and the
measure of each of them at every subnet.

Two subnets share the queries. Chosen at random, a mixture gets a share of the larger subnet's gain for the same share
of its additional cost. A sign chooses better if the queries with the greatest predicted gain per additional millisecond
get the larger subnet. The gain is predicted linearly from the sign and the length of the query, fitted to the *other*
query sets. The table shows the mean retention over the query sets that each sign adds at equal milliseconds, in the
middle of the range (half of the additional cost), and what knowing the gain itself would add.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from report import append_result, print_table

from elasticdenser import ElasticQueryEncoder
from elasticdenser.engine import Profile
from elasticdenser.models.elastic_files import load_elastic
from elasticdenser.models.token_table import TokenTable
from elasticdenser.training.batches import token_ids_of

PAIRS = ("level0", "w0.25-d1", "w0.5-d3", "w1-d2", "w1-d3", "w1-d4", "w1-d6")
"""Subnets of which each shares the queries with the next."""
SHARES = (0.25, 0.5, 0.75)
"""Shares of the additional cost that are spent."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Queries:
    """Queries of all sets: rows of all arrays.

    Args:
        set_of: Number of the query set.
        tokens: Length in tokens.
        values: Subnet -> measure.
        signs: Sign -> values.
        cost_s: Subnet -> run time of the query alone.
    """

    set_of: NDArray[np.int64]
    tokens: Floats
    values: dict[str, Floats]
    signs: dict[str, Floats]
    cost_s: dict[str, Floats]


def main() -> None:
    """Print and record how much each sign adds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results.json of the suite")
    parser.add_argument("--encoder", default="elasticdenser/all-MiniLM-L6-v2", help="the encoder of the suite")
    parser.add_argument("--measure", default="nDCG@10")
    arguments = parser.parse_args()
    encoder = ElasticQueryEncoder.from_pretrained(arguments.encoder, download=False)
    queries = load(json.loads(arguments.results.read_text(encoding="utf-8")), encoder, arguments.measure)
    rows = []
    for small, large in pairwise(PAIRS):
        for share in SHARES:
            row = {"pair": f"{small}, {large}", "cost spent": share}
            mixed = mixture(queries, small, large, share)
            row["at random"] = mixed
            row["length"] = retention(queries, small, large, predicted(queries, [], small, large), share) - mixed
            for name, sign in queries.signs.items():
                gain = predicted(queries, [sign], small, large)
                row[name] = retention(queries, small, large, gain, share) - mixed
            gain = predicted(queries, list(queries.signs.values()), small, large)
            row["all signs"] = retention(queries, small, large, gain, share) - mixed
            gain = queries.values[large] - queries.values[small]
            row["the gain itself"] = retention(queries, small, large, gain, share) - mixed
            rows.append(row)
    title = f"Mean retention at random, and what choosing the queries adds; {len(queries.tokens):,} queries"
    print_table(title, rows)
    append_result("drift", {"measure": arguments.measure, "n_queries": len(queries.tokens), "rows": rows})


def load(results: dict[str, Any], encoder: ElasticQueryEncoder, measure: str) -> Queries:
    """Gather queries, measures, signs and costs."""
    texts = {
        (query_set["name"], query): text
        for query_set in results["query_sets"]
        for query, text in query_set["queries"].items()
    }
    subnet_of = {system["name"]: system["size"] for system in results["systems"]}
    measured: dict[str, dict[tuple[str, str], float]] = {}
    for cell in results["cells"]:
        by_query = measured.setdefault(subnet_of[cell["system"]], {})
        by_query |= {(cell["query_set"], query): value for query, value in cell["values"][measure].items()}
    keys = sorted(measured["w1-d6"])
    names = sorted({name for name, _ in keys})
    sequences = token_ids_of(encoder, [texts[key] for key in keys])
    tokens = np.array([len(sequence) for sequence in sequences], float)
    return Queries(
        set_of=np.array([names.index(name) for name, _ in keys]),
        tokens=tokens,
        values={subnet: np.array([by_query[key] for key in keys]) for subnet, by_query in measured.items()},
        signs=signs_of(encoder, [texts[key] for key in keys], sequences),
        cost_s={
            subnet: np.interp(tokens, list(times), list(times.values()))
            for subnet, times in shipped_times(encoder).items()
        },
    )


def shipped_times(encoder: ElasticQueryEncoder) -> dict[str, dict[float, float]]:
    """Return subnet -> tokens -> seconds of a query alone, as the encoder's profile has them."""
    measured = Profile.load(encoder.location.path / "profile.json").measured["alone_by_tokens_s"]
    # Longer queries than the profile has cost in proportion.
    return {
        subnet: {float(tokens): seconds for tokens, seconds in times.items()}
        | ({} if "256" in times else {256.0: times["64"] + (times["64"] - times["32"]) * 6})
        for subnet, times in measured.items()
    }


def signs_of(encoder: ElasticQueryEncoder, texts: list[str], sequences: list[list[int]]) -> dict[str, Floats]:
    """Return the signs: each costs at most one pass through level 0 or one layer."""
    model, _ = load_elastic(encoder.location.path)
    means = TokenTable(model.table).mean_vectors(sequences).numpy()
    level0, one_layer = encoder.encode(texts, "level0"), encoder.encode(texts, "w0.25-d1")
    # BERT's vocabulary is sorted by frequency, so that the logarithm of a token's number tells how rare it is.
    rarity = [np.mean(np.log1p(sequence[1:-1] or [0])) for sequence in sequences]
    pieces = continues_word(encoder)
    word_pieces = [np.mean(pieces[sequence[1:-1] or [0]]) for sequence in sequences]
    token_norms = np.linalg.norm(model.table.detach().numpy(), axis=1)
    mean_norm = np.array([token_norms[sequence].mean() for sequence in sequences])
    norm = np.linalg.norm(means, axis=1)
    return {
        "norm of level 0": norm,
        "coherence of level 0": norm / mean_norm,
        "rarity of tokens": np.array(rarity),
        "word pieces": np.array(word_pieces),
        "level0 against w0.25-d1": 1 - np.sum(level0 * one_layer, axis=1, dtype=float),
    }


def continues_word(encoder: ElasticQueryEncoder) -> NDArray[np.float64]:
    """Return for each token whether it continues a word."""
    vocabulary = json.loads((encoder.location.path / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    pieces = np.zeros(len(vocabulary))
    pieces[[number for piece, number in vocabulary.items() if piece.startswith("##")]] = 1
    return pieces


def weights(queries: Queries) -> Floats:
    """Return weights with which measures add up to the mean retention over the sets."""
    full = queries.values["w1-d6"]
    of_set = np.array([1 / full[queries.set_of == number].sum() for number in range(queries.set_of.max() + 1)])
    return of_set[queries.set_of] / len(of_set)


def predicted(queries: Queries, signs: list[Floats], small: str, large: str) -> Floats:
    """Return the predicted gain of each query, from a fit to the other sets."""
    columns = [np.ones_like(queries.tokens), queries.tokens, np.log(queries.tokens)]
    for sign in signs:
        standard = (sign - sign.mean()) / sign.std()
        columns += [standard, standard**2]
    features = np.stack(columns, axis=1)
    # A set's queries count alike whatever their number.
    target, weight = queries.values[large] - queries.values[small], np.sqrt(weights(queries))
    gain = np.empty_like(target)
    for number in range(queries.set_of.max() + 1):
        held_out = queries.set_of == number
        others = ~held_out
        fitted = np.linalg.lstsq(features[others] * weight[others, None], target[others] * weight[others], rcond=None)[
            0
        ]
        gain[held_out] = features[held_out] @ fitted
    return gain


def mixture(queries: Queries, small: str, large: str, share: float) -> float:
    """Return the mean retention of a mixture by chance that spends this share of the additional cost."""
    by_query = queries.values[small] * (1 - share) + queries.values[large] * share
    return float((by_query * weights(queries)).sum())


def retention(queries: Queries, small: str, large: str, gain: Floats, share: float) -> float:
    """Return the mean retention if the queries with the greatest gain per millisecond get the larger subnet."""
    cost = queries.cost_s[large] - queries.cost_s[small]
    # Each set has the same share of the traffic, as it has the same share of the mean.
    of_set = 1 / np.bincount(queries.set_of)
    cost = np.maximum(cost, 1e-6) * of_set[queries.set_of]
    order = np.argsort(-gain * weights(queries) / cost)
    spent = np.cumsum(cost[order])
    chosen = np.zeros(len(order), bool)
    chosen[order[spent <= share * spent[-1]]] = True
    by_query = np.where(chosen, queries.values[large], queries.values[small])
    return float((by_query * weights(queries)).sum())


if __name__ == "__main__":
    main()
