"""What each part of the training is worth: short trainings, each without one part, and sizes that are trained alone.

    python eval/bench/ablations.py recipes/all-MiniLM-L6-v2.toml --data DATA --work models/minilm.work [--index INDEX]

Vectors and level 0 come from the working folder, where `elasticdenser train` left them, or are made there. Every
variant sees the same batches; "drawn at random" takes more steps, so that as many sizes are trained in all. Quality is
retention on the recipe's dev sets, of their clean queries and of the same ones with a typing error. What a variant came
to is kept in the working folder: an interrupted run goes on with the next one.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from report import keep, print_table

from elasticdenser.artifacts import write_json
from elasticdenser.encoders import resolve_device
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.elastic_init import elastic_from_full
from elasticdenser.suites.mistyped_queries import mistyped
from elasticdenser.training.data import TrainingData, token_ids_of
from elasticdenser.training.dev_sets import DevSet, load_dev_set, values_of_sizes
from elasticdenser.training.distil import Distillation
from elasticdenser.training.inputs import TrainingInputs, TrainOptions
from elasticdenser.training.recipe import read_recipe
from elasticdenser.training.settings import Recipe
from elasticdenser.training.start import start_sizes, start_table
from elasticdenser.training.table import TableTuning

ALONE = ("w1-d4", "w1-d2", "w0.5-d3", "w0.25-d6")
"""Sizes that are trained alone, too."""

SHOWN = (*ALONE, "w0.5-d6", "w0.25-d1")
"""Sizes that are measured."""

N_SAMPLED = 5


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A training that is like the first one but for something.

    Args:
        name: What it is called.
        distil: Settings of the distillation that differ.
        start: Settings of the start that differ.
        level0: Whether the exits are given level 0.
    """

    name: str
    distil: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[str, Any] = field(default_factory=dict)
    level0: bool = True


def variants(steps: int, n_sizes: int) -> list[Variant]:
    """Return all variants, the whole first."""
    return [
        Variant(name="all together"),
        Variant(name="not trained, the start alone", distil={"steps": 0}),
        Variant(name="without level 0 in the exits", level0=False),
        Variant(name="without the score distribution", distil={"score_weight": 0.0}),
        Variant(name="without reordering", start={"reorder": False}),
        Variant(name="without equilibrium", distil={"equilibrium": 0.0}),
        Variant(name="without typing errors", distil={"typo_share": 0.0}),
        Variant(
            name="sizes drawn at random", distil={"n_sampled": N_SAMPLED, "steps": round(steps * n_sizes / N_SAMPLED)}
        ),
        *(Variant(name=f"{size} alone", distil={"sizes": (size,)}) for size in ALONE),
    ]


