"""Measure whether two gates tell which queries need a larger subnet, with the cost of asking counted.

    python eval/bench/gates.py recipes/all-MiniLM-L6-v2-subjects.toml --data SUBJECTS --work models/subjects.work

Every query is encoded by the small subnet of a pair. A gate *before the search* predicts from that vector how far it is
from the full encoder's (a ridge regression, fitted to training texts); gates *after the search* take the scores of the
hits, and the first search is paid as well. A share of the queries, those with the worst sign, escalates: the large
subnet encodes and searches them anew. Only its first layers could be taken over from the small one, one of six for
w1-d3, as a subnet takes the model's last two layers.

The table compares with mixing the two subnets at random at the same mean milliseconds, where no query is encoded twice:
a gate pays if its gain is above 0. "In each set" is the same where an equal share of each dev set escalates, as if each
were a traffic of its own; else the gate also tells hard sets from easy ones. Times are those of the profile that the
encoder ships with. Retention is the mean over the dev sets. Vectors of training texts and indexes are read from
the working folder of `elasticdenser train`, or computed there.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from drift import shipped_times
from numpy.typing import NDArray
from report import append_result, print_table

from elasticdenser.arrays import Vectors
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.engine import Profile
from elasticdenser.engine.profiling.escalated_levels import escalated_level
from elasticdenser.engine.profiling.level_name import escalated_name
from elasticdenser.engine.simulation.arrivals import poisson
from elasticdenser.engine.simulation.settings import SimulationSettings
from elasticdenser.engine.simulation.simulator import simulate
from elasticdenser.engine.simulation.summary import summarise
from elasticdenser.training.batches import token_ids_of
from elasticdenser.training.dev_sets import DevSet, load_dev_set
from elasticdenser.training.inputs import TrainingInputs, TrainOptions
from elasticdenser.training.recipe import read_recipe

PAIRS = (
    ("level0", "w1-d6"),
    ("w0.25-d1", "w1-d6"),
    ("w0.5-d3", "w1-d6"),
    ("w0.5-d3", "w1-d4"),
    ("w1-d2", "w1-d6"),
    ("w1-d3", "w1-d6"),
)
"""The small subnet of a pair, which every query takes, and the large one."""
SHARES = (0.1, 0.25, 0.5)
"""Shares of the queries that escalate."""
RATES = (500, 1000, 1500, 2000, 3000, 4000)
"""Simulated requests per second, of which one worker serves 700 at the full encoder and 5,300 at level 0."""
N_TRAIN = 4000
"""Training texts that the regression is fitted to."""
RIDGE = 1e-2
"""Weight of the squared coefficients in the regression, relative to the mean square of the features."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Queries:
    """Queries of all dev sets, which count alike; rows of all arrays.

    Args:
        weight: With which a query's measure counts, so that the sum is the mean retention.
        share: Share of a query in the traffic; each dev set has as much as any other.
        set_of: Number of its dev set.
        tokens: Length in tokens.
        values: Subnet -> measure.
        margins: Subnet -> name of a margin -> values; small is uncertain.
        vectors: Subnet -> float32, (n, dim), L2-normalised.
    """

    weight: Floats
    share: Floats
    set_of: Floats
    tokens: Floats
    values: Mapping[str, Floats]
    margins: Mapping[str, Mapping[str, Floats]]
    vectors: Mapping[str, Vectors]


