"""Tiny tasks of GLUE, a recipe, and elastic classifiers of random weights on disk."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from elasticdenser.datasets.glue import TASKS
from elasticdenser.models.classifier_files import save_classifier
from elasticdenser.models.classifier_manifest import ClassifierSettings
from elasticdenser.models.locate import find_model
from elasticdenser.models.scorer_init import logits_from_full
from elasticdenser.models.settings import read_settings

RECIPE = """
trains = "classifier"
task = "RTE"
encoder = "{encoder}"
seed = 1
max_length = 48
[init]
importance_batches = 1
[teacher]
steps = 3
batch = 8
warm_up = 1
bfloat16 = false
[train]
steps = 5
batch = 8
warm_up = 1
learning_rate = 1e-3
bfloat16 = false
"""
WORDS = ("dune", "desert", "planet", "novel", "csv", "file", "thread", "wait", "lock", "sort")


def write_glue(folder: Path, n_train: int = 24, n_dev: int = 12) -> Path:
    """Write RTE, SST-2 and STS-B, made of random words; return the folder of GLUE."""
    rng, glue = random.Random(0), folder / "glue"

    def sentence() -> str:
        return " ".join(rng.sample(WORDS, 4))

    for split, n in (("train", n_train), ("dev", n_dev)):
        rows = {
            "RTE": ["index\tsentence1\tsentence2\tlabel"]
            + [f"{i}\t{sentence()}\t{sentence()}\t{TASKS['RTE'].labels[i % 2]}" for i in range(n)],
            "SST-2": ["sentence\tlabel"] + [f"{sentence()} \t{i % 2}" for i in range(n)],
            "STS-B": ["index\tsentence1\tsentence2\tscore"]
            + [f"{i}\t{sentence()}\t{sentence()}\t{i % 6}" for i in range(n)],
        }
        for task, lines in rows.items():
            (glue / task).mkdir(parents=True, exist_ok=True)
            (glue / task / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return glue


def write_classifier_recipe(folder: Path, encoder: Path, *changes: tuple[str, str]) -> Path:
    """Write the recipe, with some of its text replaced."""
    text = RECIPE.format(encoder=encoder)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def write_classifier(
    folder: Path,
    base: Path,
    *,
    task: str = "RTE",
    layers: str = "first",
    subnets: tuple[str, ...] = (),
    provenance: dict | None = None,
) -> Path:
    """Write an elastic classifier of the encoder in `base`, whose subnets give different outputs; return its folder."""
    labels, highest = TASKS[task].labels, TASKS[task].highest
    model = logits_from_full(base, read_settings(base), n_outputs=len(labels) or 1, layers=layers, pooling="mean")
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter is not model.tokens:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        model.exits += 0.3 * torch.randn(model.exits.shape, generator=generator)
    settings = ClassifierSettings(
        task=task,
        labels=labels,
        highest=highest,
        max_length=48,
        layers=layers,
        subnets=subnets or tuple(map(str, model.shape.grid)),
    )
    made_by = {"name": str(base), "weights_sha256": find_model(str(base)).sha256, **(provenance or {})}
    save_classifier(folder, base=base, model=model, settings=settings, provenance=made_by)
    return folder