class Bench:
    """What the variants share.

    Args:
        recipe: The whole training.
        options: Where data and working folder are.
        batch: Queries a step.
        steps: Of each variant.
    """

    def __init__(self, recipe: Recipe, options: TrainOptions, batch: int, steps: int) -> None:
        assert options.work is not None
        self.recipe, self.batch, self.steps, self.work = recipe, batch, steps, options.work
        self.materials = TrainingInputs(recipe, options, options.work, resolve_device("auto"))
        index = self.materials.index(_told, build=True, path=recipe.index, passages=recipe.passages)
        self.data: TrainingData = self.materials.data(self.materials.texts(), index, _told)
        self.dev_sets = [load_dev_set(its, index, data=options.data, seed=recipe.seed) for its in recipe.choose]
        encoder = self.materials.encoder
        of = self.materials.plan(self.materials.texts(), index), [dev.fingerprint() for dev in self.dev_sets]
        self.folder = self.work / "ablations" / fingerprint_of(of)[:12]
        self.full = {dev.name: dev.value(encoder.encode(dev.texts)) for dev in self.dev_sets}
        self.table = self._table()

    def _table(self) -> torch.Tensor:
        settings, folder = self.recipe.table, self.folder / "table"
        if settings is None:
            raise SystemExit("the recipe has no [table]: without a level 0 there is nothing to leave out")
        start = start_table(self.materials.model.tokens, self.data, settings, folder / "start.pt", progress=_told)
        tuning = TableTuning(start, self.data, settings, folder)
        tuning.run()
        return tuning.vectors

    def train(self, variant: Variant) -> ElasticBert:
        """Return the model that a variant makes."""
        encoder = self.materials.encoder
        model = elastic_from_full(
            encoder.location.path, encoder.settings, table=self.table.clone() if variant.level0 else None
        )
        start = replace(self.recipe.start, **variant.start)
        name = f"start-{'' if variant.level0 else 'no-'}table-{'' if start.reorder else 'not-'}reordered.safetensors"
        start_sizes(model, self.data, start, self.folder / name)
        changes = {"steps": self.steps, "batch": self.batch, "warm_up": min(50, self.steps // 5), **variant.distil}
        if not changes["steps"]:
            return model
        folder = self.folder / "run"
        shutil.rmtree(folder, ignore_errors=True)
        settings = replace(self.recipe.distil, **changes)
        Distillation(model, self.data, settings, folder).run(progress=_told, save_every_s=1e9)
        return model

    def retention(self, model: ElasticBert, sizes: list[str], *, n_errors: int = 0) -> dict[str, float]:
        """Return the mean share of the full encoder's figures, on clean queries, that sizes have."""
        chosen = [size for size in self.materials.subnets if str(size) in sizes]
        found = [self._of(dev, model, chosen, n_errors) for dev in self.dev_sets]
        return {size: sum(its[size] for its in found) / len(found) for size in found[0]}

    def _of(self, dev: DevSet, model: ElasticBert, sizes: list[Any], n_errors: int) -> dict[str, float]:
        texts = dict(dev.query_set.judged)
        if n_errors:
            texts = mistyped(texts, n_errors)
        values = values_of_sizes(model, sizes, dev, token_ids_of(self.materials.encoder, list(texts.values())))
        return {size: value / self.full[dev.name] for size, value in values.items()}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="working folder of `elasticdenser train`")
    parser.add_argument("--index", type=Path, help="finished index of the recipe's passages")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--only", action="append", help="name of a variant; repeatable")
    options = parser.parse_args()
    recipe = read_recipe(options.recipe).changed(index=str(options.index.resolve()) if options.index else "")
    bench = Bench(recipe, TrainOptions(data=options.data, work=options.work), options.batch, options.steps)
    plan = {"steps": options.steps, "batch": options.batch, "distil": asdict(recipe.distil), "sizes": SHOWN}
    kept = _Kept(bench.folder / f"rows-{fingerprint_of(plan)[:12]}.json")
    rows = []
    for variant in variants(options.steps, len(bench.materials.model.shape.grid)):
        if options.only and variant.name not in options.only:
            continue
        if variant.name not in kept.rows:
            kept.add(variant.name, _row(bench, variant))
        rows.append({"variant": variant.name, **kept.rows[variant.name]})
        print_table(f"Retention after {options.steps} steps of {options.batch} queries", rows)
    keep("ablations", {**plan, "dev_sets": {dev.name: len(dev.texts) for dev in bench.dev_sets}, "rows": rows})


def _row(bench: Bench, variant: Variant) -> dict[str, float]:
    started = monotonic()
    model = bench.train(variant)
    minutes = (monotonic() - started) / 60
    sizes = list(variant.distil.get("sizes", SHOWN))
    clean, typed = (bench.retention(model, sizes, n_errors=number) for number in (0, 1))
    row = {size: clean[size] for size in SHOWN if size in clean}
    if len(clean) > 1:
        row["mean"] = sum(clean.values()) / len(clean)
    return row | {"1 error": sum(typed.values()) / len(typed), "minutes": minutes}


class _Kept:
    """Rows by variant, in a file.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}

    def add(self, name: str, row: dict[str, float]) -> None:
        self.rows[name] = row
        write_json(self.path, self.rows)


def _told(what: str, done: int, total: int) -> None:
    if done == total or done % 50 == 0:
        print(f"{what}: {done:,} of {total:,}", flush=True)


if __name__ == "__main__":
    main()