def main() -> None:
    """Print and record what the gates gain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="working folder of `elasticdenser train`")
    parser.add_argument("--encoder", default="elasticdenser/all-MiniLM-L6-v2", help="whose subnets are measured")
    arguments = parser.parse_args()
    recipe = read_recipe(arguments.recipe)
    inputs = TrainingInputs(
        recipe, TrainOptions(data=arguments.data, work=arguments.work), arguments.work, torch.device("cpu")
    )
    encoder = ElasticQueryEncoder.from_pretrained(arguments.encoder, download=False)
    index = inputs.index(_print_progress, build=True, passages=recipe.passages)
    dev_sets = [
        load_dev_set(
            settings,
            inputs.index(_print_progress, build=True, passages=settings.passages) if settings.passages else index,
            data=arguments.data,
            seed=recipe.seed,
        )
        for settings in recipe.dev_sets
    ]
    texts = inputs.texts()
    drawn = np.random.default_rng(recipe.seed).choice(len(texts), min(N_TRAIN, len(texts)), replace=False)
    train = Train.encoded(encoder, [texts[row] for row in drawn])
    queries = measured(encoder, dev_sets)
    rows = [
        {"pair": f"{small} > {large}", "gate": gate, "escalated": share, **gain(queries, encoder, signs, pair, share)}
        for pair in PAIRS
        for small, large in [pair]
        for gate, signs in gates(queries, train, small).items()
        for share in SHARES
    ]
    print_table(f"What gates gain over mixing at random, {len(queries.tokens):,} queries of {len(dev_sets)} sets", rows)
    simulated = simulated_loads(queries, encoder)
    print_table("Simulated with the shipped profile, without and with levels that escalate", simulated)
    result = {"encoder": arguments.encoder, "n_queries": len(queries.tokens), "rows": rows, "simulated": simulated}
    append_result("gates", result)


@dataclass(frozen=True, kw_only=True, eq=False)
class Train:
    """Training texts, by which the regression is fitted.

    Args:
        tokens: Length in tokens.
        vectors: Small subnet -> float32, (n, dim).
        drifts: Small subnet -> cosine distance to the full encoder's vector.
    """

    tokens: Floats
    vectors: Mapping[str, Vectors]
    drifts: Mapping[str, Floats]

    @classmethod
    def encoded(cls, encoder: ElasticQueryEncoder, texts: Sequence[str]) -> Train:
        """Return texts with vectors of all small subnets."""
        full = encoder.encode(texts)
        vectors = {small: encoder.encode(texts, small) for small in dict.fromkeys(small for small, _ in PAIRS)}
        return cls(
            tokens=np.array(encoder.count_tokens(texts), float),
            vectors=vectors,
            drifts={small: 1 - np.sum(full * found, axis=1, dtype=float) for small, found in vectors.items()},
        )


def measured(encoder: ElasticQueryEncoder, dev_sets: Sequence[DevSet]) -> Queries:
    """Encode and search the queries of the dev sets at every subnet of the pairs, and at the full encoder."""
    subnets = list(dict.fromkeys(["w1-d6", *(subnet for pair in PAIRS for subnet in pair)]))
    parts: dict[str, list[NDArray[np.float64]]] = {"weight": [], "share": [], "set_of": [], "tokens": []}
    values: dict[str, list[Floats]] = {subnet: [] for subnet in subnets}
    vectors: dict[str, list[Vectors]] = {subnet: [] for subnet in subnets}
    margins: dict[str, list[dict[str, Floats]]] = {subnet: [] for subnet in subnets}
    for number, dev in enumerate(dev_sets):
        n = len(dev.texts)
        parts["set_of"].append(np.full(n, float(number)))
        for subnet in subnets:
            found = encoder.encode(dev.texts, subnet)
            scores, _ = dev.index.search(found, 11, exact=True)
            vectors[subnet].append(found)
            values[subnet].append(dev.values(found))
            margins[subnet].append(margins_of(scores))
        parts["weight"].append(np.full(n, 1 / (len(dev_sets) * values["w1-d6"][-1].sum())))
        parts["share"].append(np.full(n, 1 / (len(dev_sets) * n)))
        parts["tokens"].append(np.array([len(ids) for ids in token_ids_of(encoder, dev.texts)], float))
    return Queries(
        **{name: np.concatenate(arrays) for name, arrays in parts.items()},
        values={subnet: np.concatenate(arrays) for subnet, arrays in values.items()},
        vectors={subnet: np.concatenate(arrays) for subnet, arrays in vectors.items()},
        margins={
            subnet: {name: np.concatenate([of_set[name] for of_set in found]) for name in found[0]}
            for subnet, found in margins.items()
        },
    )


def margins_of(scores: NDArray[np.float32]) -> dict[str, Floats]:
    """Return margins of the first hit, and of the last that is answered.

    Args:
        scores: float32, (n, 11), descending.
    """
    exact = scores.astype(float)
    return {
        "margin of the first": exact[:, 0] - exact[:, 1],
        "first against tenth": exact[:, 0] - exact[:, 9],
        "margin of the tenth": exact[:, 9] - exact[:, 10],
        "score of the first": exact[:, 0],
    }


def gates(queries: Queries, train: Train, small: str) -> dict[str, tuple[Floats, bool]]:
    """Return gate -> its sign for each query, large where the query should escalate, and whether a search precedes."""
    before, correlation = predicted_drift(queries, train, small)
    print(f"{small}: predicted and true drift of the dev queries correlate by {correlation:.2f}")
    after = {name: (-margin, True) for name, margin in queries.margins[small].items()}
    return {"predicted drift": (before, False)} | after


def predicted_drift(queries: Queries, train: Train, small: str) -> tuple[Floats, float]:
    """Return the regression's prediction for each query, and its correlation with the truth."""
    features, target = _features(train.vectors[small], train.tokens), train.drifts[small]
    mean = features.mean(axis=0)
    centred = features - mean
    gram = centred.T @ centred
    ridge = RIDGE * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), centred.T @ (target - target.mean()))
    predicted = (_features(queries.vectors[small], queries.tokens) - mean) @ weights + target.mean()
    drift = 1 - np.sum(queries.vectors[small] * queries.vectors["w1-d6"], axis=1, dtype=float)
    return predicted, float(np.corrcoef(predicted, drift)[0, 1])


