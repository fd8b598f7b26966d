"""State that training starts from: fitted exits and sorted weights of the subnets, fitted token vectors of level 0."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

import torch
from torch import Tensor

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.elastic_init import fit_exits, importance, reorder
from elasticdenser.progress import Progress, silent
from elasticdenser.training.batches import Batch
from elasticdenser.training.data import TrainingData
from elasticdenser.training.settings import InitSettings, TableSettings
from elasticdenser.training.snapshots import load_weights, readable_file, save_weights
from elasticdenser.training.space_map import with_exits_of_zero
from elasticdenser.training.table_fit import fit_table
from elasticdenser.training.token_outputs import TokenOutputs

_ACTIVITY = "Fitting the subnets"

_Fitted = tuple[Tensor, Tensor, Tensor]
"""Token ids, mask and targets of a batch."""


def initialise_subnets(
    model: ElasticBert, data: TrainingData, settings: InitSettings, path: Path, *, progress: Progress = silent
) -> None:
    """Fit the exits, and sort heads and neurons by importance; or read the result of an earlier call.

    Args:
        model: The full encoder's weights, on the CPU; changed in place.
        data: Texts and vectors.
        settings: Settings of the initialisation.
        path: File of the result.
        progress: Called with (activity, done, total).

    Raises:
        BuildError: The file is damaged or cannot be written.
    """
    if path.exists():
        load_weights(path, model)
        return
    epoch = _one_epoch(data, settings.batch, settings.seed)
    batches = [(batch.token_ids, batch.mask, batch.targets) for batch in islice(epoch, settings.exit_batches)]
    first, for_importance = batches[: settings.first_batches], batches[: settings.importance_batches]
    total = len(batches) + (len(first) + len(for_importance) if settings.reorder else 0)
    done = count(1)

    def counted(part: list[_Fitted]) -> Iterator[_Fitted]:
        for batch in part:
            yield batch
            progress(_ACTIVITY, next(done), total)

    progress(_ACTIVITY, 0, total)
    if settings.reorder:
        fit_exits(model, counted(first), ridge=settings.ridge)
        reorder(model, *importance(model, ((token_ids, mask) for token_ids, mask, _ in counted(for_importance))))
    fit_exits(model, counted(batches), ridge=settings.ridge)
    save_weights(path, model)


def mapped_subnets(
    model: ElasticBert,
    table: Tensor | None,
    data: TrainingData,
    settings: InitSettings,
    path: Path,
    *,
    progress: Progress = silent,
) -> ElasticBert:
    """Return trained subnets mapped into a teacher's space; or read the result of an earlier call.

    The exit of each is fitted anew, from the pooled states of its layers and the vector of the new level 0: a linear
    map, like that of Mikolov, Le and Sutskever (2013), who map the vectors of words between languages.

    Args:
        model: The trained subnets, on the CPU.
        table: Token vectors of level 0 in the teacher's space, where the model has a level 0.
        data: Texts and the teacher's vectors.
        settings: Settings of the maps.
        path: File of the result.
        progress: Called with (activity, done, total).

    Raises:
        BuildError: The file is damaged or cannot be written.
    """
    student = with_exits_of_zero(model, table, data.targets.shape[1])
    if path.exists():
        load_weights(path, student)
        return student
    batches = islice(_one_epoch(data, settings.batch, settings.seed), settings.exit_batches)
    total = min(settings.exit_batches, data.batches_per_epoch(settings.batch))

    def counted() -> Iterator[_Fitted]:
        for number, batch in enumerate(batches, 1):
            yield batch.token_ids, batch.mask, batch.targets
            progress("Mapping the subnets", number, total)

    fit_exits(student, counted(), ridge=settings.map_ridge)
    save_weights(path, student)
    return student


def initialise_table(
    tokens: Callable[[], Tensor | TokenOutputs],
    data: TrainingData,
    settings: TableSettings,
    path: Path,
    *,
    progress: Progress = silent,
) -> Tensor:
    """Return the token vectors that the tuning of level 0 starts from: fitted, or read from an earlier call.

    Args:
        tokens: Returns word embeddings of the full encoder, its vectors of single tokens, or the table of trained
            subnets; called unless the vectors are read.
        data: Texts and vectors, read once.
        settings: Settings of the fit.
        path: File of the result.
        progress: Called with (activity, done, total).

    Raises:
        BuildError: The file is damaged or cannot be written.
    """
    if path.exists():
        with readable_file(path):
            saved: Tensor = torch.load(path, weights_only=True)
        return saved
    vectors = fit_table(
        _one_epoch(data, settings.fit_batch, settings.seed),
        tokens(),
        ridge_map=settings.ridge_map,
        ridge=settings.ridge,
        iterations=settings.iterations,
        n_batches=data.batches_per_epoch(settings.fit_batch),
        progress=progress,
    )
    with explained_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "wb") as file:
        torch.save(vectors, file)
    return vectors


def _one_epoch(data: TrainingData, batch_size: int, seed: int) -> Iterator[Batch]:
    """Yield every text once, without typing errors; the banks, which a fit does not use, are small."""
    for step in range(data.batches_per_epoch(batch_size)):
        yield data.batch(step, batch_size, seed=seed, n_random=1)
