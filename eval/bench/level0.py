"""Gain of level 0 from a second table: of bigrams, or of tokens that stand first or in long texts.

    python eval/bench/level0.py recipes/all-MiniLM-L6-v2-subjects.toml --data SUBJECTS --work models/subjects.work

The vectors are read from the working folder of `elasticdenser train`. Every variant tunes the table of the model that
the recipe starts from, further by the same steps. The entries of a second table count as tokens of their own in the
mean, and start as zeros; its 20,000 vectors are those of the most frequent entries, 7.7 MB in 8 bits. Quality is
retention on the recipe's dev sets.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from report import append_result, print_table

from elasticdenser.models.token_table import TokenTable
from elasticdenser.training.batches import Batch, padded, token_ids_of
from elasticdenser.training.data import TrainingData
from elasticdenser.training.dev_sets import DevSet, load_dev_set
from elasticdenser.training.inputs import TrainingInputs, TrainOptions
from elasticdenser.training.recipe import read_recipe
from elasticdenser.training.table_tuning import TableTuning

N_ENTRIES = 20_000
LONG = 24
"""Tokens above which a text is long: more than 90 % of typed questions have fewer."""
N_FIRST = 3
"""Tokens that begin a text, beside the special one."""

Entries = Callable[[Sequence[int]], Iterable[Any]]
"""Returns the entries of a second table that the token ids of a text have."""


def bigrams(token_ids: Sequence[int]) -> Iterable[Any]:
    """Return all pairs of neighbours."""
    return pairwise(token_ids[1:-1])


def tokens_of_long(token_ids: Sequence[int]) -> Iterable[Any]:
    """Return the tokens of a long text."""
    return token_ids[1:-1] if len(token_ids) > LONG else ()


def first_tokens(token_ids: Sequence[int]) -> Iterable[Any]:
    """Return the tokens that begin the text."""
    return token_ids[1 : 1 + N_FIRST]


VARIANTS: dict[str, Entries | None] = {
    "one table": None,
    "and one of bigrams": bigrams,
    "and one of tokens in long texts": tokens_of_long,
    "and one of first tokens": first_tokens,
}


class SecondTable:
    """Numbers of the entries of a second table, behind those of the first.

    Args:
        entries: Returns the entries of a text.
        sequences: Token ids of texts whose most frequent entries the table gets.
        n_tokens: Vectors of the first table.
    """

    def __init__(self, entries: Entries, sequences: Iterable[Sequence[int]], n_tokens: int) -> None:
        self._entries = entries
        counts = Counter(entry for token_ids in sequences for entry in entries(token_ids))
        self._numbers = {entry: n_tokens + number for number, (entry, _) in enumerate(counts.most_common(N_ENTRIES))}

    def extended(self, token_ids: Sequence[int]) -> list[int]:
        """Return the token ids of a text, and the numbers of its entries."""
        numbers = (self._numbers.get(entry) for entry in self._entries(token_ids))
        return [*token_ids, *(number for number in numbers if number is not None)]


class ExtendedData:
    """Training texts whose token ids are extended by a second table.

    Args:
        data: The texts.
        second: The second table.
    """

    def __init__(self, data: TrainingData, second: SecondTable) -> None:
        self._data, self._second = data, second

    def batch(self, *arguments: Any, **settings: Any) -> Batch:
        """Return a batch as `TrainingData.batch` does, with extended token ids."""
        batch = self._data.batch(*arguments, **settings)
        sequences = [row[mask].tolist() for row, mask in zip(batch.token_ids, batch.mask, strict=True)]
        token_ids, mask = padded([self._second.extended(sequence) for sequence in sequences])
        return replace(batch, token_ids=token_ids, mask=mask)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="working folder of `elasticdenser train`")
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    recipe = read_recipe(options.recipe)
    if recipe.table is None:
        raise SystemExit("the recipe has no [table]: add it, as level 0 is tuned with its settings")
    inputs = TrainingInputs(
        recipe, TrainOptions(data=options.data, work=options.work), options.work, torch.device("cpu")
    )
    texts = inputs.texts()
    index = inputs.index(_print_progress, build=False, passages=recipe.passages)
    data = inputs.data(texts, index, _print_progress)
    dev_sets = [
        load_dev_set(
            settings,
            inputs.index(_print_progress, build=False, passages=settings.passages) if settings.passages else index,
            data=options.data,
            seed=recipe.seed,
        )
        for settings in recipe.dev_sets
    ]
    full = {dev.name: dev.value(inputs.encoder.encode(dev.texts)) for dev in dev_sets}
    table = inputs.model.table.detach()
    rows = [{"level 0": "as shipped", **_retention(table, None, dev_sets, full, inputs)}]
    for name, entries in VARIANTS.items():
        second, vectors = None, table
        tuned: Any = data
        if entries is not None:
            sample = data.token_ids(np.arange(0, len(data), 2))
            second = SecondTable(entries, sample, len(table))
            vectors = torch.cat([table, torch.zeros(N_ENTRIES, table.shape[1])])
            tuned = ExtendedData(data, second)
        settings = replace(recipe.table, steps=options.steps)
        with TemporaryDirectory() as folder:
            tuning = TableTuning(vectors, tuned, settings, Path(folder))
            tuning.run(progress=_print_progress, save_every_s=1e9)
        rows.append({"level 0": name, **_retention(tuning.vectors, second, dev_sets, full, inputs)})
        print_table(f"Retention of level 0, tuned for {options.steps:,} steps", rows)
    append_result("level0", {"steps": options.steps, "n_entries": N_ENTRIES, "rows": rows})


def _retention(
    vectors: torch.Tensor,
    second: SecondTable | None,
    dev_sets: Sequence[DevSet],
    full: dict[str, float],
    inputs: TrainingInputs,
) -> dict[str, float]:
    table, shares = TokenTable(vectors), {}
    for dev in dev_sets:
        sequences = token_ids_of(inputs.encoder, dev.texts)
        if second is not None:
            sequences = [second.extended(token_ids) for token_ids in sequences]
        of_texts = F.normalize(table.mean_vectors(sequences), dim=-1).numpy()
        shares[dev.name.split()[0].removeprefix("dev/")] = dev.value(of_texts) / full[dev.name]
    return {"mean": fmean(shares.values()), "worst": min(shares.values()), **shares}


def _print_progress(activity: str, done: int, total: int) -> None:
    if done == total or done % 500 == 0:
        print(f"{activity}: {done:,} of {total:,}", flush=True)


if __name__ == "__main__":
    main()
