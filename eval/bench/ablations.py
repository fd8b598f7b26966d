"""Ablations of the training: short trainings, each without one part, or with one more.

    python eval/bench/ablations.py recipes/all-MiniLM-L6-v2.toml --data DATA --work models/minilm.work [--index INDEX]
    python eval/bench/ablations.py recipes/all-MiniLM-L6-v2-subjects.toml --data SUBJECTS --work models/subjects.work

Vectors and level 0 are read from the working folder of `elasticdenser train`, or computed there. Every variant reads
the same batches; "subnets drawn at random" takes more steps, so that as many subnets are trained in all. Quality is
retention on the recipe's dev sets: on their queries, and on the same queries with one typing error. The figures of each
variant are saved in the working folder: an interrupted run resumes with the next variant.

A recipe that starts from a trained model has variants of its own, in which a few subnets are trained. Their table has
the mean retention over the dev sets and the mean over each subnet's worst set.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import Any

import torch
from report import append_result, print_table
from token_targets import ATTENTION, STATES, TokenDistillation
from width_corrections import correct_widths

from elasticdenser.artifacts import write_json
from elasticdenser.encoders import resolve_device
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.elastic_init import elastic_from_full
from elasticdenser.subnet import Subnet
from elasticdenser.suites.perturbed_queries import mistyped
from elasticdenser.training.batches import token_ids_of
from elasticdenser.training.dev_sets import DevSet, load_dev_set, measure_subnets
from elasticdenser.training.distil import Distillation
from elasticdenser.training.initialisation import initialise_subnets, initialise_table
from elasticdenser.training.inputs import TrainingInputs, TrainOptions
from elasticdenser.training.recipe import Recipe, read_recipe
from elasticdenser.training.settings import settings_to_json
from elasticdenser.training.table_tuning import TableTuning

ALONE = ("w1-d4", "w1-d2", "w0.5-d3", "w0.25-d6")
"""Subnets that are also trained alone."""

MEASURED = (*ALONE, "w0.5-d6", "w0.25-d1")
"""Subnets that are measured."""

TRAINED_FURTHER = ("w1-d3", "w1-d2", "w0.5-d3", "w0.25-d1")
"""Subnets that are trained and measured where the recipe starts from a trained model."""

LARGEST = "w1-d6"
"""The full encoder's own subnet, which the recipe does not train."""

MIDDLE = ("w1-d2", "w0.5-d3")
"""The subnets of `TRAINED_FURTHER` in the middle of the grid."""

N_SAMPLED = 5
"""Subnets of a step in the variant that draws them at random: about a third of the grid."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Training that differs from the whole one in some settings.

    Args:
        name: Name of the variant.
        distil: Settings of the distillation that differ.
        init: Settings of the initialisation that differ.
        level0: Whether level 0 is an input of the exits.
        token_target: What of the full encoder's tokens is a target too; none if empty.
        correction_rank: Rank of the corrections that each narrow width has for itself; 0 has none.
        then: Settings of a second training, of half as many steps, that differ; none if empty.
        anew: Whether training starts from the full encoder's weights although the recipe names a trained model.
    """

    name: str
    distil: Mapping[str, Any] = field(default_factory=dict)
    init: Mapping[str, Any] = field(default_factory=dict)
    level0: bool = True
    token_target: str = ""
    correction_rank: int = 0
    then: Mapping[str, Any] = field(default_factory=dict)
    anew: bool = False


def variants_of_trained() -> list[Variant]:
    """Return the variants of a recipe that starts from a trained model, the recipe as it is first."""
    return [
        Variant(name="as the recipe"),
        Variant(name="not trained", distil={"steps": 0}),
        Variant(name="texts read equally often", distil={"difficulty": 0.0}),
        Variant(name="15 % of the texts as variants", distil={"variant_share": 0.15}),
        Variant(name="token vectors trained too", distil={"tune_tokens": True}),
        Variant(name="without the score distribution", distil={"score_weight": 0.0}),
        Variant(name="states of tokens as targets", token_target=STATES),
        Variant(name="attention as target", token_target=ATTENTION),
        Variant(name="twice the learning rate", distil={"learning_rate": 2e-4, "exit_learning_rate": 6e-4}),
        Variant(name="low-rank corrections a width", correction_rank=16),
        Variant(name="then the middle of the grid alone", then={"subnets": MIDDLE}),
        Variant(name="the largest cell trained too", distil={"subnets": (LARGEST, *TRAINED_FURTHER)}),
        Variant(name="from the full encoder's weights", anew=True),
    ]


