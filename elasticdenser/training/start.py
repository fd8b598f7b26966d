"""What training starts from: fitted exits and sorted weights for the sizes, fitted token vectors for level 0."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.errors import BuildError
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.elastic_init import fit_exits, importance, reorder
from elasticdenser.progress import Progress, silent
from elasticdenser.training.data import TrainingData
from elasticdenser.training.settings import StartSettings, TableRecipe
from elasticdenser.training.snapshots import load_weights, save_weights
from elasticdenser.training.table_fit import fit_table

_FITTING = "Fitting the sizes"


def start_sizes(
    model: ElasticBert, data: TrainingData, settings: StartSettings, path: Path, *, progress: Progress = silent
) -> None:
    """Fit the exits, and put the most useful heads and neurons first, or read what an earlier call made.

    Args:
        model: The full encoder's weights, on the CPU; changed in place.
        data: Texts and vectors.
        settings: How.
        path: File for what is made.
        progress: Called with (what, done, of how many).

    Raises:
        BuildError: The file is damaged, or the disk refuses.
    """
    if path.exists():
        load_weights(path, model)
        return
    progress(_FITTING, 0, 3)
    n_batches = min(settings.exit_batches, data.batches_per_epoch(settings.batch))
    read = (data.batch(at, settings.batch, seed=settings.seed, n_random=1) for at in range(n_batches))
    batches = [(batch.token_ids, batch.mask, batch.targets) for batch in read]
    if settings.reorder:
        fit_exits(model, batches[: settings.first_batches], ridge=settings.ridge)
        progress(_FITTING, 1, 3)
        some = [(token_ids, mask) for token_ids, mask, _ in batches[: settings.importance_batches]]
        reorder(model, *importance(model, some))
        progress(_FITTING, 2, 3)
    fit_exits(model, batches, ridge=settings.ridge)
    save_weights(path, model)
    progress(_FITTING, 3, 3)


def start_table(
    tokens: Tensor, data: TrainingData, settings: TableRecipe, path: Path, *, progress: Progress = silent
) -> Tensor:
    """Return the token vectors that the tuning of level 0 starts from, or read what an earlier call made.

    Args:
        tokens: Word embeddings of the full encoder.
        data: Texts and vectors, gone through once.
        settings: How.
        path: File for what is made.
        progress: Called with (what, done, of how many).

    Raises:
        BuildError: The file is damaged, or the disk refuses.
    """
    if path.exists():
        try:
            kept: Tensor = torch.load(path, weights_only=True)
        except Exception as error:  # the loader has many kinds of errors
            raise BuildError(f"{path} cannot be read ({error}): remove it, and run the same command again") from error
        return kept
    batches = (
        data.batch(at, settings.fit_batch, seed=settings.seed, n_random=1)
        for at in range(data.batches_per_epoch(settings.fit_batch))
    )
    vectors = fit_table(
        batches,
        tokens,
        ridge_map=settings.ridge_map,
        ridge=settings.ridge,
        iterations=settings.iterations,
        progress=progress,
    )
    with explained_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "wb") as file:
        torch.save(vectors, file)
    return vectors
