"""Trained subnets as the start of a student, which answers in the vector space of another model."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from elasticdenser.models.elastic import ElasticBert


@torch.no_grad()
def with_exits_of_zero(model: ElasticBert, table: Tensor | None, dim: int) -> ElasticBert:
    """Return a model with the layers of another one, whose exits are still to be fitted.

    Args:
        model: The trained subnets.
        table: Token vectors in the new space, (vocabulary, dim), where the model has a table.
        dim: Dimensions of the new space.
    """
    student = ElasticBert(replace(model.shape, dim=dim, level0=table is not None))
    kept = {name: weights for name, weights in model.state_dict().items() if name in _trunk_names(student)}
    student.load_state_dict(kept, strict=False)
    if table is not None:
        student.table.copy_(table)
    return student.eval()


def with_level0(model: ElasticBert, table: Tensor) -> ElasticBert:
    """Return a model without a level 0 with one, whose vector does not count in the exits yet."""
    student = ElasticBert(replace(model.shape, level0=True))
    weights = {**model.state_dict(), "table": table, "shortcuts": student.shortcuts}
    student.load_state_dict(weights)
    return student.eval()


def _trunk_names(model: ElasticBert) -> set[str]:
    return {name for name in model.state_dict() if not name.startswith(("exit", "shortcuts", "table"))}