def _features(vectors: Vectors, tokens: Floats) -> Floats:
    """Return the vector, scaled to a mean square of 1 per dimension, and the logarithm of the length."""
    return np.column_stack([vectors.astype(float) * vectors.shape[1] ** 0.5, np.log(tokens), np.log(tokens) ** 2])


def gain(
    queries: Queries, encoder: ElasticQueryEncoder, gate: tuple[Floats, bool], pair: tuple[str, str], share: float
) -> dict[str, float]:
    """Return the mean retention and milliseconds of a gate, and its gain over a mixture of the same milliseconds."""
    sign, searches_first = gate
    times = {
        subnet: np.interp(queries.tokens, list(of_subnet), list(of_subnet.values()))
        for subnet, of_subnet in shipped_times(encoder).items()
    }
    small, large = pair
    # The time of level 0 alone is that of the search.
    cost_s = times[small], times[large] - (0.0 if searches_first else times["level0"])

    def measure(escalates: NDArray[np.bool_]) -> tuple[float, float, float]:
        mean_s = {subnet: float((times[subnet] * queries.share).sum()) for subnet in pair}
        spent_s = float(((cost_s[0] + escalates * cost_s[1]) * queries.share).sum())
        kept = {subnet: float((queries.values[subnet] * queries.weight).sum()) for subnet in pair}
        gated = np.where(escalates, queries.values[large], queries.values[small])
        part = (spent_s - mean_s[small]) / (mean_s[large] - mean_s[small])
        mixed = kept[small] + min(part, 1.0) * (kept[large] - kept[small])
        return spent_s, float((gated * queries.weight).sum()), mixed

    spent_s, kept, mixed = measure(sign >= np.quantile(sign, 1 - share))
    in_each = np.zeros(len(sign), bool)
    for number in np.unique(queries.set_of):
        of_set = queries.set_of == number
        in_each[of_set] = sign[of_set] >= np.quantile(sign[of_set], 1 - share)
    _, kept_in_each, mixed_in_each = measure(in_each)
    return {
        "ms": spent_s * 1e3,
        "retention": kept,
        "mixed": mixed,
        "gain": kept - mixed,
        "in each set": kept_in_each - mixed_in_each,
    }


def simulated_loads(queries: Queries, encoder: ElasticQueryEncoder) -> list[dict[str, float]]:
    """Return shares in time and retention under loads, with the shipped levels, and with escalated ones added."""
    shipped = Profile.load(encoder.location.path / "profile.json")
    by_name = {level.name: level for level in shipped.levels}
    large = by_name["w1-d6"]
    added = []
    for small in sorted({small for small, _ in PAIRS} & set(by_name)):
        kept = float((queries.values[small] * queries.weight).sum())
        margin = queries.margins[small]["first against tenth"]
        for share in SHARES:
            escalates = margin <= np.quantile(margin, share)
            chosen = np.where(escalates, queries.values[large.name], queries.values[small])
            gained = (float((chosen * queries.weight).sum()) - kept) / (1 - kept)
            name = escalated_name(small, float(np.quantile(margin, share)), large.name)
            added.append(escalated_level(name, by_name[small], large, share, min(gained, 1.0)))
    profiles = {"shipped": shipped, "escalated": Profile(levels=[*shipped.levels, *added])}
    settings = SimulationSettings(deadline_s=0.025, seconds=20.0)
    rows = []
    for rate in RATES:
        row: dict[str, float] = {"requests/s": rate}
        for name, profile in profiles.items():
            arrivals = poisson(rate, settings.seconds, np.random.default_rng(0))
            summary = summarise("elastic", simulate(profile, "elastic", arrivals, settings), profile)
            row |= {f"{name}: in time": summary.in_time, f"{name}: retention": summary.retention}
        rows.append(row)
    return rows


def _print_progress(activity: str, done: int, total: int) -> None:
    if done == total:
        print(f"{activity}: {done:,} of {total:,}", flush=True)


if __name__ == "__main__":
    main()
