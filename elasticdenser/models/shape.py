"""Shape of an elastic transformer: its grid of subnets, and the layers of each. It does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from elasticdenser.errors import QueryError
from elasticdenser.subnet import Subnet

ACTIVATIONS = ("gelu", "gelu_tanh", "relu")

WIDTHS = (1.0, 0.5, 0.25)
"""Default widths of the grid."""

DEPTHS = (1, 2, 3, 4, 6)
"""Default depths of the grid; those beyond the number of layers are left out."""


@dataclass(frozen=True, kw_only=True)
class ElasticShape:
    """Shape of an elastic transformer.

    Args:
        n_layers: Layers of the full model.
        n_heads: Attention heads of a layer.
        hidden: Width of the residual stream, the same at every subnet.
        n_neurons: Feed-forward neurons of a layer.
        vocabulary: Number of tokens.
        n_positions: Number of positions, which is the maximum length of a sequence.
        dim: Dimensions of the vectors.
        pooling: `mean` or `cls`.
        activation: `gelu`, `gelu_tanh` or `relu`.
        norm_eps: Added to variances in the layer norms.
        widths: Shares of heads and neurons, falling from 1.
        depths: Numbers of layers, rising.
        level0: Whether there is a token table, whose mean vector is an input of every exit.
        max_distance: Largest distance between two tokens with an attention bias of its own, in each head; greater ones
            have the same as this. 0: attention has no such biases.
        layers: Layers of each depth, counted from 0 and rising; empty: those of `default_layers`.

    Raises:
        QueryError: A number is not positive, a width leaves a fraction of a head or neuron, there are fewer layers than
            a depth, the layers are not those of the depths, or there is no such pooling, activation or split of the
            hidden size.
    """

    n_layers: int
    n_heads: int
    hidden: int
    n_neurons: int
    vocabulary: int
    n_positions: int
    dim: int
    pooling: str = "mean"
    activation: str = "gelu"
    norm_eps: float = 1e-12
    widths: tuple[float, ...] = WIDTHS
    depths: tuple[int, ...] = DEPTHS
    level0: bool = False
    max_distance: int = 0
    layers: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        self._check_model()
        self._check_grid()

    def _check_model(self) -> None:
        sizes = ("n_layers", "n_heads", "hidden", "n_neurons", "vocabulary", "n_positions", "dim")
        for name in (*sizes, "norm_eps"):
            if not getattr(self, name) > 0:
                raise QueryError(f"got {name} = {getattr(self, name)!r}, expected a number above 0")
        if self.max_distance < 0:
            raise QueryError(f"got max_distance = {self.max_distance}, expected a whole number from 0")
        if self.hidden % self.n_heads:
            raise QueryError(
                f"got {self.n_heads} heads of a hidden size of {self.hidden}, expected heads of equal size"
            )
        if self.pooling not in ("mean", "cls") or self.activation not in ACTIVATIONS:
            raise QueryError(
                f"got {self.pooling!r} pooling and the activation {self.activation!r}, expected 'mean' or 'cls', and "
                f"one of {', '.join(ACTIVATIONS)}"
            )

    def _check_grid(self) -> None:
        if not self.widths or self.widths[0] != 1 or not _is_falling(self.widths):
            raise QueryError(f"got the widths {self.widths}, expected them to fall from 1, such as {WIDTHS}")
        if not self.depths or not _is_falling(self.depths[::-1]):
            raise QueryError(f"got the depths {self.depths}, expected them to rise, such as {DEPTHS}")
        for width in self.widths:
            if not 0 < width <= 1 or self.n_heads * width % 1 or self.n_neurons * width % 1:
                heads = f"{self.n_heads} heads and {self.n_neurons} neurons"
                raise QueryError(f"got width {width:g} of {heads}, expected one that leaves whole numbers of both")
        for depth in self.depths:
            if not 1 <= depth <= self.n_layers:
                raise QueryError(f"got depth {depth} of {self.n_layers} layers, expected 1 to {self.n_layers}")
        if self.layers and tuple(map(len, self.layers)) != self.depths:
            raise QueryError(
                f"got {len(self.layers)} lists of layers of the depths {self.depths}, expected one for each"
            )
        for layers in self.layers:
            if not _is_falling(layers[::-1]) or not 0 <= layers[0] <= layers[-1] < self.n_layers:
                expected = f"them to rise, from 0 to {self.n_layers - 1} at most"
                raise QueryError(f"got the layers {', '.join(map(str, layers))}, expected {expected}")

    @property
    def grid(self) -> list[Subnet]:
        """All subnets of these widths and depths, from large to small."""
        return sorted((Subnet(width, depth) for width in self.widths for depth in self.depths), reverse=True)

    def layers_of(self, depth: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the layers that a depth keeps, as (first ones, other ones).

        The first ones of a depth are the first of the model and of every greater depth, so that they run once for all.
        """
        if not self.layers:
            return default_layers(depth, self.n_layers)
        n_first = min(_n_leading(layers) for layers in self.layers if len(layers) >= depth)
        layers = self.layers[self.depths.index(depth)]
        return layers[:n_first], layers[n_first:]

    def to_json(self) -> dict[str, Any]:
        """Return the shape as manifests hold it: what was added later stands there only if it is not the default."""
        added = {"layers": (), "max_distance": 0}
        return {name: value for name, value in asdict(self).items() if added.get(name, ...) != value}

    def check(self, subnet: Subnet) -> None:
        """Check that a subnet is on the grid.

        Raises:
            QueryError: It is not; the message lists the grid.
        """
        if subnet.width not in self.widths or subnet.depth not in self.depths:
            raise QueryError(f"got subnet {subnet}, expected one of this encoder's: {', '.join(map(str, self.grid))}")


def _is_falling(numbers: Sequence[float]) -> bool:
    return all(number > following for number, following in pairwise(numbers))


def _n_leading(layers: Sequence[int]) -> int:
    """Return how many of the layers are the first ones of the model, without a gap."""
    return sum(layer == place for place, layer in enumerate(layers))


def default_layers(depth: int, n_layers: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the layers that a depth keeps by default, as (first ones, last ones); those in the middle are dropped.

    Every depth keeps the first layer, and as many of the last two as it has room for: depth 1 is the first layer alone,
    depth 2 the first and the last.
    """
    n_last = min(2, depth - 1)
    return tuple(range(depth - n_last)), tuple(range(n_layers - n_last, n_layers))
