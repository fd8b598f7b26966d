"""What the runtime reads of an elastic encoder's folder beside its full encoder: the trained sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elasticdenser.arrays import Array, Floats
from elasticdenser.errors import ModelError
from elasticdenser.kernel.tensors import Tensors
from elasticdenser.kernel.weights import LayerWeights, Transformer
from elasticdenser.models.locate import TRAINED
from elasticdenser.models.manifest import AGAIN, read_about
from elasticdenser.models.shape import ElasticShape, layers_of
from elasticdenser.subnet import Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticWeights:
    """The trained sizes.

    Args:
        body: What they are slices of.
        shape: Widths, depths and all else that the sizes are made of.
        tensors: The file, with the exits: `exits` (n_widths, n_depths, dim, hidden), `exit_bias`, `shortcuts`.
        table: Level 0's token vectors, int8, (vocabulary, dim), and their scales, float32, (vocabulary,).
    """

    body: Transformer
    shape: ElasticShape
    tensors: Tensors
    table: tuple[Array, Floats] | None

    def layers_of(self, depth: int) -> list[int]:
        """Return the layers that a depth keeps."""
        first, last = layers_of(depth, self.body.n_layers)
        return [*first, *last]

    def exit_of(self, subnet: Subnet) -> tuple[Floats, Floats]:
        """Return what a size's pooled vector and, where there is a table, level 0's are multiplied by, and the bias.

        Returns:
            float32, (dim, hidden) or (dim, hidden + dim), and (dim,).
        """
        at = self.shape.widths.index(subnet.width), self.shape.depths.index(subnet.depth)
        names = ["exits", "shortcuts"] if self.table is not None else ["exits"]
        weights = [self.tensors.floats(name, at) for name in names]
        return np.concatenate(weights, axis=1), self.tensors.floats("exit_bias", at)


def read_elastic(folder: Path, full: Transformer) -> ElasticWeights:
    """Read the trained sizes in the folder of an elastic encoder.

    Raises:
        ModelError: The files are missing, damaged, do not fit each other or are of another kind.
    """
    shape, _ = read_about(folder)
    tensors = Tensors(folder / TRAINED)
    _check(tensors, shape)
    tokens = tensors.floats("tokens").astype(np.float16) if "tokens" in tensors.names() else full.tokens
    theirs, ours = (full.n_layers, *full.tokens.shape), (shape.n_layers, shape.vocabulary, shape.hidden)
    if theirs != ours or shape.dim != full.hidden:
        raise ModelError(f"{folder}: the sizes are not of its full encoder: {AGAIN}")

    def layer(number: int) -> LayerWeights:
        def get(name: str) -> Floats:
            return tensors.floats(f"blocks.{number}.{name}")

        return LayerWeights(
            qkv=get("qkv").swapaxes(0, 1),
            qkv_bias=get("qkv_bias").swapaxes(0, 1),
            out=get("out").reshape(shape.hidden, -1),
            out_bias=get("out_bias"),
            up=get("up"),
            up_bias=get("up_bias"),
            down=get("down"),
            down_bias=get("down_bias"),
            norms=get("norms"),
        )

    body = Transformer(
        tokens=tokens,
        positions=tensors.floats("positions"),
        norm=tensors.floats("norm"),
        layer=layer,
        n_layers=shape.n_layers,
        n_heads=shape.n_heads,
        n_neurons=shape.n_neurons,
        activation=shape.activation,
        eps=shape.norm_eps,
    )
    table = (tensors.stored("table"), tensors.floats("table.scale")) if shape.level0 else None
    return ElasticWeights(body=body, shape=shape, tensors=tensors, table=table)


def _check(tensors: Tensors, shape: ElasticShape) -> None:
    """Refuse weights that are not of this shape: the kernel reads as many numbers as it says."""
    hidden, dim, head_dim = shape.hidden, shape.dim, shape.hidden // shape.n_heads
    n_widths, n_cells = len(shape.widths), (len(shape.widths), len(shape.depths))
    if "tokens" in tensors.names():
        tensors.check("tokens", (shape.vocabulary, hidden))
    tensors.check("positions", (shape.n_positions, hidden))
    tensors.check("norm", (n_widths, 2, hidden))
    layer = {
        "qkv": (3, shape.n_heads, head_dim, hidden),
        "qkv_bias": (3, shape.n_heads, head_dim),
        "out": (hidden, shape.n_heads, head_dim),
        "out_bias": (hidden,),
        "up": (shape.n_neurons, hidden),
        "up_bias": (shape.n_neurons,),
        "down": (hidden, shape.n_neurons),
        "down_bias": (hidden,),
        "norms": (n_widths, 2, 2, hidden),
    }
    for number in range(shape.n_layers):
        for name, sizes in layer.items():
            tensors.check(f"blocks.{number}.{name}", sizes)
    tensors.check("exits", (*n_cells, dim, hidden))
    tensors.check("exit_bias", (*n_cells, dim))
    if shape.level0:
        tensors.check("shortcuts", (*n_cells, dim, dim))
        tensors.check("table", (shape.vocabulary, dim), "I8")
