"""Floating-point operations of subnets: two for each weight and token, and those of the attention.

Embeddings, layer norms, biases, softmax and activations are left out, as is usual: together they are about a hundredth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from elasticdenser.models.shape import ElasticShape

LayersOf = Callable[[int], tuple[tuple[int, ...], tuple[int, ...]]]
"""Depth -> the layers that it keeps, as (first ones, other ones)."""


def layer_flops(shape: ElasticShape, width: float, length: int) -> int:
    """Return the operations of one layer at a width for a sequence of `length` tokens."""
    inner = round(shape.n_heads * width) * (shape.hidden // shape.n_heads)
    n_weights = 4 * shape.hidden * inner + 2 * shape.hidden * round(shape.n_neurons * width)
    return 2 * length * n_weights + 4 * length * length * inner


def exit_flops(shape: ElasticShape) -> int:
    """Return the operations of one exit for one sequence."""
    return 2 * shape.hidden * shape.dim


def layers_run(layers_of: LayersOf, depths: Sequence[int]) -> list[int]:
    """Return how many layers have run when the exit of each depth is reached, one depth after the other.

    Depths share their first layers, which run once; the other layers of a depth run for each depth again.

    Args:
        layers_of: The layers of a depth.
        depths: Depths, rising.
    """
    n_first, n_others, totals = 0, 0, []
    for depth in depths:
        first, others = layers_of(depth)
        n_first, n_others = max(n_first, len(first)), n_others + len(others)
        totals.append(n_first + n_others)
    return totals