def variants(steps: int, n_subnets: int) -> list[Variant]:
    """Return all variants, the whole training first."""
    return [
        Variant(name="all together"),
        Variant(name="not trained, the initialisation alone", distil={"steps": 0}),
        Variant(name="without level 0 in the exits", level0=False),
        Variant(name="without the score distribution", distil={"score_weight": 0.0}),
        Variant(name="without reordering", init={"reorder": False}),
        Variant(name="without equilibrium", distil={"equilibrium": 0.0}),
        Variant(name="without typing errors", distil={"typo_share": 0.0}),
        Variant(
            name="subnets drawn at random",
            distil={"n_sampled_subnets": N_SAMPLED, "steps": round(steps * n_subnets / N_SAMPLED)},
        ),
        *(Variant(name=f"{subnet} alone", distil={"subnets": (subnet,)}) for subnet in ALONE),
    ]


class Bench:
    """Inputs and settings that the variants share.

    Args:
        recipe: The recipe of the whole training.
        options: Options with the data folder and the working folder.
        batch: Queries of a step.
        steps: Steps of each variant.
    """

    def __init__(self, recipe: Recipe, options: TrainOptions, batch: int, steps: int) -> None:
        assert options.work is not None
        self.recipe, self.batch, self.steps, self.work = recipe, batch, steps, options.work
        self.inputs = TrainingInputs(recipe, options, options.work, resolve_device("auto"))
        index = self.inputs.index(_print_progress, build=True, path=recipe.index, passages=recipe.passages)
        texts = self.inputs.texts()
        self.data = self.inputs.data(texts, index, _print_progress)
        self.dev_sets = [
            load_dev_set(
                settings,
                self.inputs.index(_print_progress, build=True, path=settings.index, passages=settings.passages)
                if settings.index or settings.passages
                else index,
                data=options.data,
                seed=recipe.seed,
            )
            for settings in recipe.dev_sets
        ]
        encoder = self.inputs.encoder
        dependencies = self.inputs.plan(texts, index), [dev.fingerprint() for dev in self.dev_sets]
        self.folder = self.work / "ablations" / fingerprint_of(dependencies)[:12]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.full = {dev.name: dev.value(encoder.encode(dev.texts)) for dev in self.dev_sets}
        self.table = self.inputs.model.table.detach() if recipe.init.model else self._table()

    def _table(self) -> torch.Tensor:
        settings, folder = self.recipe.table, self.folder / "table"
        if settings is None:
            raise SystemExit("the recipe has no [table]: add it, because one of the variants leaves out level 0")
        if settings.start != "embeddings":
            raise SystemExit(f"got start = {settings.start!r} of [table], expected 'embeddings'")
        tokens = self.inputs.model.tokens
        vectors = initialise_table(lambda: tokens, self.data, settings, folder / "start.pt", progress=_print_progress)
        tuning = TableTuning(vectors, self.data, settings, folder)
        tuning.run()
        return tuning.vectors

    def train(self, variant: Variant) -> ElasticBert:
        """Return the model of a variant."""
        continues = self.recipe.init.model and not variant.anew
        model = copy.deepcopy(self.inputs.model) if continues else self._initialised(variant)
        changes = {"steps": self.steps, "batch": self.batch, "warm_up": min(50, self.steps // 5), **variant.distil}
        if not changes["steps"]:
            return model
        if variant.correction_rank:
            correct_widths(model, variant.correction_rank)
        self._distil(model, changes, variant.token_target)
        if variant.then:
            self._distil(model, {**changes, "steps": self.steps // 2, **variant.then}, variant.token_target)
        return model

    def _distil(self, model: ElasticBert, changes: Mapping[str, Any], token_target: str) -> None:
        """Train a model with some settings of the recipe changed."""
        folder = self.folder / "run"
        shutil.rmtree(folder, ignore_errors=True)
        arguments = model, self.data, replace(self.recipe.distil, **changes), folder
        training = (
            TokenDistillation(self.inputs, token_target, *arguments) if token_target else Distillation(*arguments)
        )
        training.run(progress=_print_progress, save_every_s=1e9)  # no checkpoints: the training is too short

    def _initialised(self, variant: Variant) -> ElasticBert:
        """Return a new model of the full encoder's weights."""
        encoder = self.inputs.encoder
        table = self.table.clone() if self.table is not None and variant.level0 else None
        model = elastic_from_full(encoder.location.path, encoder.settings, table=table)
        init = replace(self.recipe.init, **variant.init)
        name = f"start-{'' if variant.level0 else 'no-'}table-{'' if init.reorder else 'not-'}reordered.safetensors"
        initialise_subnets(model, self.data, init, self.folder / name)
        return model

    def retention(self, model: ElasticBert, names: list[str], *, n_errors: int = 0) -> dict[str, list[float]]:
        """Return the retention of some subnets, relative to the full encoder on clean queries, by dev set.

        Args:
            model: The model.
            names: Names of the subnets; those that are not trained are left out.
            n_errors: Typing errors in each query.
        """
        subnets = [subnet for subnet in self.inputs.subnets if str(subnet) in names]
        shares = [self._retention_on(dev, model, subnets, n_errors) for dev in self.dev_sets]
        return {name: [of_dev_set[name] for of_dev_set in shares] for name in shares[0]}

    def _retention_on(self, dev: DevSet, model: ElasticBert, subnets: list[Subnet], n_errors: int) -> dict[str, float]:
        texts = dict(dev.query_set.judged)
        if n_errors:
            texts = mistyped(texts, n_errors)
        values = measure_subnets(model, subnets, dev, token_ids_of(self.inputs.encoder, list(texts.values())))
        return {name: value / self.full[dev.name] for name, value in values.items()}


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
    if recipe.init.model:  # the others would only take time
        recipe = replace(recipe, distil=replace(recipe.distil, subnets=TRAINED_FURTHER))
    bench = Bench(recipe, TrainOptions(data=options.data, work=options.work), options.batch, options.steps)
    recipe_settings = settings_to_json(recipe.distil)
    measured = TRAINED_FURTHER if recipe.init.model else MEASURED
    plan = {"steps": options.steps, "batch": options.batch, "distil": recipe_settings, "sizes": measured}
    cache = _RowCache(bench.folder / f"rows-{fingerprint_of(plan)[:12]}.json")
    rows = []
    all_variants = (
        variants_of_trained() if recipe.init.model else variants(options.steps, len(bench.inputs.model.shape.grid))
    )
    for variant in all_variants:
        if options.only and variant.name not in options.only:
            continue
        if variant.name not in cache.rows:
            cache.add(variant.name, _row(bench, variant, measured))
        rows.append({"variant": variant.name, **cache.rows[variant.name]})
        print_table(f"Retention after {options.steps} steps of {options.batch} queries", rows)
    append_result("ablations", {**plan, "dev_sets": {dev.name: len(dev.texts) for dev in bench.dev_sets}, "rows": rows})


def _row(bench: Bench, variant: Variant, measured: Sequence[str]) -> dict[str, float]:
    started = monotonic()
    model = bench.train(variant)
    minutes = (monotonic() - started) / 60
    names = list(variant.distil.get("subnets", measured))
    clean, mistyped_once = (bench.retention(model, names, n_errors=number) for number in (0, 1))
    row = {name: fmean(clean[name]) for name in measured if name in clean}
    if len(clean) > 1:
        row["mean"] = fmean(row.values())
    if len(bench.dev_sets) > 2:
        row["worst"] = fmean(min(shares) for shares in clean.values())
    return row | {"1 error": fmean(map(fmean, mistyped_once.values())), "minutes": minutes}


class _RowCache:
    """Rows of the table by variant, cached in a file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}

    def add(self, name: str, row: dict[str, float]) -> None:
        self.rows[name] = row
        write_json(self.path, self.rows)


def _print_progress(activity: str, done: int, total: int) -> None:
    if done == total or done % 50 == 0:
        print(f"{activity}: {done:,} of {total:,}", flush=True)


if __name__ == "__main__":
    main()
