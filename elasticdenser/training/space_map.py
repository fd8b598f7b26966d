"""Start of a student from trained subnets: linear maps of their own vectors into the vector space of another model.

Each subnet gets a map of its own, fitted by ridge regression to the teacher's vectors of the training texts, as
Mikolov, Le and Sutskever (2013) map the vectors of words between languages. The map and the subnet's exit are both
linear, so that they become one exit. A table of token vectors is mapped too, and stays an input of every exit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from elasticdenser.models.elastic import ElasticBert
from elasticdenser.subnet import Subnet
from elasticdenser.training.batches import Batch

_RECOVERY_RIDGE = 1e-6
"""Penalty, as a share of the mean variance of a component, where the former table is recovered from the mapped one."""


class LinearMap(NamedTuple):
    """Linear map of a subnet's vectors.

    Args:
        weight: float64, (dim of the teacher, dim).
        bias: float64, (dim of the teacher,).
    """

    weight: Tensor
    bias: Tensor


@torch.no_grad()
def fit_maps(model: ElasticBert, batches: Iterable[Batch], *, ridge: float) -> dict[Subnet, LinearMap]:
    """Fit a linear map for each subnet from its own vectors to the targets.

    Inputs are divided by their norm, because vectors are compared by direction.

    Args:
        model: The trained subnets, in their own space, on the CPU.
        batches: Texts and their targets, read once.
        ridge: Penalty on the weights, as a number of texts; the bias is free.
    """
    products: dict[Subnet, Tensor] = {}
    moments: dict[Subnet, Tensor] = {}
    for batch in batches:
        targets = batch.targets.double()
        for width in model.shape.widths:
            vectors_by_depth = model.at_depths(batch.token_ids, batch.mask, width, model.shape.depths)
            for depth, vectors in vectors_by_depth.items():
                vectors = vectors.double()
                lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
                inputs = torch.cat([vectors, torch.ones_like(lengths)], dim=1) / lengths
                subnet = Subnet(width, depth)
                products[subnet] = products.get(subnet, 0) + inputs.T @ inputs
                moments[subnet] = moments.get(subnet, 0) + inputs.T @ targets
    penalty = torch.full((model.shape.dim + 1,), ridge / model.shape.dim, dtype=torch.float64)
    penalty[-1] *= 1e-6
    maps = {}
    for subnet, product in products.items():
        solution = torch.linalg.solve(product + penalty.diag(), moments[subnet])
        maps[subnet] = LinearMap(solution[:-1].T, solution[-1])
    return maps


@torch.no_grad()
def into_space(model: ElasticBert, maps: dict[Subnet, LinearMap], table: Tensor | None, dim: int) -> ElasticBert:
    """Return a model whose subnets give the mapped vectors of those of another model; their layers are the same.

    Args:
        model: The trained subnets.
        maps: A map for each of its subnets; without one, exits are zero.
        table: Token vectors in the new space, (vocabulary, dim), where the model has a table.
        dim: Dimensions of the new space.
    """
    student = ElasticBert(replace(model.shape, dim=dim, level0=table is not None))
    kept = {name: weights for name, weights in model.state_dict().items() if name in _trunk_names(student)}
    student.load_state_dict(kept, strict=False)
    recovery = None
    if table is not None:
        student.table.copy_(table)
        recovery = _recovery(table, model.table)
    for subnet, linear in maps.items():
        weight, bias = (part.double() for part in model.exit_of(subnet))
        new_weight, new_bias = student.exit_of(subnet)
        new_weight.copy_(linear.weight @ weight)
        offset = linear.weight @ bias + linear.bias
        if recovery is not None:
            shortcut = linear.weight @ model.shortcut_of(subnet).double()
            student.shortcut_of(subnet).copy_(shortcut @ recovery.weight)
            offset = offset + shortcut @ recovery.bias
        new_bias.copy_(offset)
    return student.eval()


def with_level0(model: ElasticBert, table: Tensor) -> ElasticBert:
    """Return a model without a level 0 with one, whose vector does not count in the exits yet."""
    student = ElasticBert(replace(model.shape, level0=True))
    weights = {**model.state_dict(), "table": table, "shortcuts": student.shortcuts}
    student.load_state_dict(weights)
    return student.eval()


def _trunk_names(model: ElasticBert) -> set[str]:
    return {name for name in model.state_dict() if not name.startswith(("exit", "shortcuts", "table"))}


def _recovery(mapped: Tensor, former: Tensor) -> LinearMap:
    """Return the linear map that gives back the vectors of a table from the mapped ones; exact if they were linear."""
    inputs, outputs = mapped.double(), former.double()
    input_mean, output_mean = inputs.mean(dim=0), outputs.mean(dim=0)
    centred = inputs - input_mean
    product = centred.T @ centred
    product.diagonal().add_(_RECOVERY_RIDGE * product.diagonal().mean())
    weight = torch.linalg.solve(product, centred.T @ (outputs - output_mean)).T
    return LinearMap(weight, output_mean - weight @ input_mean)
