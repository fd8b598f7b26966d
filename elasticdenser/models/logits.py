"""Elastic classifier in torch: logits of classes, or a number, for a text or a pair of texts, at every subnet."""

from __future__ import annotations

from elasticdenser.errors import QueryError
from elasticdenser.models.heads import ElasticPairHead
from elasticdenser.models.shape import ElasticShape

LAYER_CHOICES = ("first-and-last", "first")
"""Layers of a depth: `first-and-last`, as the encoder's subnets have them, or `first`, those below an early exit.

A classifier made of subnets whose layers were chosen has those instead of `first-and-last`.
"""


class ElasticLogits(ElasticPairHead):
    """Classifier of many subnets; its outputs are logits of the classes, (n, n_classes), or numbers, (n, 1).

    With the layers `first`, depth n is the first n layers, as in COST-EFF (Shen et al. 2022) and other models with
    early exits: to go on from one depth to the next costs one layer for each. With `first-and-last`, the last two
    layers of a depth are computed again for the next one.

    Args:
        shape: Its shape, with `dim` the number of outputs, and no level 0.
        layers: One of `LAYER_CHOICES`.

    Raises:
        QueryError: The shape has a level 0, or there is no such choice of layers.
    """

    def __init__(self, shape: ElasticShape, layers: str = LAYER_CHOICES[0]) -> None:
        if layers not in LAYER_CHOICES:
            raise QueryError(f"got layers = {layers!r}, expected one of {', '.join(LAYER_CHOICES)}")
        super().__init__(shape)
        self.layer_choice = layers

    def layers_of(self, depth: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the layers that a depth keeps, as (first ones, other ones)."""
        return (tuple(range(depth)), ()) if self.layer_choice == "first" else super().layers_of(depth)
