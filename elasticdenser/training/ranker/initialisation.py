"""State that the training of a ranker starts from: sorted heads and neurons, and fitted exits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from elasticdenser.models.elastic_init import importance_for, reorder
from elasticdenser.models.scorer import ElasticScorer
from elasticdenser.models.scorer_init import fit_score_exits
from elasticdenser.progress import Progress, silent
from elasticdenser.training.batches import padded
from elasticdenser.training.ranker.data import RankerBatch, RankerData
from elasticdenser.training.ranker.settings import RankerInitSettings
from elasticdenser.training.snapshots import load_weights, save_weights

_ACTIVITY = "Fitting the exits"
_BATCH, _LIST_SIZE = 4, 8
"""Lists of a batch, and their size. The graphs of all depths are kept together: about 2 GB for all-MiniLM-L6-v2."""

_Fitted = tuple[Tensor, Tensor, Tensor, Tensor]
"""Token ids, mask, targets and list of the pairs of a batch, as `fit_score_exits` takes them."""


def initialise_ranker(
    model: ElasticScorer,
    data: RankerData,
    settings: RankerInitSettings,
    path: Path,
    *,
    seed: int,
    progress: Progress = silent,
) -> None:
    """Fit the exits, and sort heads and neurons by importance; or read the result of an earlier call.

    Args:
        model: The model, on the CPU; changed in place.
        data: Lists with targets.
        settings: Settings of the initialisation.
        path: File of the result.
        seed: Seed of the lists.
        progress: Called with (activity, done, total).

    Raises:
        BuildError: The file is damaged or cannot be written.
    """
    if path.exists():
        load_weights(path, model)
        return
    n_batches = -(-settings.lists // _BATCH)
    # Of another seed than that of the training, whose first steps read other lists.
    batches = [_as_fitted(data.batch(step, _BATCH, _LIST_SIZE, seed=seed + 1)) for step in range(n_batches)]
    batches = [batch for batch in batches if len(batch[2])]
    if batches:
        # The heads and neurons of a trained encoder are sorted already, and its narrow subnets rely on their order.
        sorts = settings.reorder and not settings.model
        rounds = 2 if sorts else 1
        fit_score_exits(model, _counted(batches, 0, rounds, progress), ridge=settings.ridge)
        if sorts:
            first = batches[: max(1, settings.importance_lists // _BATCH)]
            outputs = (
                model.at_depths(token_ids, mask, 1.0, model.shape.depths).values() for token_ids, mask, _, _ in first
            )
            reorder(model, *importance_for(model, outputs, seed=seed))
            fit_score_exits(model, _counted(batches, 1, rounds, progress), ridge=settings.ridge)
    save_weights(path, model)


def _counted(batches: list[_Fitted], number: int, rounds: int, progress: Progress) -> Iterator[_Fitted]:
    for done, batch in enumerate(batches, 1):
        yield batch
        progress(_ACTIVITY, number * len(batches) + done, rounds * len(batches))


def _as_fitted(batch: RankerBatch) -> _Fitted:
    """Return the pairs with a target: the teachers' score or, without teachers, the label."""
    targets = torch.where(batch.labels >= 0, batch.labels.float(), torch.nan)
    if batch.targets.isfinite().any():
        targets = batch.targets
    kept = [
        (pair, float(targets[row, column]), row)
        for row, pairs in enumerate(batch.pairs)
        for column, pair in enumerate(pairs)
        if targets[row, column].isfinite()
    ]
    if not kept:
        return torch.empty(0, 0), torch.empty(0, 0), torch.empty(0), torch.empty(0, dtype=torch.int64)
    token_ids, mask = padded([pair for pair, _, _ in kept])
    return token_ids, mask, torch.tensor([target for _, target, _ in kept]), torch.tensor([row for _, _, row in kept])
